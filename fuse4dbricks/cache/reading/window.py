"""Recognising sequential reading, and how far ahead of it to be.

The difficulty: the kernel's own readahead splits one sequential reader into requests of 128 KiB to 1 MiB that
arrive in parallel and out of order, and leaves out pages that it has; while strided, backward and random
readers must not be taken for sequential ones, or each 4 KiB costs megabytes (upstream: 20,634 times the bytes).
So what counts is how far the bytes asked for are *contiguous*: requests a few MiB ahead wait in ``_early`` until
the gap closes, and the window is a function of the contiguous run alone: four times what was read, in doublings.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuse4dbricks.units import KIB, MIB

#: Out-of-order requests remembered: 4 MiB in the smallest requests (128 KiB).
MAX_EARLY = 32
#: Chunks of the disk cache that are got ready ahead of a sequential reader; a disk needs no wider window.
NEAR_CHUNKS = 16


@dataclass(frozen=True, slots=True)
class WindowShape:
    """The lengths, in bytes, that make a window; tests use small ones.

    Attributes:
        reorder: how far out of order requests may come: the kernel's readahead is 4 MiB at most.
        widest: of one handle; eight ranges of 8 MiB keep eight connections busy at 50 MB/s and 30 ms.
        step: one remote read of a window never exceeds this.
        small_file: a file up to this is fetched whole by the first read at its start, so ``cat`` is one call.
        prompt: of a chunk that somebody waits for, what is taken in before he is woken, at least: less would be a turn
            of the loop for each TLS record.
    """

    reorder: int = 4 * MIB
    widest: int = 64 * MIB
    step: int = 8 * MIB
    small_file: int = 4 * MIB
    prompt: int = 64 * KIB


class Window:
    """What one handle read and how far it is worth being ahead of it. Pure: offsets in, chunk ranges out.

    Attributes:
        front: everything of the current run below this offset has been asked for.
        reach: chunks below this index have been asked for remotely, or need not be.
        near: the same for loading from disk.
        behind: chunks of the run below this index have been read, and are not expected to be asked for again.
    """

    __slots__ = (
        "_base",
        "_chunk_size",
        "_early",
        "_first_stop",
        "_look_at",
        "_shape",
        "_size",
        "behind",
        "front",
        "near",
        "reach",
    )

    def __init__(self, file_size: int, chunk_size: int, shape: WindowShape) -> None:
        self._size = file_size
        self._chunk_size = chunk_size
        self._shape = shape
        self._base = 0
        self._first_stop = 0
        self._look_at = 0
        self._early: list[tuple[int, int]] = []
        self.front = 0
        self.reach = 0
        self.near = 0
        self.behind = 0

    def observe(self, start: int, stop: int) -> bool:
        """Note a read of [start, stop). Returns whether it left the current run (a seek)."""
        if not self._first_stop:
            self._seek(start, stop)
        elif start == self.front:
            self.front = stop
        elif stop <= self.front:
            return self._note_behind(start, stop)
        elif start < self.front:
            self.front = stop
        else:
            return self._note_early(start, stop)
        if self._early:
            self._close_gaps()
        return False

    @property
    def is_due(self) -> bool:
        """Whether the reader moved on enough for another look at what to fetch (cheap: asked on each read)."""
        return self.front >= self._look_at

    def looked(self) -> None:
        """The look was taken; the next is due a quarter of a chunk further on."""
        self._look_at = self.front + self._chunk_size // 4

    def get_size(self, widest: int) -> int:
        """Bytes worth being ahead: 0 until a second request made the run half a chunk long, then doubling."""
        run = self.front - self._base
        if self.front == self._first_stop or 2 * run < self._chunk_size:
            return 0
        return min(1 << ((4 * run).bit_length() - 1), widest)

    def get_step(self, widest: int) -> int:
        """How many chunks one remote read should ask for."""
        size = min(self.get_size(widest) // 8, self._shape.step)
        return max(1, size // self._chunk_size)

    def get_far(self, widest: int) -> range:
        """Chunks to fetch from the workspace next; empty when the reader is far enough behind."""
        size = self.get_size(widest)
        if not size or self.reach * self._chunk_size >= min(self.front + size, self._size):
            return range(0)
        first = max(self.reach, self.front // self._chunk_size)
        return range(first, min(first + self.get_step(widest), self._chunk_count))

    def get_demand(self, first: int, stop: int, widest: int) -> int:
        """Up to which chunk to fetch when a read needs [first, stop) now: one chunk's worth, or the step."""
        if first == 0 and self._size <= self._shape.small_file:
            return self._chunk_count
        return max(stop, min(first + self.get_step(widest), self._chunk_count))

    def get_near(self) -> range:
        """Chunks to get ready on disk next: many at a time, when half of the last ones were read."""
        here = self.front // self._chunk_size
        if self.near - here > NEAR_CHUNKS // 2 or not self.get_size(self._chunk_size):
            return range(0)
        return range(max(self.near, here), min(here + 1 + NEAR_CHUNKS, self._chunk_count))

    def pass_by(self) -> range:
        """Chunks that a sequential reader of a large file has left behind since this was last asked."""
        if self._size <= self._shape.small_file or not self.get_size(self._chunk_size):
            return range(0)
        left = range(self.behind, (self.front - self._shape.reorder) // self._chunk_size)
        self.behind = max(self.behind, left.stop)
        return left

    @property
    def _chunk_count(self) -> int:
        return -(-self._size // self._chunk_size)

    def _seek(self, start: int, stop: int) -> None:
        self._base = start
        self.front = self._first_stop = stop
        self._early.clear()
        self.reach = self.near = self.behind = start // self._chunk_size
        self._look_at = stop

    def _note_behind(self, start: int, stop: int) -> bool:
        """A second read of the same bytes, a late request, or the start of something further back."""
        if self.front - start <= self._shape.reorder:
            return False
        self._seek(start, stop)
        return True

    def _note_early(self, start: int, stop: int) -> bool:
        """A request beyond a gap: keep it until the gap closes, unless that is not going to happen."""
        if stop - self.front <= self._shape.reorder and len(self._early) < MAX_EARLY:
            self._early.append((start, stop))
            return False
        asked = sum(until - since for since, until in self._early)
        if start - self.front <= 2 * self._shape.reorder and 2 * asked > start - self.front:
            # The gaps are pages that the kernel had; most bytes were asked for, so the run goes on.
            self._early.clear()
            self.front = stop
            return False
        self._seek(start, stop)
        return True

    def _close_gaps(self) -> None:
        self._early.sort()
        while self._early and self._early[0][0] <= self.front:
            self.front = max(self.front, self._early.pop(0)[1])
