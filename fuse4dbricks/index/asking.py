# ruff: noqa: S608 - statements are put together from constants of this package
"""Questions that people put to the index in SQL.

The difficulty: the tables change with each version, hold hashes of tokens, and a question may run for hours, fill the
memory, or keep the log from being reused while a mount writes. So there are views that stay what they are, an authorizer
that lets a statement read these and nothing else (SQLite tells it the name of the view that reads a table, or of whatever
the statement itself calls so; hence what reads the tables has a name that cannot be guessed), a connection that cannot write, and limits on time, rows and memory.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from fuse4dbricks.errors import CacheFolderError, ConfigError
from fuse4dbricks.index.ailments import Ailment, diagnose
from fuse4dbricks.index.migrations import APPLICATION_ID, refuse_newer
from fuse4dbricks.index.outside import open_outside
from fuse4dbricks.index.pinning import PINS_SINCE

#: Bytes of one value or statement, and of all memory that SQLite may take.
VALUE_BYTES = 1_000_000
HEAP_BYTES = 512 * 1024 * 1024

#: Instructions of SQLite's machine between two looks at the clock: some 0.1 ms.
STEPS = 10_000

#: name → its columns with their meaning; a column that is there stays.
VIEWS: Mapping[str, Mapping[str, str]] = {
    "v_files": {
        "workspace": "host", "path": "/Volumes/…", "catalog": "", "schema": "", "volume": "",
        "extension": "lower case, without the dot", "size": "bytes of the whole file",
        "cached_bytes": "of it that are here", "is_complete": "1: all of it", "chunks": "here",
        "last_modified": "Unix time of this version, or NULL", "etag": "or NULL",
    },
    "v_chunks": {
        "workspace": "host", "path": "/Volumes/…, NULL: displaced, waits for eviction", "chunk_index": "",
        "length": "bytes of payload", "disk_bytes": "on the disk", "is_pinned": "1: eviction leaves it alone",
        "owner": "who caused the fetch", "created_at": "Unix time", "last_access": "Unix time", "hits": "reads from it",
        "file": "name of its file",
    },
    "v_volumes": {
        "workspace": "host", "catalog": "", "schema": "", "volume": "", "files": "versions of files",
        "chunks": "", "disk_bytes": "on the disk", "pinned_bytes": "of these",
    },
    "v_users": {"user": "who caused the fetch", "chunks": "", "disk_bytes": "on the disk"},
    "v_entries": {
        "workspace": "host", "folder": "/Volumes/…", "name": "", "kind": "catalog, schema, volume, directory, file",
        "size": "bytes, of files", "last_modified": "Unix time, or NULL", "fetched_at": "Unix time",
        "expires_at": "Unix time until which it was to be believed", "viewer": "principal id; '': all who may read the volume",
    },
    "v_grants": {
        "workspace": "host", "principal": "id", "user_name": "", "volume": "catalog/schema/volume, which he may read",
        "proved_at": "Unix time, with whichever of his tokens", "expires_at": "Unix time",
    },
    "v_pins": {
        "workspace": "host", "path": "/Volumes/…", "uid": "who pinned it", "created_at": "Unix time",
        "expires_at": "Unix time, NULL: until unpinned",
    },
    "v_counters": {"workspace": "host", "name": "", "value": "since the index was made"},
    "v_mount": {
        "workspace": "host", "pid": "", "mountpoint": "", "started_at": "Unix time", "ended_at": "Unix time, or NULL",
    },
}  # fmt: skip

_PATH = "'/Volumes' || CASE {0} WHEN '' THEN '' ELSE '/' || {0} END"
_SELECTS = {
    "v_files": f"""
        SELECT w.host, {_PATH.format("f.path")}, v.catalog, v.schema, v.name, f.extension, f.size, f.cached_bytes,
               f.cached_bytes = f.size, f.chunks, f.last_modified, f.etag
        FROM main.file_version f JOIN main.volume v ON v.id = f.volume_id JOIN main.workspace w ON w.id = f.workspace_id""",
    "v_chunks": f"""
        SELECT w.host, {_PATH.format("f.path")}, c.chunk_index, c.length, c.disk_bytes, c.pinned, o.name, c.created_at,
               c.last_access_ms / 1000.0, c.hits, lower(hex(c.name))
        FROM main.chunk c LEFT JOIN main.file_version f ON f.id = c.version_id JOIN main.owner o ON o.id = c.owner_id
        JOIN main.volume v ON v.id = c.volume_id JOIN main.workspace w ON w.id = v.workspace_id""",
    "v_volumes": """
        SELECT w.host, v.catalog, v.schema, v.name, v.files, coalesce(sum(u.chunks), 0), coalesce(sum(u.disk_bytes), 0),
               coalesce(sum(u.pinned_bytes), 0)
        FROM main.volume v JOIN main.workspace w ON w.id = v.workspace_id LEFT JOIN main.usage u ON u.volume_id = v.id
        GROUP BY v.id""",
    "v_users": """
        SELECT o.name, sum(u.chunks), sum(u.disk_bytes) FROM main.usage u JOIN main.owner o ON o.id = u.owner_id GROUP BY o.name""",
    "v_entries": f"""
        SELECT w.host, {_PATH.format("f.path")}, d.name,
               CASE d.kind WHEN 1 THEN 'catalog' WHEN 2 THEN 'schema' WHEN 3 THEN 'volume' WHEN 4 THEN 'directory' ELSE 'file' END,
               d.size, d.last_modified, d.fetched_at, d.expires_at, d.viewer
        FROM main.dentry d JOIN main.folder f ON f.id = d.folder_id JOIN main.workspace w ON w.id = f.workspace_id""",
    # A proof is kept under the keyed hash of a token, which is nobody's business; whose token that is, is.
    "v_grants": """
        SELECT w.host, s.principal, s.user_name, g.volume, max(g.proved_at), max(g.expires_at)
        FROM main.grant g JOIN main.workspace w ON w.id = g.workspace_id JOIN main.sign_in s
        ON s.workspace_id = g.workspace_id AND g.principal = 'read ' || lower(hex(s.fingerprint))
        GROUP BY w.host, s.principal, s.user_name, g.volume""",
    "v_pins": f"""
        SELECT w.host, {_PATH.format("p.path")}, p.created_by, p.created_at, p.expires_at
        FROM main.pin p JOIN main.workspace w ON w.id = p.workspace_id""",
    "v_counters": """
        SELECT w.host, s.name, s.value FROM main.stat_counter s JOIN main.workspace w ON w.id = s.workspace_id""",
    "v_mount": """
        SELECT w.host, m.pid, m.mountpoint, m.started_at, m.ended_at
        FROM main.mount m JOIN main.workspace w ON w.id = m.workspace_id""",
}  # fmt: skip

#: Functions that depend on their arguments (and the time) alone, and cannot make much out of little.
_FUNCTIONS = frozenset(
    [
        "abs",
        "acos",
        "asin",
        "atan",
        "avg",
        "ceil",
        "ceiling",
        "char",
        "coalesce",
        "concat",
        "concat_ws",
        "cos",
        "count",
        "cume_dist",
        "date",
        "datetime",
        "degrees",
        "dense_rank",
        "exp",
        "first_value",
        "floor",
        "format",
        "glob",
        "group_concat",
        "hex",
        "ifnull",
        "iif",
        "if",
        "instr",
        "json",
        "json_array",
        "json_array_length",
        "json_extract",
        "json_group_array",
        "json_group_object",
        "json_object",
        "json_quote",
        "json_type",
        "json_valid",
        "julianday",
        "lag",
        "last_value",
        "lead",
        "length",
        "like",
        "ln",
        "log",
        "log10",
        "log2",
        "lower",
        "ltrim",
        "max",
        "min",
        "mod",
        "nth_value",
        "ntile",
        "nullif",
        "octet_length",
        "percent_rank",
        "pi",
        "pow",
        "power",
        "printf",
        "quote",
        "radians",
        "rank",
        "replace",
        "round",
        "row_number",
        "rtrim",
        "sign",
        "sin",
        "sqrt",
        "strftime",
        "string_agg",
        "substr",
        "substring",
        "sum",
        "tan",
        "time",
        "timediff",
        "total",
        "trim",
        "trunc",
        "typeof",
        "unicode",
        "unixepoch",
        "upper",
    ]
)

_STATEMENT = re.compile(
    r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:select|with|values)\b", re.IGNORECASE | re.DOTALL
)


class QuestionRefused(ConfigError):
    """The statement is none that may be asked, or takes too long."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a question has found.

    Attributes:
        columns: their names.
        rows: values; what is binary, in hexadecimal.
        is_cut: whether there are more rows.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool


def ask(file: Path, question: str, *, seconds: float, rows: int) -> Found:
    """Put a question to the index ``file``, read-only.

    Args:
        file: the index.
        question: one SELECT over :data:`VIEWS`.
        seconds: that it may take.
        rows: that are returned at most.

    Raises:
        QuestionRefused: it is not one, is wrong, or takes too long.
        CacheFolderError: the index cannot be read.
    """
    if not _STATEMENT.match(question):
        raise QuestionRefused("one SELECT is expected; without a question the views are listed")
    apsw.hard_heap_limit(HEAP_BYTES)
    try:
        db = open_outside(file)
    except apsw.Error as error:
        raise CacheFolderError(
            f"the index {file} cannot be opened ({error}); `fuse4dbricks cache check --fix` makes a new one"
        ) from error
    try:
        inner = f"v{secrets.token_hex(16)}_"
        _prepare(db, file, inner)
        return _run(db, question, seconds, rows, inner)
    except (apsw.Error, UnicodeDecodeError) as error:
        raise _explained(file, error, seconds) from error
    finally:
        db.set_authorizer(None)
        db.set_progress_handler(None)
        db.close(force=True)
        apsw.hard_heap_limit(0)


def _prepare(db: apsw.Connection, file: Path, inner: str) -> None:
    refuse_newer(db, file)
    if int(db.pragma("application_id")) != APPLICATION_ID:
        raise CacheFolderError(f"the index {file} is not one of this program")
    version = int(db.pragma("user_version"))
    db.pragma("query_only", 0)  # the file is open for reading only; the views are in memory
    for name, columns in VIEWS.items():
        select = _SELECTS[name]
        if name == "v_pins" and version < PINS_SINCE:
            select = "SELECT NULL, NULL, NULL, NULL, NULL WHERE 0"
        names = ", ".join(f'"{column}"' for column in columns)
        db.execute(f"CREATE TEMP VIEW {inner}{name} ({names}) AS {select}").fetchall()
        db.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {inner}{name}").fetchall()
    db.pragma("query_only", 1)
    db.limit(apsw.SQLITE_LIMIT_LENGTH, VALUE_BYTES)
    db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)


def _run(db: apsw.Connection, question: str, seconds: float, limit: int, inner: str) -> Found:
    deadline = time.monotonic() + seconds
    db.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    db.set_authorizer(_authorizer(inner))
    cursor = db.cursor()
    rows: list[tuple[Any, ...]] = []
    columns: tuple[str, ...] = ()
    cursor.exec_trace = _only_one()
    for row in cursor.execute(question):
        columns = columns or tuple(each[0] for each in cursor.get_description())
        if len(rows) == limit:
            return Found(columns, rows, is_cut=True)
        rows.append(tuple(value.hex() if isinstance(value, bytes) else value for value in row))
    return Found(columns, rows, is_cut=False)


def _only_one() -> Any:
    """A tracer that lets one statement run."""
    seen: list[str] = []

    def trace(_cursor: apsw.Cursor, statement: str, _binds: object) -> bool:
        seen.append(statement)
        if len(seen) > 1:
            raise QuestionRefused("one statement at a time")
        return True

    return trace


def _authorizer(inner: str) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    """Lets a statement read the views, and what is behind them the tables."""

    def authorize(
        action: int, first: str | None, second: str | None, _db: str | None, view: str | None
    ) -> int:
        if action in {apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE}:
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_READ and (_is_behind(view) or _is_open(first, second)):
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_FUNCTION and second is not None and second.lower() in _FUNCTIONS:
            return apsw.SQLITE_OK
        return apsw.SQLITE_DENY

    def _is_behind(view: str | None) -> bool:
        return view is not None and view.startswith(inner)

    def _is_open(table: str | None, column: str | None) -> bool:
        # A nameless column is a row that is counted, or joined by what was looked at before.
        is_view = table is not None and (table in VIEWS or table.startswith(inner))
        return is_view or (not column and table not in _CLOSED)

    return authorize


#: Of these not even the rows may be counted.
_CLOSED = frozenset({"sign_in", "sqlite_schema", "sqlite_master", "sqlite_temp_schema", "sqlite_temp_master"})


def _explained(file: Path, error: Exception, seconds: float) -> Exception:
    if isinstance(error, apsw.InterruptError):
        return QuestionRefused(
            f"it took more than {seconds:g} s; ask for less, or give it more with --timeout"
        )
    if isinstance(error, apsw.AuthError):
        return QuestionRefused(f"that may not be asked: {error}; without a question the views are listed")
    if isinstance(error, apsw.SQLError | apsw.TooBigError | apsw.NoMemError | apsw.BindingsError):
        views = f"; there are {', '.join(VIEWS)}" if str(error).startswith("no such table") else ""
        return QuestionRefused(f"SQLite says: {error}{views}")
    ailment = diagnose(error)
    if ailment is Ailment.CORRUPT:
        return CacheFolderError(
            f"the index {file} cannot be read ({error}); `fuse4dbricks cache rebuild` makes a new one"
        )
    return CacheFolderError(f"the index {file} cannot be read now: {error}")
