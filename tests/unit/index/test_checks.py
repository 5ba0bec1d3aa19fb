"""The check finds what is wrong, and nothing else."""

from pathlib import Path

import pytest
import trio

from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index import VictimQuery
from fuse4dbricks.paths import ROOT
from fuse4dbricks.tokens import Principal
from tests.support.indexes import (
    FILE,
    FOLDER,
    KIB,
    VERSION,
    VOLUME,
    checked,
    file_entry,
    folder_entry,
    new_chunk,
    opened,
    outside,
    post_walk,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index with something in every table."""
    trio.run(fill, tmp_path)
    return tmp_path


async def fill(folder: Path) -> None:
    async with opened(folder) as index:
        post_walk(index, ROOT, [[Entry("main", Kind.CATALOG)]], principal="1")
        post_walk(index, FOLDER, [[file_entry("a.csv"), folder_entry("sub")]])
        index.tree.post_absent(FOLDER.child("no"), "1", fetched_at=1.0, expires_at=2.0)
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(5)])
        index.grants.post_principal(b"x" * 16, 1, Principal("1", "alice"))
        index.grants.post_grant("1", VOLUME, proved_at=1.0, expires_at=2.0)
        index.counters.post_counts({"a": 1})
        index.counters.post_mount(1, "/mnt", 1.0)


def test_a_sound_index_is_clean(folder: Path) -> None:
    report = checked(folder)
    assert report.is_clean
    assert (report.chunks, report.disk_bytes) == (5, 5 * KIB)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("UPDATE dentry SET expires_at = 7 WHERE name = 'a.csv'", "checksum"),
        ("UPDATE absence SET expires_at = 7", "checksum"),
        ("UPDATE listing SET complete = 0", "checksum"),
        ("UPDATE chunk SET length = 7 WHERE chunk_index = 1", "checksum"),
        ("UPDATE file_version SET etag = 'x'", "checksum"),
        ("UPDATE sign_in SET user_name = 'bob'", "checksum"),
        ("UPDATE grant SET expires_at = 7", "checksum"),
        ("DELETE FROM dentry WHERE name = 'sub'", "listing"),
        ("DELETE FROM folder", "reference"),
        ("DELETE FROM file_version", "reference"),
        ("DELETE FROM owner", "reference"),
        ("UPDATE usage SET chunks = chunks + 1", "totals"),
        ("DELETE FROM usage", "totals"),
        ("UPDATE usage_day SET disk_bytes = 0", "totals"),
        ("UPDATE file_version SET cached_bytes = 0", "totals"),
        ("UPDATE volume SET files = 9", "totals"),
        ("DELETE FROM chunk WHERE chunk_index = 1", "totals"),
    ],
)
def test_what_is_wrong_is_found(folder: Path, damage: str, kind: str) -> None:
    db = outside(folder, write=True)
    db.execute(damage)
    assert db.changes() > 0
    db.close()
    assert kind in {finding.kind for finding in checked(folder).findings}


def test_a_damaged_page_is_found(folder: Path) -> None:
    file = folder / "index.sqlite"
    content = bytearray(file.read_bytes())
    content[-4096:] = b"\xff" * 4096
    file.write_bytes(content)
    assert "file" in {finding.kind for finding in checked(folder).findings}


def test_files_and_rows_are_held_against_each_other(folder: Path) -> None:
    names = [new_chunk(n).name for n in range(5)]
    assert checked(folder, names).is_clean
    report = checked(folder, [*names[1:], b"stranger" * 2])
    assert report.rows_without_file == (names[0],)
    assert report.files_without_row == (b"stranger" * 2,)
    assert report.findings == ()
    assert not report.is_clean


async def test_it_works_beside_a_running_mount(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(5)])
        assert checked(tmp_path).chunks == 5
        await index.chunks.take_victims(VictimQuery(free_bytes=1))
        assert checked(tmp_path).is_clean
        assert checked(tmp_path).chunks == 4


def test_no_index_at_all(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable):
        checked(tmp_path)
    assert list(tmp_path.iterdir()) == []
