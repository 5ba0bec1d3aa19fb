"""Where on the disk new files are made, as far as the file system tells."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.chunks.apart import apart
from fuse4dbricks.chunks.layout import BIRTHPLACES, SHARDS
from fuse4dbricks.chunks.nowait import file_system_type
from tests.support.labels import chunk_file, label
from tests.support.stores import write_chunk

#: Inodes of a block group, as mkfs makes them: at most so many.
GROUP = 8192
#: Groups that folders made without more ado take. Of those made apart it is seven or eight for eight, but the kernel
#: looks at what others make just then: five have been seen while other tests ran, and less must be possible.
TOGETHER = 2


def inode_group(path: Path) -> int:
    return path.stat().st_ino // GROUP


def can_be_told(path: Path) -> bool:
    """Whether it is on ext4, on a disk that is large enough for many groups."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return file_system_type(fd) == "ext4" and os.statvfs(fd).f_files > 100 * GROUP
    finally:
        os.close(fd)


def test_the_birthplaces_lie_apart_and_the_other_shards_together(tmp_path: Path) -> None:
    if not can_be_told(tmp_path):
        pytest.skip("only a large ext4 can be told")
    with CacheFolder.open(tmp_path / "cache"):
        pass
    shards = [tmp_path / "cache" / "chunks" / f"{number:02x}" for number in range(SHARDS)]
    assert len({inode_group(shards[number]) for number in BIRTHPLACES}) > TOGETHER
    others = {inode_group(shard) for number, shard in enumerate(shards) if number not in BIRTHPLACES}
    assert len(others) < 16


def test_where_nobody_can_be_told_folders_are_made_all_the_same(tmp_path: Path) -> None:
    read, write = os.pipe()
    for fd in (read, write):
        with apart(fd):
            (tmp_path / f"{fd}").mkdir()
        os.close(fd)
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ZeroDivisionError), apart(folder):
        _ = 1 / 0
    os.close(folder)


def test_chunks_are_made_in_the_birthplaces_in_turn(tmp_path: Path) -> None:
    if not can_be_told(tmp_path):
        pytest.skip("only a large ext4 can be told")
    with CacheFolder.open(tmp_path / "cache") as folder:
        store = ChunkStore(folder)
        groups = set()
        for index in range(len(BIRTHPLACES)):
            write_chunk(store, label(index), b"payload")
            groups.add(inode_group(chunk_file(folder.path, label(index))))
        store.close()
    # Beside those of the birthplaces where one is full; the chunks' own shards are in two or three.
    assert len(groups) > TOGETHER


@pytest.mark.parametrize("instead", [None, b"a file", "a link"])
def test_a_birthplace_that_is_missing_costs_nothing(tmp_path: Path, instead: bytes | str | None) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        born_in = {f"{number:02x}" for number in BIRTHPLACES}
        for name in born_in:
            place = folder.path / "chunks" / name
            shutil.rmtree(place)
            if isinstance(instead, bytes):
                place.write_bytes(instead)
            elif instead:
                place.symlink_to(tmp_path)
        store = ChunkStore(folder)
        for index in range(40):
            if label(index).name()[:1].hex() not in born_in:
                checksum = write_chunk(store, label(index), b"payload")
                assert bytes(store.load(label(index), 7, checksum)) == b"payload"
        store.close()
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]
