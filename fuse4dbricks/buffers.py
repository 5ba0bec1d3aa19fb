"""Memory that is about to be written to.

The difficulty: ``bytearray(n)`` writes zeros that what arrives then replaces. For a mebibyte this is 11 µs where copying it
from the page cache takes 26, and as much again per chunk that is downloaded.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable

#: Smaller buffers than this are zeroed sooner than the C function is called (0.6 µs).
_WORTH_A_CALL = 1 << 15


def make_blank(length: int) -> bytearray:
    """``length`` bytes, holding whatever the memory held before: nobody may see any that were not overwritten.

    Raises:
        MemoryError: there is no room for so many.
    """
    return bytearray(length) if length < _WORTH_A_CALL else _allocate(length)


def _make_allocate() -> Callable[[int], bytearray]:
    if platform.python_implementation() != "CPython":
        return bytearray
    # Not PyByteArray_FromStringAndSize: where memory is short it takes apart what it has not put together, and says so.
    resize = ctypes.pythonapi.PyByteArray_Resize
    resize.restype = ctypes.c_int
    resize.argtypes = (ctypes.py_object, ctypes.c_ssize_t)

    def allocate(length: int) -> bytearray:
        made = bytearray()
        resize(made, length)
        return made

    return allocate


_allocate = _make_allocate()
