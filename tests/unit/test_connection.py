"""The mount as /proc tells of it."""

from __future__ import annotations

from pathlib import Path

from fuse4dbricks.fuse.connection import find_mount, read_mounts, tune

TABLE = (
    rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
57 22 0:45 / /mnt/a\040b\134\011 ro,nosuid,nodev shared:2 master:3 - fuse.fuse4dbricks adb-1\0402 ro,user_id=0
58 22 0:46 / /mnt/none rw - tmpfs  rw
59 22 0:47 / /mnt/caf"""
    b"\xff"
    rb""" rw - tmpfs tmpfs rw
broken
60 22 - fuse
"""
)


def test_lines(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(TABLE)
    mounts = read_mounts(table)
    assert [mount.device for mount in mounts] == ["8:1", "0:21", "0:45", "0:46", "0:47"]
    ours = mounts[2]
    assert (ours.mountpoint, ours.fstype, ours.source) == ("/mnt/a b\\\t", "fuse.fuse4dbricks", "adb-1 2")
    assert mounts[4].mountpoint.encode(errors="surrogateescape") == b"/mnt/caf\xff"


def test_the_real_table() -> None:
    assert any(mount.mountpoint == "/" for mount in read_mounts())
    assert find_mount(Path("/proc")) is not None
    assert find_mount(Path("/no/such/mount")) is None


def test_tuning_what_is_not_mounted_does_nothing() -> None:
    tune(Path("/no/such/mount"))
