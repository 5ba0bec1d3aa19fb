"""Opening in the event loop a file whose name the kernel has in memory.

The difficulty: a name that is looked up on the disk waits for the disk, so opening is for threads; but a thread that
opens chunks beside a busy loop has to ask for the interpreter after each system call, 0.3 to 0.7 ms for each chunk where
4 µs would do, and a reader of a warm cache overtakes it. ``openat2`` with ``RESOLVE_CACHED`` (Linux 5.12) refuses instead
of waiting. Neither Python nor most versions of glibc have a function for it, and some containers forbid it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable

from fuse4dbricks.chunks.files import READ, READ_UNNOTED, file_path
from fuse4dbricks.chunks.label import ChunkName

#: The same number on every architecture that numbers its calls in common, which these do.
_OPENAT2 = 437
_MACHINES = frozenset({"x86_64", "aarch64", "ppc64le", "s390x", "riscv64"})

#: linux/openat2.h
_NO_XDEV, _NO_SYMLINKS, _BENEATH, _CACHED = 0x01, 0x04, 0x08, 0x20

#: There is no such call, no such flag, or a filter forbids it: it will not be otherwise the next time.
_NEVER = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})

#: (folder's descriptor, path, flags) to a descriptor; raises ``OSError``.
Call = Callable[[int, bytes, int], int]


class _Way(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _make_call() -> Call | None:
    """``openat2`` for reading: no link, no other file system, no FIFO and no disk is waited for."""
    if platform.machine() not in _MACHINES or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    # PyDLL keeps the interpreter for the 2 µs of the call: to give it away is to wait for it.
    syscall = getattr(ctypes.PyDLL(None, use_errno=True), "syscall", None)
    if syscall is None:
        return None
    syscall.restype = ctypes.c_long
    syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    resolve = _NO_XDEV | _NO_SYMLINKS | _BENEATH | _CACHED
    ways = {flags: _Way(flags=flags, resolve=resolve) for flags in (READ_UNNOTED, READ)}
    size = ctypes.sizeof(_Way)

    def openat2(dir_fd: int, path: bytes, flags: int) -> int:
        fd = int(syscall(_OPENAT2, dir_fd, path, ctypes.addressof(ways[flags]), size))
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return fd

    return openat2


class CachedOpener:
    """Opens chunk files at once or not at all.

    Args:
        call: how, in place of ``openat2``; None: there is no way here.

    Attributes:
        is_able: whether there is such a way here, as far as is known.
    """

    def __init__(self, call: Call | None = _make_call()) -> None:  # noqa: B008 - the same for all, and no I/O
        self._call = call
        self.is_able = call is not None

    def open(self, dir_fd: int, name: ChunkName) -> int | None:
        """A descriptor of what stands in the place of a chunk's file; None where that is not to be had at once.

        Why not is for a thread to find out, which may wait for it and has an account of errors.
        """
        if self._call is None or not self.is_able:
            return None
        path = file_path(name).encode()
        try:
            try:
                return self._call(dir_fd, path, READ_UNNOTED)
            except PermissionError as error:
                if error.errno != errno.EPERM:
                    raise
                # Said of this one file, whose owner alone may ask for READ_UNNOTED, or of the call by a filter.
                return self._call(dir_fd, path, READ)
        except OSError as error:
            if error.errno in _NEVER:
                self.is_able = False
            return None
