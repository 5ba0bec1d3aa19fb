"""What was seen and what is cached, in one SQLite file. The only package that holds SQL.

::

    in the loop                                  in one thread
    Index ─┬─ Tree      ─┐                       Writer ── Store ── Session
           ├─ Chunks     ├─ Reader (read-only)              │         ├─ tree_writes
           ├─ Grants     ├─ Writer.post / run ─ OpQueue ────┘         ├─ chunk_writes ─ Rollup, VictimList
           ├─ Pins       │                                            ├─ pinning
           └─ Counters  ─┘                                            └─ TouchLog
"""

from typing import TYPE_CHECKING

from fuse4dbricks.index.records import (
    ChunkRow,
    Foundling,
    NewChunk,
    Pin,
    Selection,
    StoredEntry,
    StoredGrant,
    StoredListing,
    Totals,
    Victim,
    VictimQuery,
)

if TYPE_CHECKING:
    from fuse4dbricks.index.index import Index
else:

    def __getattr__(name: str) -> object:
        """The index itself when somebody wants it: it brings trio, a third of what ``cache-stats`` may take."""
        if name == "Index":
            from fuse4dbricks.index.index import Index  # noqa: PLC0415

            return Index
        raise AttributeError(name)


__all__ = [
    "ChunkRow",
    "Foundling",
    "Index",
    "NewChunk",
    "Pin",
    "Selection",
    "StoredEntry",
    "StoredGrant",
    "StoredListing",
    "Totals",
    "Victim",
    "VictimQuery",
]
