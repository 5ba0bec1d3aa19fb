"""``fuse4dbricks cache``: is the cache in order, what is in it, and what is to go.

The difficulty: a mount may be at work in the folder, or none, or one that was killed. What only looks reads beside the
mount; what changes something is asked of the mount, or done with the folder's lock in hand. Scripts want one JSON
object and an exit code that says whether all is well.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuse4dbricks.cli.cache_options import cache_options
from fuse4dbricks.cli.measures import age, size
from fuse4dbricks.cli.places import asked_below, folder_of
from fuse4dbricks.cli.progress import progress_bar
from fuse4dbricks.cli.table import CommandTable
from fuse4dbricks.errors import ConfigError, UserError
from fuse4dbricks.units import format_bytes, printable

if TYPE_CHECKING:
    from fuse4dbricks.app.upkeep.errands import Freed
    from fuse4dbricks.app.upkeep.inspection import Inspection

#: Of the JSON that these commands print; grows when a field changes its meaning or goes.
SCHEMA = 1

#: Lines of each kind that are printed; the JSON has all.
SHOWN = 20


class CacheNotInOrderError(UserError):
    """A check or a verification found something."""

    exit_code = 6


#: Commands with a module of their own, which is imported for them alone.
ELSEWHERE = {
    "warm": "fuse4dbricks.cli.warm:warm",
    "pin": "fuse4dbricks.cli.pins:pin",
    "unpin": "fuse4dbricks.cli.pins:unpin",
    "pins": "fuse4dbricks.cli.pins:pins",
    "sql": "fuse4dbricks.cli.sql:sql",
    "ls": "fuse4dbricks.cli.listed:ls",
    "du": "fuse4dbricks.cli.listed:du",
}


@click.group(commands=CommandTable(ELSEWHERE), context_settings={"help_option_names": ["-h", "--help"]})
def cache() -> None:
    """Check, list, shrink and rebuild the disk cache, while a workspace is mounted or while none is."""


def _print(as_json: bool, document: dict[str, Any], lines: list[str]) -> None:
    click.echo(json.dumps({"schema": SCHEMA, **document}) if as_json else "\n".join(map(printable, lines)))


# --- is all in order? ----------------------------------------------------------------------------


@cache.command()
@click.option("--fix", is_flag=True, help="Put right what is wrong.")
@cache_options
def check(fix: bool, disk_cache_dir: Path | None, as_json: bool) -> None:
    """Hold the index and the chunk files against each other, and the index against its own checksums and totals.

    With --fix, files that describe themselves are recorded again, what cannot be used is removed, and a damaged index
    is made anew. Exit code 6: something is (still) wrong.
    """
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it

    path = folder_of(disk_cache_dir)
    found = errands.run(lambda: errands.look(path))
    fixed = fix and not found.is_clean
    left = found
    if fixed:
        errands.run(lambda: errands.mend(path, found))
        left = errands.run(lambda: errands.look(path))
    document = {**_described(left), "fixed": _described(found) if fixed else None}
    _print(as_json, document, [*(_told(found) if fixed else ()), *_told(left)])
    if not left.is_clean:
        advice = "; --fix puts it right (what a crash has left, a mount does in its first minute)"
        raise CacheNotInOrderError("the cache is not in order" + ("" if fix else advice))


def _described(found: Inspection) -> dict[str, Any]:
    report = found.report
    return {
        "clean": found.is_clean,
        "chunks": report.chunks,
        "disk_bytes": report.disk_bytes,
        "findings": [asdict(finding) for finding in report.findings],
        "rows_without_file": [name.hex() for name in report.rows_without_file],
        "files_without_row": [name.hex() for name in report.files_without_row],
        "leftovers": list(found.leftovers),
    }


def _told(found: Inspection) -> list[str]:
    report = found.report
    if found.is_clean:
        return [f"In order: {report.chunks} chunks, {format_bytes(report.disk_bytes)}."]
    lines = [f"{finding.kind}: {finding.what}" for finding in report.findings[:SHOWN]]
    counts = {
        "findings in the index": len(report.findings),
        "rows without a file": len(report.rows_without_file),
        "files without a row": len(report.files_without_row),
        "unfinished files": len(found.leftovers),
    }
    return [*lines, "Not in order: " + ", ".join(f"{n} {what}" for what, n in counts.items() if n) + "."]


@cache.command()
@click.option("--fix", is_flag=True, help="Remove the chunks that are not what was written.")
@cache_options
def verify(fix: bool, disk_cache_dir: Path | None, as_json: bool) -> None:
    """Read every chunk file and compare it with its checksum and with the index.

    A mount does the same with each chunk before it serves a byte of it; this does it for all of them now. Exit code 6:
    some are not what was written, and were not removed by --fix.
    """
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it

    path = folder_of(disk_cache_dir)
    with progress_bar("verifying") as on_progress:
        result = errands.run(lambda: errands.read_all(path, on_progress))
    names = [each.name for each in result.bad]
    if fix and names:
        errands.run(lambda: errands.drop(path, names))
    bad = [{"chunk": each.name.hex(), "why": each.why} for each in result.bad]
    document = {"chunks": result.chunks, "bytes": result.bytes, "bad": bad, "removed": fix and bool(bad)}
    summary = (
        f"{result.chunks} chunks read, {format_bytes(result.bytes)}; {len(bad)} not as they were written"
    )
    _print(as_json, document, [*(f"{each['chunk']}: {each['why']}" for each in bad[:SHOWN]), f"{summary}."])
    if bad and not fix:
        raise CacheNotInOrderError("some chunks are not what was written; --fix removes them")


@cache.command()
@cache_options
def rebuild(disk_cache_dir: Path | None, as_json: bool) -> None:
    """Set the index aside and make a new one from the chunk files, which say what they are.

    What it knew of folders and permissions is asked anew of the workspace.
    """
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it
    from fuse4dbricks.chunks.layout import SHARDS  # noqa: PLC0415

    path = folder_of(disk_cache_dir)
    with progress_bar("rebuilding") as on_progress:
        done = errands.run(
            lambda: errands.rebuild(path, lambda now: on_progress(now["tally"]["shards"], SHARDS))
        )
    recorded, removed = done["chunks"], done["tally"]["orphans"]
    line = f"{recorded} chunks recorded, {removed} unusable files removed."
    _print(as_json, {"recorded": recorded, "removed": removed}, [line])


# --- what is to go -------------------------------------------------------------------------------


@cache.command()
@click.argument("path", required=False)
@click.option("--older-than", metavar="AGE", help="Only what was not read for so long: 7d, 12h, 30m.")
@click.option("--user", help="Only what this Databricks user's reads have brought in (name or id).")
@click.option("--to-size", metavar="SIZE", help="The least recently read, until the rest takes this: 2G.")
@cache_options
def evict(
    path: str | None,
    older_than: str | None,
    user: str | None,
    to_size: str | None,
    disk_cache_dir: Path | None,
    as_json: bool,
) -> None:
    """Remove chunks: of PATH, by age, by user (all that are given must be true), or down to a size.

    PATH is a path in a mount, or /Volumes/…. What open files are reading stays.
    """
    if to_size is not None:
        if path or older_than or user:
            raise ConfigError("--to-size goes with no PATH and no other choice")
        _evict(disk_cache_dir, as_json, "shrink", {"to_bytes": size(to_size)})
        return
    if not (path or older_than or user):
        raise ConfigError(
            "say what to evict: PATH, --older-than, --user or --to-size (`cache clear` takes all)"
        )
    where = None if path is None else asked_below(folder_of(disk_cache_dir), path)
    chosen = {
        "under": where and str(where.under),
        "host": where and where.host,
        "owner": user,
        "older_than": None if older_than is None else time.time() - age(older_than),
    }
    _evict(
        disk_cache_dir, as_json, "evict", {key: value for key, value in chosen.items() if value is not None}
    )


@cache.command()
@cache_options
def clear(disk_cache_dir: Path | None, as_json: bool) -> None:
    """Remove all chunks but those that open files are reading.

    `mount --clear-cache` also forgets what is known of folders and permissions.
    """
    _evict(disk_cache_dir, as_json, "evict", {})


def _evict(disk_cache_dir: Path | None, as_json: bool, order: str, arguments: dict[str, object]) -> None:
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it
    from fuse4dbricks.chunks.layout import SHARDS  # noqa: PLC0415

    path = folder_of(disk_cache_dir)
    with progress_bar("looking through the cache") as on_progress:
        freed: Freed = errands.run(
            lambda: errands.evict(
                path, order, arguments, lambda now: on_progress(now["tally"]["shards"], SHARDS)
            )
        )
    pinned = errands.run(lambda: errands.list_pins(path))["pinned_bytes"]
    lines = [f"{freed.chunks} chunks removed, {format_bytes(freed.bytes)}."]
    if pinned:
        lines.append(f"{format_bytes(pinned)} are pinned and stay; `cache pins` lists what pins them.")
    _print(as_json, {"chunks": freed.chunks, "disk_bytes": freed.bytes, "pinned_bytes": pinned}, lines)
