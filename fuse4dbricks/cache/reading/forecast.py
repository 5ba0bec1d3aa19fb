"""How many remote reads a program that reads a whole file from its beginning would cause.

The difficulty: reads ahead grow with what was read, and what is cached lies between them. So the handle's own window is
run over the file, without bytes. Long files are counted from their beginning, for the window soon stops growing.
"""

from __future__ import annotations

from fuse4dbricks.cache.reading.window import Window, WindowShape
from fuse4dbricks.units import KIB, MIB

#: What the kernel asks for at a time when it reads ahead little.
_READ_BYTES = 128 * KIB
#: From here on every remote read is of the widest step.
_GROWN_AT = 128 * MIB


def count_calls(size: int, chunk_size: int, shape: WindowShape, held: frozenset[int]) -> int:
    """Remote reads for a file of ``size`` bytes of which the chunks ``held`` are cached.

    Exact for files up to ``shape.small_file`` whose beginning is not cached; for others the timing of reads makes it a
    few more or less.
    """
    count = -(-size // chunk_size)
    grown = min(count, _GROWN_AT // chunk_size)
    walk = _Walk(Window(size, chunk_size, shape), chunk_size, shape.widest, set(held))
    for start in range(0, min(size, grown * chunk_size), _READ_BYTES):
        walk.read(start, min(start + _READ_BYTES, size))
    step = max(1, shape.step // chunk_size)
    return walk.calls + sum(
        1
        for first in range(grown, count, step)
        if not held.issuperset(range(first, min(first + step, count)))
    )


class _Walk:
    """One reader, as far as the window sees him; what is asked for has come when he reads on."""

    def __init__(self, window: Window, chunk_size: int, widest: int, have: set[int]) -> None:
        self.calls = 0
        self._window = window
        self._chunk_size = chunk_size
        self._widest = widest
        self._have = have

    def read(self, start: int, stop: int) -> None:
        """Bytes [start, stop), and what is fetched ahead of need then."""
        first, until = start // self._chunk_size, -(-stop // self._chunk_size)
        self._window.observe(start, stop)
        if not self._have.issuperset(range(first, until)):
            wanted = self._window.get_demand(first, until, self._widest)
            self._fetch(range(first, wanted))
            self._window.reach = max(self._window.reach, wanted)
        if self._window.is_due:
            self._window.looked()
            while far := self._window.get_far(self._widest):
                self._fetch(far)
                self._window.reach = far.stop

    def _fetch(self, chunks: range) -> None:
        before = True
        for index in chunks:
            is_here = index in self._have
            self.calls += before and not is_here
            before = is_here
        self._have.update(chunks)
