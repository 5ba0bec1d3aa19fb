"""New, older, newer, foreign and half-migrated files."""

import stat
from pathlib import Path

import apsw
import pytest

from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.migrations import (
    APPLICATION_ID,
    Migration,
    NotOurIndex,
    load_migrations,
    migrate,
    newest_version,
)
from tests.support.indexes import FILE, VERSION, checked, new_chunk, opened, outside

FIRST = Migration(
    1, "CREATE TABLE one (a INTEGER) STRICT; INSERT INTO one VALUES (1), (2); SELECT * FROM one;"
)
SECOND = Migration(2, "ALTER TABLE one ADD COLUMN b TEXT; CREATE TABLE two (c INTEGER) STRICT;")
BROKEN = Migration(2, "CREATE TABLE two (c INTEGER) STRICT; INSERT INTO missing VALUES (1);")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def version(db: apsw.Connection) -> tuple[object, object]:
    return db.pragma("user_version"), db.pragma("application_id")


def test_an_empty_file_gets_all_steps(file: Path) -> None:
    db = apsw.Connection(str(file))
    assert migrate(db, file, (FIRST, SECOND)) == 0
    assert version(db) == (2, APPLICATION_ID)
    assert db.execute("SELECT a, b FROM one").fetchall() == [(1, None), (2, None)]
    db.close()


def test_an_older_file_gets_the_rest_and_keeps_its_rows(file: Path) -> None:
    db = apsw.Connection(str(file))
    migrate(db, file, (FIRST,))
    db.execute("INSERT INTO one VALUES (3)")
    assert migrate(db, file, (FIRST, SECOND)) == 1
    assert version(db) == (2, APPLICATION_ID)
    assert db.execute("SELECT count(*) FROM one").fetchall() == [(3,)]
    assert migrate(db, file, (FIRST, SECOND)) == 2
    db.close()


def test_a_step_that_fails_changes_nothing(file: Path) -> None:
    db = apsw.Connection(str(file))
    migrate(db, file, (FIRST,))
    with pytest.raises(apsw.SQLError):
        migrate(db, file, (FIRST, BROKEN))
    assert version(db) == (1, APPLICATION_ID)
    assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("one",)]
    assert not db.in_transaction
    db.close()


def test_a_newer_file_is_refused_and_left_alone(file: Path) -> None:
    db = apsw.Connection(str(file))
    migrate(db, file, (FIRST, SECOND))
    with pytest.raises(CacheFolderError, match="newer"):
        migrate(db, file, (FIRST,))
    assert version(db) == (2, APPLICATION_ID)
    db.close()


@pytest.mark.parametrize(
    "change",
    [
        "PRAGMA application_id = 7",
        "PRAGMA application_id = 0",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -1",
        "PRAGMA user_version = 1073741826",
        "DROP TABLE two",
    ],
)
def test_what_is_not_a_sound_index_is_told_apart(file: Path, change: str) -> None:
    db = apsw.Connection(str(file))
    migrate(db, file, (FIRST, SECOND))
    db.execute(change)
    with pytest.raises(NotOurIndex):
        migrate(db, file, (FIRST, SECOND))
    assert not db.in_transaction
    db.close()


def test_what_others_added_does_no_harm(file: Path) -> None:
    db = apsw.Connection(str(file))
    migrate(db, file, (FIRST,))
    db.execute("CREATE VIEW mine AS SELECT * FROM one; ANALYZE").fetchall()
    assert migrate(db, file, (FIRST, SECOND)) == 1
    db.close()


def test_the_real_steps_are_there_and_explain_every_table() -> None:
    steps = load_migrations()
    assert newest_version() == len(steps) >= 1
    db = apsw.Connection(":memory:")
    for step in steps:
        db.execute(step.sql).fetchall()
    for name, sql in db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'"):
        assert "STRICT" in sql, name
    db.close()


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def set_aside_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.corrupt-*") if not path.name.endswith(("-wal", "-shm"))]


# --- through the door ----------------------------------------------------------------------------


async def test_a_new_index_is_private_and_set_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        assert not index.was_rebuilt
        assert index.is_healthy
        assert len(index.fingerprint_key) == 32
        files = files_in(tmp_path)
        assert [file.name for file in files] == ["index.sqlite", "index.sqlite-shm", "index.sqlite-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        db = outside(tmp_path)
        assert version(db) == (newest_version(), APPLICATION_ID)
        assert db.pragma("journal_mode") == "wal"
        db.close()
    assert checked(tmp_path).is_clean


async def test_a_newer_index_is_refused_in_one_clear_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
    db = outside(tmp_path, write=True)
    db.pragma("user_version", newest_version() + 1)
    db.close()
    before = (tmp_path / "index.sqlite").read_bytes()
    with pytest.raises(
        CacheFolderError, match=r"index\.sqlite was written by a newer fuse4dbricks"
    ) as refusal:
        async with opened(tmp_path):
            pass
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "index.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 5000]
)
async def test_what_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "index.sqlite"
    file.write_bytes(content)
    (tmp_path / "index.sqlite-wal").write_bytes(b"its log")
    async with opened(tmp_path) as index:
        assert index.was_rebuilt
        await index.chunks.add(FILE, VERSION, [new_chunk()])
        assert index.chunks.get_totals().chunks == 1
    (aside,) = set_aside_in(tmp_path)
    assert aside.read_bytes() == content
    assert aside.with_name(aside.name + "-wal").read_bytes() == b"its log"
    async with opened(tmp_path) as index:
        assert not index.was_rebuilt
        assert index.chunks.get_totals().chunks == 1


async def test_another_programs_database_is_set_aside(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "index.sqlite"))
    db.execute("CREATE TABLE theirs (a)")
    db.close()
    async with opened(tmp_path) as index:
        assert index.was_rebuilt
    (aside,) = set_aside_in(tmp_path)
    db = apsw.Connection(str(aside))
    assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    db.close()


async def test_only_the_last_damaged_file_is_kept(tmp_path: Path) -> None:
    for content in (b"one" * 1000, b"two" * 1000):
        (tmp_path / "index.sqlite").write_bytes(content)
        async with opened(tmp_path):
            pass
    (aside,) = set_aside_in(tmp_path)
    assert aside.read_bytes().startswith(b"two")


async def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "index.sqlite").symlink_to(victim)
    with pytest.raises(Exception, match="index"):
        async with opened(cache):
            pass
    assert victim.read_bytes() == b"precious"


async def test_the_folder_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    async with opened(tmp_path / "link") as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
    assert checked(tmp_path / "real").is_clean
