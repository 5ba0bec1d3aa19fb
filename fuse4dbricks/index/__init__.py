"""What was seen and what is cached, in one SQLite file. The only package that holds SQL.

::

    in the loop                                  in one thread
    Index ─┬─ Tree      ─┐                       Writer ── Store ── Session
           ├─ Chunks     ├─ Reader (read-only)              │         ├─ tree_writes
           ├─ Grants     ├─ Writer.post / run ─ OpQueue ────┘         ├─ chunk_writes ─ Rollup, VictimList
           └─ Counters  ─┘                                            └─ TouchLog
"""

from fuse4dbricks.index.index import Index
from fuse4dbricks.index.records import (
    ChunkRow,
    NewChunk,
    StoredEntry,
    StoredGrant,
    StoredListing,
    Totals,
    Victim,
    VictimQuery,
)

__all__ = [
    "ChunkRow",
    "Index",
    "NewChunk",
    "StoredEntry",
    "StoredGrant",
    "StoredListing",
    "Totals",
    "Victim",
    "VictimQuery",
]
