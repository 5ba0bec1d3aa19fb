"""Is the cache folder on this machine?

The difficulty: SQLite in WAL mode shares memory between the processes that have the file open, and over a network
that memory is not shared: the file is damaged without an error. Locks on such file systems lie too. The kernel's mount
table says what a path lies on without touching it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fuse4dbricks.errors import CacheFolderError

MOUNTINFO = Path("/proc/self/mountinfo")

#: File system types whose other end is another machine (or, for 9p, the host of a virtual one).
NETWORK_TYPES = frozenset(
    [
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "ncp",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "pvfs2",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "prl_fs",
    ]
)
#: Sub-types of FUSE mounts that are a network in disguise, this program's own among them.
NETWORK_FUSE = re.compile(
    r"fuse\.(sshfs|.*s3.*|rclone|goofys|gcsfuse|blobfuse2?|davfs2?|gluster.*|ceph.*|juicefs|curlftpfs|mount-s3|"
    r"mountpoint-s3|fuse4dbricks|smbnetfs|grpcfuse|vmhgfs-fuse)"
)

_ESCAPE = re.compile(r"\\([0-7]{3})")


def find_filesystem_type(path: str, mountinfo: str) -> str | None:
    """The type of the file system that the absolute, link-free ``path`` lies on, by the text of mountinfo."""
    best, found = -1, None
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        mount = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/")
        # Of equals the later line is the mount on top.
        if (path == mount or path.startswith(mount + "/")) and len(mount) >= best:
            best, found = len(mount), right.split(" ", 1)[0]
    return found


def refuse_network_folder(folder: Path, mountinfo: Path = MOUNTINFO) -> None:
    """Make sure that the index may live in ``folder``.

    Raises:
        CacheFolderError: it is on a network file system.
    """
    try:
        table = mountinfo.read_bytes().decode("latin-1")
    except OSError:
        return  # no /proc: nothing can be said against the folder
    where = os.fsencode(os.path.realpath(folder)).decode("latin-1")
    kind = find_filesystem_type(where, table)
    if kind is not None and (kind in NETWORK_TYPES or NETWORK_FUSE.fullmatch(kind)):
        raise CacheFolderError(
            f"the cache folder {folder} is on a network file system ({kind}), where the index would be damaged; "
            "choose a folder on a local disk with --disk-cache-dir"
        )
