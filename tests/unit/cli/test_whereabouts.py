"""Which mount a path lies in, without a look at what is mounted there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuse4dbricks.cli.whereabouts import find_asked
from fuse4dbricks.errors import MountError
from fuse4dbricks.fuse import connection
from fuse4dbricks.fuse.connection import MountLine


def with_mounts(monkeypatch: pytest.MonkeyPatch, *mountpoints: Path) -> None:
    lines = [MountLine("0:1", "/", "ext4", "disk")]
    lines += [MountLine("0:2", str(each), "fuse.fuse4dbricks", "host") for each in mountpoints]
    monkeypatch.setattr(connection, "read_mounts", lambda: lines)


@pytest.fixture
def mnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mount point with a link where a look inside would find one: nothing may follow it."""
    top = tmp_path / "mnt"
    top.mkdir()
    (top / "inner").symlink_to("/etc")
    with_mounts(monkeypatch, top)
    monkeypatch.chdir(tmp_path)
    return top


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("mnt", ""),
        ("mnt/", ""),
        ("./mnt/a/b", "a/b"),
        ("mnt/a/../b", "b"),
        ("mnt/inner/x", "inner/x"),
        ("mnt/a/../../mnt/c", "c"),
        ("link/a", "a"),
        ("deep/a", "x/y/a"),
        ("other/../mnt/a", "a"),
    ],
)
def test_paths_in_a_mount(mnt: Path, text: str, inside: str) -> None:
    (mnt.parent / "link").symlink_to("mnt")
    (mnt.parent / "deep").symlink_to(mnt / "x/y")
    (mnt.parent / "other").mkdir()
    asked = find_asked(text, None)
    assert (asked.mountpoint, asked.path) == (mnt, inside)
    assert find_asked(str(mnt.parent / text), None) == asked


def test_paths_of_the_workspace(mnt: Path) -> None:
    for given in (None, mnt, Path("mnt")):
        asked = find_asked("/Volumes/a/./b", given)
        assert (asked.mountpoint, asked.path) == (mnt, "/Volumes/a/b")


def test_one_of_two_mounts_has_to_be_named(mnt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_mounts(monkeypatch, mnt, mnt.parent / "two")
    with pytest.raises(MountError, match="--mountpoint"):
        find_asked("/Volumes/a", None)
    assert find_asked("/Volumes/a", mnt).mountpoint == mnt
    assert find_asked("two/a", None).mountpoint == mnt.parent / "two"


@pytest.mark.parametrize("text", ["/etc/passwd", ".", "mnt/..", "mnt/../x", "loop/a", "/Volumesx"])
def test_paths_in_no_mount(mnt: Path, text: str) -> None:
    (mnt.parent / "loop").symlink_to("loop")
    with pytest.raises(MountError, match="neither in a mount"):
        find_asked(text, None)


def test_a_mount_point_that_is_none(mnt: Path, tmp_path: Path) -> None:
    with pytest.raises(MountError, match="not a mount"):
        find_asked("/Volumes/a", tmp_path)


def test_names_that_are_no_text(mnt: Path) -> None:
    asked = find_asked(os.fsdecode(b"mnt/\xff"), None)
    assert os.fsencode(asked.path) == b"\xff"
