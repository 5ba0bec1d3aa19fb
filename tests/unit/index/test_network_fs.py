"""Which file systems the index may live on, by the kernel's table."""

from pathlib import Path

import pytest

from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.network_fs import find_filesystem_type, refuse_network_folder

TABLE = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /home rw - nfs4 server:/home rw
31 30 8:2 / /home/local rw - xfs /dev/sdb1 rw
32 21 0:41 / /mnt/with\040space rw - cifs //server/share rw
33 21 0:42 / /sshfs rw - fuse.sshfs me@server: rw
34 21 0:43 / /ntfs rw - fuseblk /dev/sdc1 rw
35 21 8:1 /sub /over rw - ext4 /dev/sda1 rw
36 35 0:44 / /over rw - 9p host rw
37 21 0:45 / /tmp rw - tmpfs tmpfs rw
not a line of the table
38 21 0:46
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homeless", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/.cache", "nfs4"),
        ("/home/local/cache", "xfs"),
        ("/mnt/with space/x", "cifs"),
        ("/over/x", "9p"),
        ("/tmp/x", "tmpfs"),
    ],
)
def test_what_a_path_lies_on(path: str, kind: str) -> None:
    assert find_filesystem_type(path, TABLE) == kind


def test_an_empty_table_says_nothing() -> None:
    assert find_filesystem_type("/x", "") is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"]
)
def test_a_network_folder_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"21 1 0:1 / / rw - {kind} somewhere rw\n")
    with pytest.raises(CacheFolderError, match=rf"\({kind}\).*--disk-cache-dir"):
        refuse_network_folder(tmp_path, table)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.ntfs-3g"]
)
def test_a_local_folder_is_taken(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"21 1 0:1 / / rw - {kind} somewhere rw\n")
    refuse_network_folder(tmp_path, table)


def test_without_the_table_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_folder(tmp_path, tmp_path / "missing")
