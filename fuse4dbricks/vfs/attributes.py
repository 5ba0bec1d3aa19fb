"""What ``stat`` shows."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.visibility import EVERYTHING, Visibility

#: What programs use as their buffer size: large enough that ``cp`` makes few calls, small enough that Python's
#: buffered ``open`` of a thousand files stays cheap.
PREFERRED_IO_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """How the mount looks, whoever looks at it.

    Attributes:
        uid, gid: owner of everything.
        file_mode, dir_mode: permission bits.
        is_shared: several local users see the mount, and the kernel's caches are common to them.
        lists_xattrs: the extended attributes of files are listed, and not only answered by name.
        workspace: host, for the README.
        mounted_at: Unix time; the time of folders for which the service has none.
        root: what the mount point shows: everything, a catalog, a schema or a volume.
        visibility: what of it is shown, to whom it may be.
    """

    uid: int
    gid: int
    workspace: str
    mounted_at: float
    file_mode: int = 0o444
    dir_mode: int = 0o555
    is_shared: bool = False
    lists_xattrs: bool = True
    root: RemotePath = ROOT
    visibility: Visibility = EVERYTHING

    @property
    def outline(self) -> str:
        """How paths below the mount point begin."""
        return "/".join([*("CATALOG", "SCHEMA", "VOLUME")[self.root.depth :], "..."])

    @property
    def shown_place(self) -> str:
        """Of what the mount shows the volumes."""
        return self.workspace if not self.root.depth else f"{self.workspace} in {self.root.full_name}"


@dataclass(
    slots=True
)  # frozen, making one takes three times as long, and one is made for each name of a folder
class Attributes:
    """One inode as the kernel is told of it; not to be changed.

    Attributes:
        ino: inode number; 0 means "there is none" (a negative dentry).
        mode: type and permission bits.
        size: bytes.
        mtime: Unix time in seconds; all three times show it.
        entry_timeout: seconds for which the kernel may believe that the name leads here.
        attr_timeout: seconds for which it may believe the rest.
    """

    ino: int
    mode: int = 0
    size: int = 0
    mtime: float = 0.0
    uid: int = 0
    gid: int = 0
    entry_timeout: float = 0.0
    attr_timeout: float = 0.0

    @property
    def nlink(self) -> int:
        """1: for folders, too, it says that sub-folders are not counted (``find`` then looks into each)."""
        return 1

    @property
    def is_directory(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)
