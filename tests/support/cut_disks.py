"""A file system on a disk of its own whose power can be cut: ext4 or xfs on a loop device, shut down by the kernel.

The difficulty: after ``shutdown`` nothing more reaches the disk, and what had not reached it is gone, as in a power cut; but
each such disk is a mount and a loop device of the machine, which must be given back whatever the test does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: ``_IOR('X', 125, __u32)``: EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same.
SHUTDOWN = 0x8004587D

#: Flags of the call: the log (journal) reaches the disk first, or not even that.
LOG_FLUSHED, LOG_LOST = 1, 2

#: The smallest that ``mkfs.xfs`` makes.
SIZE = 300 * 1024 * 1024

_MAKE = {"ext4": ("mkfs.ext4", "-qF"), "xfs": ("mkfs.xfs", "-qf")}


class CutDisk:
    """A file system on a file.

    Attributes:
        path: where it is mounted.
    """

    def __init__(self, image: Path, path: Path, kind: str) -> None:
        self.path = path
        self._image = image
        self._kind = kind
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([*_MAKE[kind], image], check=True, capture_output=True)
        path.mkdir()

    def mount(self) -> None:
        """Also after a cut: the file system's own recovery runs then."""
        subprocess.run(
            ["mount", "-o", "loop", "-t", self._kind, self._image, self.path], check=True, capture_output=True
        )

    def cut(self, flags: int) -> None:
        """Cut the power, as far as this file system knows."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", flags))
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """What was written so far reaches the disk."""
        subprocess.run(["sync", "-f", self.path], check=True)

    def unmount(self) -> None:
        """With all that is open on it closed; its loop device goes with it."""
        subprocess.run(["umount", self.path], check=True, capture_output=True)


@contextmanager
def cut_disk(folder: Path, kind: str) -> Iterator[CutDisk]:
    """A mounted disk for the length of a block; skips the test where there can be none."""
    if os.geteuid() != 0 or shutil.which(_MAKE[kind][0]) is None:
        pytest.skip(f"needs root and {_MAKE[kind][0]}")
    folder.mkdir(exist_ok=True)
    try:
        disk = CutDisk(folder / f"{kind}.img", folder / kind, kind)
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(
            f"cannot mount {kind} on a loop device here: {error.stderr.decode(errors='replace').strip()}"
        )
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk.path], check=False, capture_output=True)
