"""The index's chunk rows in a dict, with switches for what can go wrong, and a disk tier on top of real chunk files."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from fuse4dbricks.cache.disk import DiskLimits, DiskTier
from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index.records import (
    ChunkRow,
    Foundling,
    NewChunk,
    Selection,
    Share,
    Totals,
    Victim,
    VictimQuery,
)
from fuse4dbricks.index.selecting import Batch
from fuse4dbricks.index.shares import Shares
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import MIB
from tests.support.indexes import HandClock
from tests.support.labels import CHUNK_SIZE, PATH, chunk_file, label

Key = tuple[RemotePath, Version, int]


async def until(condition: Callable[[], bool]) -> None:
    """Until tasks and threads have done what makes ``condition`` true."""
    with trio.fail_after(30):
        while not condition():
            await trio.lowlevel.checkpoint()


@dataclass
class DictRows:
    """``Index.chunks``, least recently used first."""

    clock: HandClock
    rows: dict[Key, tuple[ChunkRow, NewChunk]] = field(default_factory=dict)
    used: dict[int, float] = field(default_factory=dict)
    is_busy: bool = False
    is_broken: bool = False
    loads: int = 0
    adds: int = 0
    queries: list[VictimQuery] = field(default_factory=list)
    committing: trio.Event | None = None
    waiting: int = 0
    tracks_shares: bool = False
    _ids: int = 0

    def load_span(
        self, path: RemotePath, version: Version, first: int, stop: int
    ) -> dict[int, ChunkRow] | None:
        self.loads += 1
        if self.is_busy:
            return None
        keys = ((path, version, index) for index in range(first, stop))
        return {key[2]: self.rows[key][0] for key in keys if key in self.rows}

    def load_names(self, names: Sequence[bytes]) -> set[bytes] | None:
        if self.is_busy:
            return None
        return {row.name for row, _ in self.rows.values()} & set(names)

    async def list_names(self, shards: range) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        return [row.name for row, _ in self.rows.values() if row.name[0] in shards]

    def touch(self, row_id: int) -> None:
        self.used[row_id] = self.clock.wall()

    async def add(self, path: RemotePath, version: Version, rows: Sequence[NewChunk]) -> None:
        self.adds += 1
        await self._commit()
        for new in rows:
            self._ids += 1
            row = ChunkRow(self._ids, new.chunk_index, new.name, new.length, new.checksum)
            self.rows[path, version, new.chunk_index] = (row, new)
            self.used[row.id] = self.clock.wall()

    async def remove(self, path: RemotePath, version: Version, indexes: Sequence[int] | None) -> list[bytes]:
        await self._commit()
        wanted = [
            key for key in self.rows if key[:2] == (path, version) and (indexes is None or key[2] in indexes)
        ]
        return [self.rows.pop(key)[0].name for key in wanted]

    async def take_victims(self, want: VictimQuery, limit: int = 256) -> list[Victim]:
        self.queries.append(want)
        await self._commit()
        victims: list[Victim] = []
        freed = 0
        for key in sorted(self.rows, key=lambda key: self.used[self.rows[key][0].id]):
            row, new = self.rows[key]
            is_old = want.older_than is not None and self.used[row.id] < want.older_than
            is_wanted = freed < (want.free_bytes or 0) or len(victims) < (want.free_chunks or 0)
            if want.share is not None and want.share not in _shares_of(key[0], new.owner):
                continue
            if (is_old or is_wanted) and key[:2] not in want.protected and len(victims) < limit:
                del self.rows[key]
                victims.append(Victim(row.name, row.length, new.disk_bytes or row.length))
                freed += victims[-1].disk_bytes
        return victims

    async def adopt(self, found: Sequence[Foundling]) -> list[bytes]:
        await self._commit()
        unwanted: list[bytes] = []
        for each in found:
            key = (each.path, each.version, each.chunk.chunk_index)
            if key not in self.rows:
                await self.add(each.path, each.version, [each.chunk])
                self.used[self.rows[key][0].id] = each.chunk.last_access or 0.0
            elif self.rows[key][0].name != each.chunk.name:
                unwanted.append(each.chunk.name)
        return unwanted

    async def take_selected(self, selection: Selection, after: int = 0, limit: int = 256) -> Batch:
        await self._commit()
        names = selection.names
        gone = [
            key
            for key, (row, _) in self.rows.items()
            if key[:2] not in selection.protected and (names is None or row.name in names)
        ]
        taken = [self.rows.pop(key) for key in gone]
        return Batch(tuple(Victim(row.name, row.length, new.disk_bytes or 0) for row, new in taken), None)

    async def count_again(self) -> None:
        await self._commit()

    def get_totals(self) -> Totals:
        return Totals(len(self.rows), sum(new.disk_bytes or 0 for _, new in self.rows.values()))

    async def track_shares(self) -> None:
        await self._commit()
        self.tracks_shares = True

    def get_shares(self) -> Shares | None:
        sums = Counter[Share]()
        for (path, _, _), (_, new) in self.rows.items():
            for share in _shares_of(path, new.owner):
                sums[share] += new.disk_bytes or 0
        return sums if self.tracks_shares else None

    async def _commit(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.committing is not None:
            self.waiting += 1
            await self.committing.wait()
        if self.is_broken:
            raise IndexUnavailable("broken for the test")


def _shares_of(path: RemotePath, owner: str) -> tuple[Share, Share]:
    host = label().workspace
    return Share("user", host, owner), Share("catalog", host, path.parts[0])


@dataclass
class DictIndex:
    chunks: DictRows
    is_complete: bool = True
    epoch: int = 1
    on_renewed: Callable[[], object] | None = None

    def tell_renewed(self, call: Callable[[], object]) -> None:
        self.on_renewed = call

    async def note_complete(self, epoch: int) -> None:
        await trio.lowlevel.checkpoint()
        self.is_complete = self.is_complete or epoch == self.epoch

    async def renew(self) -> None:
        await trio.lowlevel.checkpoint()
        self.chunks.rows.clear()
        self.epoch += 1
        self.is_complete = False
        if self.on_renewed is not None:
            self.on_renewed()


#: A file of ten chunks.
FILE = Version(size=10 * CHUNK_SIZE, last_modified=1_700_000_000)


def payload_of(index: int, version: Version = FILE) -> bytes:
    return bytes([65 + index]) * label(index, version=version).length


@dataclass
class TierRig:
    """A disk tier on real files."""

    tier: DiskTier
    index: DictIndex
    rows: DictRows
    folder: CacheFolder
    store: ChunkStore
    metrics: Metrics
    clock: HandClock
    supervisor: Supervisor
    done: list[int] = field(default_factory=list)
    progress: trio.Event = field(default_factory=trio.Event)

    def offer(
        self, index: int, *, path: RemotePath = PATH, version: Version = FILE, owner: str = "42"
    ) -> bool:
        def on_done() -> None:
            self.done.append(index)
            self.progress.set()
            self.progress = trio.Event()

        return self.tier.publish(path, version, index, payload_of(index, version), owner, on_done)

    async def settle(self, offered: int) -> None:
        """Wait until so many offers are done with."""
        with trio.fail_after(30):
            while len(self.done) < offered:
                await self.progress.wait()

    async def store_chunks(
        self, *indexes: int, path: RemotePath = PATH, version: Version = FILE, owner: str = "42"
    ) -> None:
        before = len(self.done)
        for number, index in enumerate(indexes, start=1):
            assert self.offer(index, path=path, version=version, owner=owner)
            await self.settle(before + number)

    def known(self, *, path: RemotePath = PATH, version: Version = FILE) -> frozenset[int]:
        return self.tier.get_known(path, version, 0, 10)

    async def load(self, index: int, *, path: RemotePath = PATH, version: Version = FILE) -> bytes | None:
        found = await self.tier.load_chunk(path, version, index)
        return None if found is None else bytes(found)


@asynccontextmanager
async def tier_rig(
    folder: Path,
    *,
    limits: DiskLimits | None = None,
    rows: DictRows | None = None,
    is_complete: bool = True,
    store_type: type[ChunkStore] = ChunkStore,
    queue_bytes: int = 64 * MIB,
) -> AsyncIterator[TierRig]:
    clock = HandClock() if rows is None else rows.clock
    index = DictIndex(rows or DictRows(clock), is_complete)
    metrics = Metrics()
    with CacheFolder.open(folder) as opened:
        store = store_type(opened, clock)
        async with supervised(metrics) as supervisor:
            tier = DiskTier(
                index=index,
                store=store,
                folder=opened,
                workspace=label().workspace,
                chunk_size=CHUNK_SIZE,
                limits=limits or DiskLimits(64 * MIB, min_free_bytes=0),
                supervisor=supervisor,
                metrics=metrics,
                clock=clock,
                queue_bytes=queue_bytes,
            )
            supervisor.run_forever("eviction", tier.run_eviction)
            yield TierRig(tier, index, index.chunks, opened, store, metrics, clock, supervisor)
        store.close()


def file_of(rig: TierRig, index: int) -> Path:
    """The file of a chunk of :data:`FILE`."""
    return chunk_file(rig.folder.path, label(index, version=FILE))


async def store_by_four(rig: TierRig, versions: Sequence[Version], measure: Callable[[], int]) -> int:
    """Four readers at once have all chunks of each version stored; the highest that ``measure`` was after any."""
    highest = 0

    async def reader(turn: int) -> None:
        nonlocal highest
        for version in versions[turn::4]:
            for index in range(10):
                done = trio.Event()
                assert rig.tier.publish(PATH, version, index, payload_of(index, version), "42", done.set)
                await done.wait()
                highest = max(highest, measure())

    async with trio.open_nursery() as nursery:
        for turn in range(4):
            nursery.start_soon(reader, turn)
    return highest
