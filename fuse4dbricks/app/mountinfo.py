r"""What is mounted where, read without touching it.

The difficulty: a ``stat`` of a dead FUSE mount fails, one of a hung mount never returns, and one of our own mount
from our own process deadlocks it beyond SIGKILL (faults.md, fact 5). ``/proc/self/mountinfo`` tells without asking
the file system. Its paths are octal-escaped (``\040`` for a space), and the last line of a path is the mount on top.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

#: File system type of our mounts: "fuse" and the subtype given at mount time.
OUR_TYPE = "fuse.fuse4dbricks"

_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo.

    Attributes:
        path: where it is mounted.
        device: ``MAJOR:MINOR``; the minor number of a FUSE mount names its connection in sysfs.
        fs_type: such as ``ext4`` or ``fuse.fuse4dbricks``.
        source: what the mount calls its source.
    """

    path: str
    device: str
    fs_type: str
    source: str

    @property
    def is_ours(self) -> bool:
        """Whether it is a mount of this program."""
        return self.fs_type == OUR_TYPE


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))


def load_mounts(text: bytes | None = None) -> Iterator[Mount]:
    """The mounts that this process sees, lowest first; ``text`` in place of the kernel's file for tests."""
    for line in (MOUNTINFO.read_bytes() if text is None else text).splitlines():
        before, _, after = line.partition(b" - ")
        left, right = before.split(b" "), after.split(b" ")
        if len(left) >= 5 and len(right) >= 2:
            yield Mount(_unescape(left[4]), left[2].decode(), right[0].decode(), _unescape(right[1]))


def load_mount_at(path: str | os.PathLike[str]) -> Mount | None:
    """The mount on top at exactly ``path`` (absolute, no symbolic links), or None."""
    wanted = os.fspath(path)
    found = None
    for mount in load_mounts():
        if mount.path == wanted:
            found = mount
    return found
