"""Making room: by quotas, by size, by the number of files, by the disk's free space, by age; in batches, oldest first.

The difficulty: the limit has to hold while several writers are at work, so a writer that finds no room waits for a pass
of this service, for a bounded time, and rather does not store than overshoot. When all that is left belongs to open
files a pass is fruitless, and the next ones are spared it for a while. And a clock that jumps ahead by years
must not make everything old at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import trio

from fuse4dbricks.cache.storing.breaker import Breaker
from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.ports import Held, VictimRows
from fuse4dbricks.cache.storing.quotas import Quotas
from fuse4dbricks.cache.storing.removal import FINISH_SECONDS, Removals
from fuse4dbricks.cache.storing.room import DiskLimits, Room
from fuse4dbricks.chunks import CacheFolder, ChunkLabel, ChunkName
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.completion import run_to_end
from fuse4dbricks.concurrency.minutes import next_minute
from fuse4dbricks.errors import CacheError, IndexUnavailable
from fuse4dbricks.index.records import Victim, VictimQuery
from fuse4dbricks.telemetry.metrics import Metrics

logger = logging.getLogger("fuse4dbricks.cache")

#: Chunks per transaction and per batch of unlinks.
BATCH = 256

#: Seconds between looks at the disk's free space.
TICK = 30.0

#: Others may fill the disk for a minute only: per tick no more than this part of the cache gives way to them.
YIELD_STEP = 0.1

#: More than a writer needs is freed at once, so that the next ones need not wait: this part of the cache.
SLACK = 0.02

#: Seconds between runs by age, and by how many the two clocks may differ meanwhile to be believed.
AGE_PERIOD = 3600.0
CLOCK_TOLERANCE = 300.0

#: Seconds that a writer waits for room, and for which a fruitless pass is believed.
PATIENCE = 10.0
BARREN = 5.0

#: Seconds without want after which a full disk is said to have room again: on a disk that is just full the two lines
#: took turns several times a second.
CALM = 60.0


@dataclass(frozen=True, slots=True)
class EvictionScene:
    """What eviction works on.

    Attributes:
        get_held: versions that open handles read.
        breaker: of deletion: while it is open no row is deleted whose file would stay.
        on_evicted: told after each batch that rows are gone.
        on_space: told when room on the disk was made.
    """

    rows: VictimRows
    folder: CacheFolder
    removals: Removals
    room: Room
    quotas: Quotas
    limits: DiskLimits
    calls: DiskCalls
    breaker: Breaker
    clock: Clock
    metrics: Metrics
    get_held: Callable[[], Collection[Held]]
    on_evicted: Callable[[], None]
    on_space: Callable[[], None]


class Eviction:
    """The service that deletes chunks."""

    def __init__(self, scene: EvictionScene) -> None:
        self._scene = scene
        self._asked = trio.Event()
        self._pass_over = trio.Event()
        self._barren_until = 0.0
        self._freed = 0
        self._yield_at = 0.0
        self._is_tight = False
        self._tight_at = 0.0
        self._age_seen: tuple[float, float] | None = None
        self._is_busy = True
        self._is_resting = False

    def ask(self) -> None:
        """Have a pass soon."""
        self._asked.set()

    def stored_one(self) -> None:
        """A chunk was stored: have a pass soon if room gets short, or was not looked at for long."""
        room = self._scene.room
        self._is_busy = True
        if self._is_resting:
            self._is_resting = False
            self._asked.set()
        if (room.is_short or room.is_crowded) and not self._is_barren:
            self._asked.set()

    def released(self) -> None:
        """An open file was closed: what was fruitless need not be so now."""
        self._barren_until = 0.0
        self._scene.quotas.released()

    async def make_room(self, label: ChunkLabel, size: int) -> bool:
        """Wait until a chunk that takes ``size`` bytes fits; False when it does not, or not soon."""
        room, quotas = self._scene.room, self._scene.quotas
        if size > room.limit or quotas.is_hopeless(label, size):
            return False
        if not self._fits(label, size) and not self._is_barren:
            with room.wanting(size), quotas.wanting(label, size), trio.move_on_after(PATIENCE):
                # A pass that was under way did not know of this writer yet; and what one frees, another writer may take.
                fruitless = 0
                while fruitless < 2 and not self._fits(label, size):
                    freed = self._freed
                    self.ask()
                    await self._pass_over.wait()
                    fruitless = fruitless + 1 if self._freed == freed else 0
        return self._fits(label, size)

    def _fits(self, label: ChunkLabel, size: int) -> bool:
        return self._scene.room.fits(size) and self._scene.quotas.fits(label, size)

    async def run(self) -> None:
        """Look after the limits until cancelled."""
        while True:
            try:
                await self._pass()
            except (IndexUnavailable, CacheError) as error:
                self._barren_until = self._scene.clock.monotonic() + BARREN
                self._is_busy = True
                logger.warning("no room was made in the cache: %s", error, extra={"rate_limit": 60})
            finally:
                over, self._pass_over = self._pass_over, trio.Event()
                over.set()
            with trio.CancelScope(deadline=self._get_next_look()):
                await self._asked.wait()
            self._asked = trio.Event()

    def _get_next_look(self) -> float:
        """On trio's clock. While nothing is stored, only others can fill the disk, which takes them longer than a tick."""
        is_calm = self._scene.breaker.is_due and self._scene.room.spare >= 0 and not self._is_tight
        self._is_resting = is_calm and not self._is_busy
        self._is_busy = False
        return next_minute() if self._is_resting else trio.current_time() + TICK

    @property
    def _is_barren(self) -> bool:
        return self._scene.clock.monotonic() < self._barren_until

    async def _pass(self) -> None:
        scene = self._scene
        if not scene.breaker.is_due:
            return
        await self._look(scene.room)
        await self._enforce_quotas()
        if scene.room.excess > 0:
            await self._replace("size", scene.room.excess)
        if scene.room.excess_files > 0:
            await self._replace("files", files=scene.room.excess_files)
        if scene.room.shortage > 0:
            slack = int(scene.rows.get_totals().bytes * SLACK)
            await self._replace("space", scene.room.shortage + slack)
        await self._yield_space(scene.room)
        self._note_tightness(scene.room)
        await self._expire()

    async def _look(self, room: Room) -> None:
        """Measure what changes without us: the index's size, and what the disk has to spare."""
        scene = self._scene
        # By one thread in one go: an idle mount does little else.
        room.overhead, room.index, (free, total) = await scene.calls.run(partial(_measure, scene.folder))
        room.spare = free - scene.limits.get_margin(total) - room.reserved

    async def _enforce_quotas(self) -> None:
        """The heaviest over quota gives way first, and nobody for anybody else."""
        quotas, rows = self._scene.quotas, self._scene.rows
        if not quotas.are_known:
            await rows.track_shares()
        while (heaviest := quotas.find_heaviest()) is not None:
            share, excess = heaviest
            if not await self._evict("quota", VictimQuery(free_bytes=excess, share=share)):
                quotas.note_barren(share)

    async def _replace(self, reason: str, amount: int = 0, files: int = 0) -> None:
        """Make room for new chunks; where that is fruitless, the next ones are not made to wait for it."""
        if not await self._evict(reason, VictimQuery(free_bytes=amount, free_chunks=files)):
            self._barren_until = self._scene.clock.monotonic() + BARREN
        self._scene.on_space()

    async def _yield_space(self, room: Room) -> None:
        """Give way to others who fill the disk: slowly, for they may be gone in a minute."""
        scene, now = self._scene, self._scene.clock.monotonic()
        if room.spare >= 0:
            return
        if now >= self._yield_at:
            self._yield_at = now + TICK
            step = int(scene.rows.get_totals().bytes * YIELD_STEP) or 1
            await self._evict("space", VictimQuery(free_bytes=min(-room.spare, step)))
        if room.spare >= 0:
            scene.on_space()
        else:
            self._barren_until = now + BARREN

    def _note_tightness(self, room: Room) -> None:
        """Say once that the disk, not the limit, keeps the cache from storing; and when that is over."""
        now = self._scene.clock.monotonic()
        if room.spare < 0 or room.shortage > 0:
            if not self._is_tight:
                logger.warning(
                    "the cache folder's disk is full but for what is to stay free: new chunks are not stored"
                )
            self._is_tight, self._tight_at = True, now
        elif self._is_tight and now - self._tight_at >= CALM:
            logger.info("the cache folder's disk has room again")
            self._is_tight = False

    async def _expire(self) -> None:
        scene, max_age = self._scene, self._scene.limits.max_age_seconds
        is_first = self._age_seen is None
        if not max_age or not self._is_age_due():
            return
        if is_first and await self._is_beyond_belief(max_age):
            logger.info(
                "nothing was written here for long, or the clock is ahead: nothing is evicted for its age in the next hour"
            )
            return
        query = VictimQuery(older_than=scene.clock.wall() - max_age)
        while await self._evict_batch("age", query):
            pass

    async def _is_beyond_belief(self, max_age: float) -> bool:
        """Whether all chunks would be too old: a machine that starts with its clock years ahead has it set within minutes."""
        scene = self._scene
        written_at = await scene.calls.run(scene.folder.index_written_at)
        return written_at is not None and scene.clock.wall() - written_at > max_age

    def _is_age_due(self) -> bool:
        """Whether it is time, and the wall clock has gone as the monotonic one since the last time."""
        now, wall = self._scene.clock.monotonic(), self._scene.clock.wall()
        seen = self._age_seen
        if seen is not None and now - seen[0] < AGE_PERIOD:
            return False
        self._age_seen = (now, wall)
        if seen is not None and abs((wall - seen[1]) - (now - seen[0])) > CLOCK_TOLERANCE:
            logger.info("the clock was set; nothing is evicted for its age in the next hour")
            return False
        return True

    async def _evict(self, reason: str, query: VictimQuery) -> bool:
        """Free as many bytes and files as ``query`` wants; whether there were so many."""
        size, files = query.free_bytes or 0, query.free_chunks or 0
        while size > 0 or files > 0:
            victims = await self._evict_batch(reason, replace(query, free_bytes=size, free_chunks=files))
            if not victims:
                return False
            size -= sum(victim.disk_bytes for victim in victims)
            files -= len(victims)
        return True

    async def _evict_batch(self, reason: str, query: VictimQuery) -> list[Victim]:
        """Rows and their files, or neither, also when the mount ends meanwhile."""
        return await run_to_end(partial(self._take_batch, reason, query), within=FINISH_SECONDS)

    async def _take_batch(self, reason: str, query: VictimQuery) -> list[Victim]:
        protected = frozenset(self._scene.get_held())
        victims = await self._scene.rows.take_victims(replace(query, protected=protected), BATCH)
        if not victims:
            return []
        size = sum(victim.disk_bytes for victim in victims)
        self._freed += size
        self._scene.on_evicted()
        self._scene.metrics.add("disk.evicted", len(victims), reason=reason)
        self._scene.metrics.add("disk.evicted_bytes", size, reason=reason)
        with self._scene.room.parting(size, len(victims)):
            if not await self._scene.removals.unlink([ChunkName(victim.name) for victim in victims]):
                raise CacheError("their files cannot be deleted")
        self._scene.room.spare += size
        return victims


def _measure(folder: CacheFolder) -> tuple[int, int, tuple[int, int]]:
    """In a thread: bytes of what is no chunk, of the index, and free and in all on the disk."""
    return folder.overhead_bytes(), folder.index_bytes(), folder.free_bytes()
