"""What is outside the program: each thing that is missing or in the way is one clear error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuse4dbricks.app.surroundings import check_apart, check_fuse, prepare_mountpoint
from fuse4dbricks.errors import CacheFolderError, MountError


def test_a_missing_device(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="modprobe fuse"):
        check_fuse(allow_other=False, device=tmp_path / "fuse")


def test_a_file_in_place_of_the_device(tmp_path: Path) -> None:
    (tmp_path / "fuse").write_bytes(b"")
    with pytest.raises(MountError, match="not a device"):
        check_fuse(allow_other=False, device=tmp_path / "fuse")


def test_no_fusermount3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match="apt-get install fuse3"):
        check_fuse(allow_other=False, device=Path("/dev/null"))


@pytest.mark.parametrize(
    ("conf", "permitted"),
    [
        ("user_allow_other\n", True),
        ("  user_allow_other  # yes\n", True),
        ("#user_allow_other\n", False),
        ("mount_max = 1000\n", False),
        (None, False),
    ],
)
def test_allow_other_for_ordinary_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conf: str | None, permitted: bool
) -> None:
    file = tmp_path / "fuse.conf"
    if conf is not None:
        file.write_text(conf)
    program = tmp_path / "fusermount3"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    device = Path("/dev/null")  # a character device that everybody may open
    check_fuse(allow_other=False, device=device, conf=file)
    if permitted:
        check_fuse(allow_other=True, device=device, conf=file)
    else:
        with pytest.raises(MountError, match="user_allow_other"):
            check_fuse(allow_other=True, device=device, conf=file)


def test_an_empty_folder_is_a_mount_point(tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    assert prepare_mountpoint(folder) == folder.resolve()


def test_links_and_dots_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "link").symlink_to("mnt")
    monkeypatch.chdir(tmp_path)
    assert prepare_mountpoint(Path("link")) == (tmp_path / "mnt").resolve()
    assert prepare_mountpoint(Path("./mnt/../mnt/")) == (tmp_path / "mnt").resolve()


def test_unusable_mount_points(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    for name, complaint in [
        ("gone", "mkdir -p"),
        ("gone/deeper", "mkdir -p"),
        ("file", "not a folder"),
        ("file/below", "not a folder"),
        ("loop", "symbolic links"),
    ]:
        with pytest.raises(MountError, match=complaint):
            prepare_mountpoint(tmp_path / name)


def test_what_is_in_a_folder_is_never_hidden(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(MountError, match="not empty"):
        prepare_mountpoint(tmp_path)


def test_another_mount_is_left_alone() -> None:
    with pytest.raises(MountError, match="something else"):
        prepare_mountpoint(Path("/proc"))


@pytest.mark.parametrize("cache", ["mnt", "mnt/cache", "mnt/not/there/yet", "link/cache"])
def test_a_cache_inside_the_mount_is_refused(tmp_path: Path, cache: str) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    (tmp_path / "link").symlink_to(mountpoint)
    with pytest.raises(CacheFolderError, match="inside the mount"):
        check_apart(tmp_path / cache, mountpoint)


def test_a_mount_inside_the_cache_is_refused(tmp_path: Path) -> None:
    mountpoint = tmp_path / "cache" / "mnt"
    mountpoint.mkdir(parents=True)
    with pytest.raises(CacheFolderError, match="inside the cache folder"):
        check_apart(tmp_path / "cache", mountpoint)


def test_neighbours_are_fine(tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    check_apart(tmp_path / "mnt-cache", mountpoint)
