"""A machine that has been up for long: no memory is free, the page cache has it.

The difficulty: a virtual machine may give memory that is free back to its host (free page reporting), and then the first
touch of a page costs ten times a copy: 512 MiB written to new files took 0.2 s of processor where their pages had been in
use a moment before, and 0.6 to 1.7 s where they had not. A file that is read through a mount takes new pages twice over, for
the mount's own and for the cache's files, while ``http.client`` takes none; so the machine's past, not the subject, made
figures of one and the same program differ by two. Memory that is used is not given back: with the page cache full, as it
is where people work, each new page is an old one of it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fuse4dbricks.units import KIB, MIB

_STEP = 64 * MIB
#: More free memory than there was after the first filling, and the page cache is filled again.
_SLACK = 256 * MIB


class FullMemory:
    """Fills the page cache with a file of zeros that takes no room on the disk and goes with its descriptor.

    Args:
        folder: where the file is made; not on a file system that is in memory itself.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as this is
        self._size = _get("MemTotal") // _STEP * _STEP
        self._file.truncate(self._size)
        self._buffer = bytearray(_STEP)
        self._offset = 0
        self._least: int | None = None

    def fill(self) -> None:
        """Have no more memory free than the kernel keeps whatever is read; the first time takes up to a minute."""
        for _ in range(0, self._size, _STEP):
            if self._least is not None and _get("MemFree") <= self._least + _SLACK:
                return
            # What was read longest ago was taken away first.
            os.preadv(self._file.fileno(), [self._buffer], self._offset)
            self._offset = (self._offset + _STEP) % self._size
        self._least = _get("MemFree")


def _get(field: str) -> int:
    """Bytes, as ``/proc/meminfo`` has it."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith(f"{field}:"))
