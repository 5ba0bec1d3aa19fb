"""How much memory all the reading ahead of all handles may take.

The difficulty: one handle's window is small, a thousand of them are not. What a reader waits for always
proceeds (the kernel bounds how many wait); what is fetched ahead starts only while half of the limit is free,
and several streams get narrower windows instead of one getting everything.
"""

from __future__ import annotations


class WindowBudget:
    """Bytes that remote reads have been promised and have not completed.

    Attributes:
        limit: bytes that all windows may take together.
        widest: bytes that one of them may take.
        in_flight: bytes of chunks that are asked for and not complete.
        streams: handles that have something in flight.
    """

    __slots__ = ("_wanted", "in_flight", "limit", "streams", "widest")

    def __init__(self, limit: int, widest: int) -> None:
        self.limit = self._wanted = limit
        self.widest = widest
        self.in_flight = 0
        self.streams = 0

    def narrow(self) -> None:
        """There is no memory to be had: be content with half.

        Without a floor: with one of 8 MiB a mount under ``ulimit -v`` went on asking, and died of the request for which
        libfuse had no memory.
        """
        self.limit //= 2

    def widen(self) -> None:
        """Want what was wanted at first."""
        self.limit = self._wanted

    def get_window(self) -> int:
        """The widest window that one handle may have now.

        Twice that times the streams is the limit: a window passes through RAM once in flight and once read,
        and a chunk must not leave RAM between the two.
        """
        return min(self.widest, self.limit // (2 * max(1, self.streams)))

    def has_room(self, amount: int) -> bool:
        """Whether ``amount`` more bytes may be fetched ahead of need."""
        return self.in_flight + amount <= self.limit // 2

    def get_spare(self) -> int:
        """What the bytes in flight leave to complete chunks; a quarter even when demand exceeds the limit."""
        return max(self.limit - self.in_flight, self.limit // 4)
