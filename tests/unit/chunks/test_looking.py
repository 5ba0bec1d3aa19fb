"""Looking at a cache folder from outside: who has it, what it takes; nothing is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.chunks.looking import look_at, parse_holder
from fuse4dbricks.errors import CacheFolderError

TABLE = """\
1: POSIX  ADVISORY  WRITE 11 fe:01:500 0 EOF
2: FLOCK  ADVISORY  WRITE 22 fe:01:501 0 EOF
2: -> FLOCK  ADVISORY  WRITE 33 fe:01:501 0 EOF
3: FLOCK  ADVISORY  WRITE 44 00:1b:5010 0 EOF
4: FLOCK  ADVISORY  READ  -1 00:1b:502 0 EOF
5: LEASE  ACTIVE    READ 55 fe:01:503 0 EOF
"""


def test_the_table_of_locks() -> None:
    assert {inode: parse_holder(TABLE, inode) for inode in (500, 501, 502, 503, 5010, 1)} == {
        500: None,
        501: 22,
        502: None,
        503: None,
        5010: 44,
        1: None,
    }
    assert parse_holder("", 1) is None


def test_the_holder_is_seen_and_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with CacheFolder.open(path):
        before = sorted(each.name for each in path.iterdir())
        assert look_at(path).holder == os.getpid()
        assert sorted(each.name for each in path.iterdir()) == before
    assert look_at(path).holder is None
    with CacheFolder.open(path):
        pass


def test_what_it_takes_is_what_du_says(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with CacheFolder.open(path) as folder:
        folder.index_path.write_bytes(b"x" * 100_000)
    sight = look_at(path)
    blocks = sum(each.lstat().st_blocks for each in (path, *path.rglob("*")))
    assert sight.index_bytes + sight.other_bytes == 512 * blocks
    assert sight.index_bytes >= 100_000
    assert 0 < sight.free_bytes < sight.total_bytes


def told(path: Path) -> str:
    with pytest.raises(CacheFolderError) as caught:
        look_at(path)
    return str(caught.value)


def test_what_is_no_cache_folder(tmp_path: Path) -> None:
    assert "there is none; mount once to create it" in told(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "it is empty" in told(empty)
    assert not list(empty.iterdir())
    (empty / "photo.jpg").touch()
    assert "it holds 'photo.jpg'" in told(empty)
    assert "no folder" in told(empty / "photo.jpg")
    (tmp_path / "link").symlink_to(empty)
    assert "link" in told(tmp_path / "link")


def test_a_newer_one(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache"):
        pass
    (tmp_path / "cache/fuse4dbricks-cache").write_text("fuse4dbricks cache, format 2\n")
    assert "a newer fuse4dbricks made it" in told(tmp_path / "cache")
    (tmp_path / "cache/fuse4dbricks-cache").write_text("something\n")
    assert "not one of ours" in told(tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into another user's folder")
def test_root_may_look_at_another_users(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with CacheFolder.open(path):
        pass
    for each in (path, *path.rglob("*")):
        os.chown(each, 4321, 4321)
    assert look_at(path).holder is None
