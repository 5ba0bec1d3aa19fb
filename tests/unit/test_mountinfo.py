"""mountinfo is read as the kernel writes it: escapes, optional fields, mounts on top of each other."""

from __future__ import annotations

from pathlib import Path

from fuse4dbricks.app.mountinfo import Mount, load_mount_at, load_mounts

TEXT = rb"""22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
30 22 0:44 / /mnt/a\040b rw,nosuid,nodev - fuse.fuse4dbricks adb-1.azuredatabricks.net ro,user_id=0
31 22 0:45 / /mnt/tab\011back\134slash rw - fuse.sshfs host:/x rw
not a line
40 22 0:46 / /mnt/\377 rw - tmpfs none rw
"""


def test_lines_are_unescaped() -> None:
    mounts = list(load_mounts(TEXT))
    assert mounts[1] == Mount("/mnt/a b", "0:44", "fuse.fuse4dbricks", "adb-1.azuredatabricks.net")
    assert mounts[2].path == "/mnt/tab\tback\\slash"
    assert mounts[3].path.encode(errors="surrogateescape") == b"/mnt/\xff"
    assert len(mounts) == 4


def test_only_our_type_is_ours() -> None:
    assert [mount.is_ours for mount in load_mounts(TEXT)] == [False, True, False, False]


def test_the_kernel_is_asked() -> None:
    root = load_mount_at("/")
    assert root is not None
    assert not root.is_ours
    assert load_mount_at(Path("/no/such/mount")) is None
