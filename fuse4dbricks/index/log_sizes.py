"""How far the index's log (the WAL) may grow before it is written back.

The difficulty: a long log makes writes cheap, and the log counts for the size limit of the cache. Where the limit is a
few MiB, the length that is right for a large cache would be more than all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

PAGE = 4096


@dataclass(frozen=True, slots=True)
class LogSizes:
    """Pages of 4 KiB in the WAL at which something is done; the defaults are those of a large cache.

    Attributes:
        idle: written back when nothing waits to be written.
        soon: at the next chance.
        force: with force.
        full: no more is written.
    """

    idle: int = 1_000
    soon: int = 4_000
    force: int = 16_000
    full: int = 65_536

    @property
    def keep_bytes(self) -> int:
        """A WAL that once was larger is cut back to this when it is reset."""
        return self.soon * PAGE


def sizes_within(limit: int) -> LogSizes:
    """For a cache folder of ``limit`` bytes: less than a 32nd of it in ordinary times, a quarter with a foreign reader in the way."""
    large = LogSizes()
    soon = min(large.soon, max(1, limit // 32 // PAGE))
    return LogSizes(
        min(large.idle, max(1, soon // 4)), soon, min(large.force, soon * 4), min(large.full, soon * 8)
    )
