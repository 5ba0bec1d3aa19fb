"""Joins the disk tier's parts: who may start whom, who tells whom, which calls share threads and a breaker.

The difficulty: reading must go on from a disk that is full or read-only, so reads, writes and deletions fail apart:
each has its threads, its deadline and its breaker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fuse4dbricks.cache.storing.breaker import Breaker
from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.eviction import Eviction, EvictionScene
from fuse4dbricks.cache.storing.known import KnownChunks
from fuse4dbricks.cache.storing.ports import ChunkIndex, Held, IndexPort
from fuse4dbricks.cache.storing.publishing import HURRIED, Publisher, PublishingScene
from fuse4dbricks.cache.storing.quotas import Quotas
from fuse4dbricks.cache.storing.removal import Removals
from fuse4dbricks.cache.storing.room import DiskLimits, Room
from fuse4dbricks.cache.storing.stocktaking import Stocktaking
from fuse4dbricks.cache.storing.sweep import Sweep, SweepScene
from fuse4dbricks.cache.storing.upkeep import Upkeep
from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics

#: Seconds that a reader waits for the cache disk; a spun-down one takes longer, but the workspace does not.
READ_DEADLINE = 5.0

#: Seconds for what nobody waits for: a write may stand behind the page cache's own writing.
WRITE_DEADLINE = 20.0

READ_THREADS = 4


@dataclass(frozen=True, slots=True)
class Shelf:
    """A disk cache that is there: an index, a folder, and all that works on them."""

    rows: ChunkIndex
    store: ChunkStore
    known: KnownChunks
    reads: DiskCalls
    read_breaker: Breaker
    removals: Removals
    eviction: Eviction
    publisher: Publisher
    upkeep: Upkeep


@dataclass(frozen=True, slots=True)
class Ties:
    """What the parts need of the tier and of the mount."""

    limits: DiskLimits
    workspace: str
    chunk_size: int
    supervisor: Supervisor
    metrics: Metrics
    clock: Clock
    get_held: Callable[[], Collection[Held]]
    on_unfit: Callable[[RemotePath, Version, Sequence[int]], None]
    queue_bytes: int


def assemble(index: IndexPort, store: ChunkStore, folder: CacheFolder, ties: Ties) -> Shelf:
    """The parts, joined; nothing runs yet."""
    rows, limits, metrics, clock = index.chunks, ties.limits, ties.metrics, ties.clock
    breakers = [Breaker(purpose, clock) for purpose in ("reading", "writing", "deleting")]
    reading, writing, deleting = breakers
    reads = DiskCalls("read", threads=READ_THREADS, deadline=READ_DEADLINE, breaker=reading, metrics=metrics)
    writes = DiskCalls("write", threads=HURRIED, deadline=WRITE_DEADLINE, breaker=writing, metrics=metrics)
    deletions = DiskCalls("remove", threads=1, deadline=WRITE_DEADLINE, breaker=deleting, metrics=metrics)
    known = KnownChunks(rows, ties.chunk_size, ties.on_unfit)
    room = Room(limits.max_bytes, rows.get_totals, limits.max_files)
    quotas = Quotas(limits, rows.get_shares, clock)
    removals = Removals(store, deletions)
    eviction = Eviction(
        EvictionScene(
            rows=rows,
            folder=folder,
            removals=removals,
            room=room,
            quotas=quotas,
            limits=limits,
            calls=deletions,
            breaker=deleting,
            clock=clock,
            metrics=metrics,
            get_held=ties.get_held,
            on_evicted=known.clear,
            on_space=writing.retry_now,
        )
    )
    publisher = Publisher(
        PublishingScene(
            rows=rows,
            store=store,
            folder=folder,
            limits=limits,
            room=room,
            quotas=quotas,
            eviction=eviction,
            removals=removals,
            known=known,
            calls=writes,
            breaker=writing,
            index_breaker=Breaker("recording", clock),
            metrics=metrics,
        ),
        ties.supervisor,
        ties.queue_bytes,
    )
    sweep = Sweep(
        SweepScene(
            files=store,
            rows=rows,
            known=known,
            removals=removals,
            calls=deletions,
            workspace=ties.workspace,
            chunk_size=ties.chunk_size,
            is_publishing=publisher.is_publishing,
            metrics=metrics,
        )
    )
    stock = Stocktaking(index, sweep, eviction)
    upkeep = Upkeep(index, known, removals, room, stock, ties.get_held, metrics)
    return Shelf(rows, store, known, reads, reading, removals, eviction, publisher, upkeep)
