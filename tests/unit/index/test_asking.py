"""Questions in SQL: what the views say, and what no statement can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index import Pin
from fuse4dbricks.index.asking import VIEWS, QuestionRefused, ask
from fuse4dbricks.index.migrations import newest_version
from fuse4dbricks.tokens import Principal
from tests.support.indexes import (
    FILE,
    FOLDER,
    KIB,
    VERSION,
    VOLUME,
    file_entry,
    new_chunk,
    opened,
    outside,
    post_walk,
)

#: Fingerprints of two tokens of one user.
TOKENS = (b"\x01" * 16, b"\x02" * 16)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(3)])
        post_walk(index, FOLDER, [[file_entry("a.csv", 5)]])
        for token in TOKENS:
            index.grants.post_principal(token, 1000, Principal("4711", "ada@example.com"))
            for holder in (f"read {token.hex()}", f"see {token.hex()}"):
                index.grants.post_grant(holder, VOLUME, proved_at=1.0 + token[0], expires_at=31.0 + token[0])
        await index.pins.put(Pin(FOLDER, 1000, 1.0, None))
        index.counters.post_counts({"read.misses": 7})
        index.counters.post_mount(4711, "/mnt", 1.0, {})
        await index.flush()
    return tmp_path / "index.sqlite"


def rows(file: Path, question: str, limit: int = 100) -> list[tuple[object, ...]]:
    return ask(file, question, seconds=20.0, rows=limit).rows


async def test_each_view_says_what_it_promises(file: Path) -> None:
    for name, columns in VIEWS.items():
        found = ask(file, f"SELECT * FROM {name}", seconds=20.0, rows=100)
        assert found.rows, name
        assert found.columns == tuple(columns), name
    assert rows(file, "SELECT path, cached_bytes, is_complete FROM v_files") == [(str(FILE), 3 * KIB, 0)]
    assert rows(file, "SELECT count(*), sum(length) FROM v_chunks WHERE owner = 'alice'") == [(3, 3 * KIB)]
    assert rows(file, "SELECT folder, name, kind, size FROM v_entries") == [(str(FOLDER), "a.csv", "file", 5)]
    assert rows(file, "SELECT principal, user_name, volume, proved_at, expires_at FROM v_grants") == [
        ("4711", "ada@example.com", "main/sales/raw", 3.0, 33.0)
    ]
    assert rows(file, "SELECT path, uid FROM v_pins") == [(str(FOLDER), 1000)]
    assert rows(file, "SELECT count(*) FROM v_files") == [(1,)]
    assert rows(
        file,
        "WITH big AS (SELECT path, sum(length) AS n FROM v_chunks GROUP BY path) "
        "SELECT b.n, rank() OVER (ORDER BY b.n) FROM big b JOIN v_files f USING (path)",
    ) == [(3 * KIB, 1)]


async def test_no_view_shows_what_is_kept_of_a_token(file: Path) -> None:
    for name in VIEWS:
        shown = repr(ask(file, f"SELECT * FROM {name}", seconds=20.0, rows=100).rows)
        assert not any(token.hex() in shown.lower() or repr(token) in shown for token in TOKENS), name


@pytest.mark.parametrize(
    "question",
    [
        "SELECT fingerprint_key FROM workspace", "SELECT * FROM sign_in", "SELECT count(*) FROM sign_in",
        "SELECT fingerprint FROM main.sign_in", "SELECT * FROM sqlite_schema", "SELECT count(*) FROM sqlite_master",
        "SELECT * FROM pragma_table_info('chunk')", "PRAGMA user_version", "PRAGMA user_version = 7",
        "ATTACH '/tmp/x' AS y", "DELETE FROM chunk", "UPDATE chunk SET hits = 1", "CREATE TABLE x (a)",
        "WITH x AS (SELECT 1) DELETE FROM chunk", "SELECT 1; SELECT 2", "SELECT load_extension('x')", "BEGIN", "VACUUM",
        "SELECT zeroblob(1000000000)", "SELECT randomblob(10)", "SELECT writefile('/tmp/x', 'y')", "", "x",
        "SELECT nothing FROM v_files", "SELECT 1 FROM v_files WHERE", "SELECT printf('%.*c', 900000000, 'x')",
        "WITH v_files AS (SELECT fingerprint_key FROM workspace) SELECT * FROM v_files",
        "SELECT * FROM (SELECT fingerprint FROM sign_in) AS v_files", "SELECT (SELECT fingerprint_key FROM workspace)",
        "SELECT 1 FROM v_files WHERE path IN (SELECT principal FROM sign_in)", "SELECT rowid, * FROM main.chunk",
        "EXPLAIN SELECT 1", "SELECT token FROM (SELECT principal AS token FROM grant)", "SELECT 'a' WHERE ?",
    ],
)  # fmt: skip
async def test_what_may_not_be_asked_is_refused(file: Path, question: str) -> None:
    with pytest.raises(QuestionRefused):
        rows(file, question)


async def test_who_asks_for_a_view_that_there_is_not_is_told_which_there_are(file: Path) -> None:
    with pytest.raises(QuestionRefused) as refused:
        rows(file, "SELECT * FROM files")
    assert "no such table: files" in str(refused.value)
    assert all(view in str(refused.value) for view in VIEWS)


async def test_limits_hold(file: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT "
    with pytest.raises(QuestionRefused, match="took more"):
        ask(file, f"{endless} count(*) FROM n", seconds=0.2, rows=10)
    found = ask(file, f"{endless} i FROM n", seconds=20.0, rows=10)
    assert (len(found.rows), found.is_cut) == (10, True)
    assert not ask(file, "SELECT 1", seconds=20.0, rows=1).is_cut


async def test_it_reads_beside_a_mount_that_writes(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for number in range(3):
            await index.chunks.add(FILE, VERSION, [new_chunk(number)])
            assert rows(tmp_path / "index.sqlite", "SELECT count(*) FROM v_chunks") == [(number + 1,)]


async def test_newer_foreign_and_damaged_files_are_refused(file: Path) -> None:
    db = outside(file.parent, write=True)
    db.pragma("user_version", newest_version() + 1)
    with pytest.raises(CacheFolderError, match="newer"):
        rows(file, "SELECT 1")
    db.pragma("user_version", newest_version())
    db.pragma("application_id", 7)
    db.close()
    with pytest.raises(CacheFolderError, match="not one of this program"):
        rows(file, "SELECT 1")
    for each in file.parent.glob("index.sqlite*"):
        each.write_bytes(b"nonsense" * 1000)
    with pytest.raises(CacheFolderError):
        rows(file, "SELECT 1")
    with pytest.raises(CacheFolderError):
        rows(file.with_name("none"), "SELECT 1")
