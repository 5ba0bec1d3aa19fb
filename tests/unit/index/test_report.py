"""What another process reads of an index: the truth, whoever has it open, and without a trace."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import apsw
import pytest

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.migrations import load_migrations, migrate
from fuse4dbricks.index.report import FILES, DayUse, FileUse, Report, load_report
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import FILE, FOLDER, HOST, KIB, VOLUME, HandClock, new_chunk, opened, outside

CSV = FOLDER.child("b.CSV")
OTHER = RemotePath(("main", "hr", "raw", "c"))
BIG = Version(size=5_000_000, last_modified=1)


def read(folder: Path, top: int = 10) -> Report:
    return load_report(folder / "index.sqlite", top)


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def close_to_writers(folder: Path) -> None:
    folder.chmod(0o500)


async def fill(folder: Path) -> None:
    async with opened(folder) as index:
        counters = index.counters
        counters.post_mount(7, "/mnt/x", 100.0, {"disk_bytes": 10, "later": "text", "flag": True})
        counters.post_counts({"remote.calls{kind=head}": 3})
        await index.chunks.add(
            FILE, BIG, [new_chunk(number, path=FILE, version=BIG, disk_bytes=2 * KIB) for number in range(3)]
        )
        await index.chunks.add(CSV, BIG, [new_chunk(path=CSV, version=BIG, owner="bob", disk_bytes=5 * KIB)])
        await index.chunks.add(OTHER, BIG, [new_chunk(path=OTHER, version=BIG, disk_bytes=KIB)])
        await index.flush()


async def test_it_says_what_was_recorded(tmp_path: Path) -> None:
    await fill(tmp_path)
    report = read(tmp_path)
    assert list(report.workspaces) == [HOST]
    assert report.counts == {"remote.calls{kind=head}": 3}
    assert report.mount is not None
    assert (report.mount.pid, report.mount.mountpoint, report.mount.started_at) == (7, "/mnt/x", 100.0)
    assert report.mount.settings == {"disk_bytes": 10}
    assert [(v.schema, v.files, v.chunks, v.disk_bytes) for v in report.volumes] == [
        ("sales", 2, 4, 11 * KIB),
        ("hr", 1, 1, KIB),
    ]
    assert [(u.name, u.chunks, u.disk_bytes) for u in report.owners] == [
        ("alice", 4, 7 * KIB),
        ("bob", 1, 5 * KIB),
    ]
    assert {u.name: u.chunks for u in report.extensions} == {"csv": 4, "": 1}
    assert report.days == (DayUse(int(HandClock().unix // 86_400), 5, 12 * KIB),)
    assert report.files[0] == FileUse(HOST, str(FILE).removeprefix("/Volumes/"), BIG.size, 3, 3 * KIB)


async def test_the_largest_files_come_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for number in range(20):
            path = VOLUME.child(f"{number}")
            rows = [new_chunk(k, path=path, version=BIG) for k in range(1 + number * 7 % 20)]
            await index.chunks.add(path, BIG, rows)
    assert [file.chunks for file in read(tmp_path, 5).files] == [20, 19, 18, 17, 16]
    assert read(tmp_path, 0).files == ()


async def test_displaced_chunks_have_no_day(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, BIG, [new_chunk(version=BIG)])
        await index.chunks.add(FILE, BIG, [new_chunk(version=BIG, salt="other")])
    assert {day.day is None: day.chunks for day in read(tmp_path).days} == {True: 1, False: 1}


async def test_two_workspaces_in_one_folder(tmp_path: Path) -> None:
    for host in (HOST, "other.example.com"):
        async with opened(tmp_path, workspace=host) as index:
            await index.chunks.add(FILE, BIG, [new_chunk(version=BIG, salt=host)])
            index.counters.post_counts({"remote.bytes": 5})
    report = read(tmp_path)
    assert {volume.workspace for volume in report.volumes} == {HOST, "other.example.com"}
    assert report.counts == {"remote.bytes": 10}


async def test_beside_a_mount_it_sees_what_is_committed_and_is_in_nobodys_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for number in range(3):
            await index.chunks.add(FILE, BIG, [new_chunk(number, version=BIG)])
            before = names(tmp_path)
            assert sum(day.chunks for day in read(tmp_path).days) == number + 1
            assert names(tmp_path) == before
        assert index.is_healthy


async def test_with_no_mount_it_leaves_no_trace(tmp_path: Path) -> None:
    await fill(tmp_path)
    for sidecar in ("-wal", "-shm"):
        (tmp_path / f"index.sqlite{sidecar}").unlink(missing_ok=True)
    before = (tmp_path / "index.sqlite").stat()
    close_to_writers(tmp_path)
    assert read(tmp_path).counts
    assert names(tmp_path) == {"index.sqlite"}
    assert (tmp_path / "index.sqlite").stat().st_mtime_ns == before.st_mtime_ns


async def killed_with_counts(tmp_path: Path) -> Path:
    """A folder with an index as a kill leaves it: its counts are in the log only."""
    killed = tmp_path / "killed"
    killed.mkdir()
    async with opened(tmp_path) as index:
        index.counters.post_counts({"remote.bytes": 5})
        await index.flush()
        for name in ("index.sqlite", "index.sqlite-wal"):
            shutil.copy(tmp_path / name, killed / name)
    return killed


async def test_after_a_kill_it_reads_what_is_only_in_the_log(tmp_path: Path) -> None:
    killed = await killed_with_counts(tmp_path)
    assert (killed / "index.sqlite-wal").stat().st_size
    assert read(killed).counts == {"remote.bytes": 5}
    async with opened(killed) as index:
        assert index.counters.load_counts() == {"remote.bytes": 5}


def told(folder: Path) -> str:
    with pytest.raises(CacheFolderError) as caught:
        read(folder)
    return str(caught.value)


def test_there_is_none(tmp_path: Path) -> None:
    assert "there is no index" in told(tmp_path)


def test_it_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "index.sqlite")
    assert "not a regular file" in told(tmp_path)


def test_it_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"no database at all" * 1000)
    assert "it is damaged" in told(tmp_path)
    (tmp_path / "index.sqlite").unlink()
    apsw.Connection(str(tmp_path / "index.sqlite")).execute("CREATE TABLE x (y)").fetchall()
    assert "not one of this program" in told(tmp_path)
    (tmp_path / "index.sqlite").write_bytes(b"")
    assert "not one of this program" in told(tmp_path)


async def test_it_is_a_link(tmp_path: Path) -> None:
    await fill(tmp_path)
    (tmp_path / "index.sqlite").rename(tmp_path / "real")
    (tmp_path / "index.sqlite").symlink_to(tmp_path / "real")
    assert "not a regular file" in told(tmp_path)


async def test_it_is_newer(tmp_path: Path) -> None:
    await fill(tmp_path)
    db = outside(tmp_path, write=True)
    db.pragma("user_version", 999)
    db.close()
    assert "newer fuse4dbricks made it (format 999" in told(tmp_path)


async def test_it_is_cut_off(tmp_path: Path) -> None:
    await fill(tmp_path)
    for sidecar in ("-wal", "-shm"):
        (tmp_path / f"index.sqlite{sidecar}").unlink(missing_ok=True)
    os.truncate(tmp_path / "index.sqlite", 8192)
    assert "it is damaged" in told(tmp_path)


async def test_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuse4dbricks.index.report.BUSY_MS", 20)
    await fill(tmp_path)
    db = outside(tmp_path, write=True)
    db.pragma("locking_mode", "exclusive")
    db.execute("BEGIN EXCLUSIVE; UPDATE mount SET pid = 8; COMMIT").fetchall()
    assert "another process has locked it" in told(tmp_path)
    db.close()
    assert read(tmp_path).mount is not None


async def test_an_index_that_does_not_know_all_files_yet_says_so(tmp_path: Path) -> None:
    await fill(tmp_path)
    db = outside(tmp_path, write=True)
    db.execute("DELETE FROM inventory").fetchall()
    assert not read(tmp_path).is_complete
    db.execute("INSERT INTO inventory VALUES (1, 5.0)").fetchall()
    assert read(tmp_path).is_complete
    db.close()


def test_an_index_of_an_older_version_is_read_as_it_is(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "index.sqlite"))
    migrate(db, tmp_path / "index.sqlite", load_migrations()[:1])
    db.close()
    assert read(tmp_path).is_complete


def test_the_largest_files_come_from_an_index(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "index.sqlite"))
    migrate(db, tmp_path / "index.sqlite")
    plan = " ".join(str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {FILES}", (10,)))
    db.close()
    assert "file_version_cached_bytes" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another user's index")
async def test_root_leaves_nothing_of_its_own_in_another_users_folder(tmp_path: Path) -> None:
    killed = await killed_with_counts(tmp_path)
    for each in (killed, *list_folder(killed)):
        os.chown(each, 4321, 4321)
    assert read(killed).counts == {"remote.bytes": 5}
    assert {(each.stat().st_uid, each.stat().st_mode & 0o077) for each in list_folder(killed)} == {(4321, 0)}


def list_folder(folder: Path) -> list[Path]:
    return list(folder.iterdir())
