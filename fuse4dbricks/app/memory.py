"""Telling the C library how this process uses memory.

The difficulty: a mount takes and returns buffers of a mebibyte, hundreds per second. By default glibc gives such a
buffer back to the kernel when it is freed, and each new one is 256 page faults (0.2 to 0.8 ms, as much as its download);
and each thread allocates from an arena of its own, so that what one has freed the next one takes anew. So there is one
arena, which keeps some of what is free.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from fuse4dbricks.units import MIB

#: malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

#: Free memory at the end of the heap that is kept.
KEPT_FREE = 32 * MIB
#: Larger blocks than this come from the kernel and go back to it: chunks are smaller unless the mount says otherwise.
LARGE = 16 * MIB


def reuse_buffers() -> None:
    """Keep freed buffers for the next ones; before threads are started. Nothing happens without glibc."""
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, LARGE), (_M_TRIM_THRESHOLD, KEPT_FREE))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting, value in settings:
            mallopt(setting, value)


@contextmanager
def made_for_good() -> Iterator[None]:
    """What a block makes, such as modules, stays to the end: it is not looked through for garbage, now or ever."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def give_back_memory() -> None:
    """Return what is free to the system; some milliseconds. Nothing happens without glibc."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
