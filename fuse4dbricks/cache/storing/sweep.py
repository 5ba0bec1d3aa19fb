"""After a start, and after the loss of the index: every chunk file gets its row, or goes, and so does a row without a file.

The difficulty: files without a row take space that nobody counts and serve nobody. A kill leaves a few of them, a lost
index leaves all of them, up to a million, and only listing them takes 5 to 11 s for 300,000. So it is done behind
everyone's back, a shard at a time with pauses. A file that describes itself is recorded again, whichever workspace it is
of; its payload is verified when it is first read, as always. What does not is removed, but only what certainly has no
row: not when the index cannot tell, and not what is being written now. And as eviction deletes rows first and files
later, a file may go just after it was seen to have no row; so it is looked at once more when it has got one.

A power cut leaves the opposite too, rows of files that never reached the disk: they would count against the limit until
they are the oldest of all.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import trio

from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.known import KnownChunks
from fuse4dbricks.cache.storing.ports import ChunkFiles, ChunkIndex
from fuse4dbricks.cache.storing.removal import Removals
from fuse4dbricks.chunks import ChunkName, FoundChunk
from fuse4dbricks.chunks.layout import SHARDS
from fuse4dbricks.errors import CacheError, ChunkUnusable
from fuse4dbricks.index.records import Foundling, NewChunk, Selection
from fuse4dbricks.telemetry.metrics import Metrics

logger = logging.getLogger("fuse4dbricks.cache")

#: Names per question to the index, which is asked in the loop: 128 take less than 1 ms.
BATCH = 128

#: Shards looked at in one go, as long as they hold less than a batch: a question to two threads for each of 256 shards
#: with two files each costs 80 ms, which whoever reads right after the start waits for.
MOST_SHARDS = 16

#: Seconds of rest for each file seen: 2,000 a second, so that readers have the disk; 10,000 chunks take 5 s.
PAUSE = 0.0005

#: How often, and after how many seconds each, to ask an index that could not tell.
TRIES = 3
RETRY_PAUSE = 1.0

#: A path inside a volume: catalog, schema, volume, name.
SHORTEST_PATH = 4


@dataclass(slots=True)
class Tally:
    """What a sweep has met so far.

    Attributes:
        seen: chunk files.
        adopted: files that got a row.
        orphans: files that were removed, because they are no chunks of this format or not wanted.
        lost: rows that were removed, because their files are not there.
        temporary: unfinished files that were removed.
        shards: parts of the folder that are done, of :data:`SHARDS`.
    """

    seen: int = 0
    adopted: int = 0
    orphans: int = 0
    lost: int = 0
    temporary: int = 0
    shards: int = 0


@dataclass(frozen=True, slots=True)
class SweepScene:
    """What a sweep works on.

    Attributes:
        workspace, chunk_size: of the mount, whose own chunks of another size are of no use.
        is_publishing: whether a chunk is being stored just now.
    """

    files: ChunkFiles
    rows: ChunkIndex
    known: KnownChunks
    removals: Removals
    calls: DiskCalls
    workspace: str
    chunk_size: int
    is_publishing: Callable[[ChunkName], bool]
    metrics: Metrics


class Sweep:
    """Sweeps the cache folder, once at a time.

    Attributes:
        tally: of the sweep that runs, or ran last.
    """

    def __init__(self, scene: SweepScene) -> None:
        self.tally = Tally()
        self._scene = scene
        self._turn = trio.Lock()

    async def run(self, pause: float = PAUSE) -> Tally:
        """Record what can be, remove what cannot; ``pause`` seconds of rest for each file.

        Raises:
            CacheError: the disk or the index does not answer; what was not looked at is as it was.
        """
        async with self._turn:
            tally = self.tally = Tally()
            tally.temporary = await self._scene.calls.run(self._scene.files.sweep_temporary)
            at_once = 1
            while tally.shards < SHARDS:
                before = tally.seen
                shards = range(tally.shards, min(tally.shards + at_once, SHARDS))
                await self._sweep_shards(shards, tally, pause)
                tally.shards = shards.stop
                at_once = 1 if tally.seen - before > BATCH // 2 else min(2 * at_once, MOST_SHARDS)
            self._tell(tally)
            return tally

    def _tell(self, tally: Tally) -> None:
        counts = {
            "temporary": tally.temporary,
            "orphan": tally.orphans,
            "adopted": tally.adopted,
            "lost": tally.lost,
        }
        for kind, count in counts.items():
            self._scene.metrics.add("disk.swept", count, kind=kind)
        if tally.temporary or tally.orphans:
            logger.info(
                "removed from the cache folder: %d unfinished files, %d unusable",
                tally.temporary,
                tally.orphans,
            )
        if tally.adopted:
            logger.info("recorded again in the index: %d chunk files", tally.adopted)
        if tally.lost:
            logger.info("forgotten: %d chunks whose files are not there", tally.lost)

    async def _sweep_shards(self, shards: range, tally: Tally, pause: float) -> None:
        scene = self._scene
        # Before the files: what is stored meanwhile then has both, and what is evicted meanwhile neither.
        recorded = await scene.rows.list_names(shards)
        names = await scene.calls.run(partial(_list_files, scene.files, shards))
        tally.lost += await self._drop_rows_without_file(set(recorded).difference(names))
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            orphans = await self._find_orphans(batch)
            if orphans:
                # Who wants to store one of them waits: it is here already.
                with scene.removals.claiming(orphans):
                    await self._settle(orphans, tally)
            tally.seen += len(batch)
            await trio.sleep(len(batch) * pause)

    async def _find_orphans(self, names: list[ChunkName]) -> list[ChunkName]:
        for _ in range(TRIES):
            recorded = self._scene.rows.load_names(names)
            if recorded is not None:
                # Asked after the rows: a chunk gets its row before it ceases to be in publication.
                is_publishing = self._scene.is_publishing
                return [name for name in names if name not in recorded and not is_publishing(name)]
            await trio.sleep(RETRY_PAUSE)
        raise CacheError("the index cannot be asked")

    async def _settle(self, orphans: list[ChunkName], tally: Tally) -> None:
        scene = self._scene
        found, unusable = await scene.calls.run(partial(_identify, scene.files, orphans))
        fit = [each for each in found if self._is_fit(each)]
        refused = set(await scene.rows.adopt([_described(each) for each in fit])) if fit else set()
        adopted = [each for each in fit if each.name not in refused]
        unusable += [each.name for each in found if each not in adopted]
        if not await scene.removals.unlink(unusable):
            raise CacheError("files cannot be deleted")
        # Eviction may have taken a file just after it was seen to have no row.
        gone = await self._drop_rows_without_file(each.name for each in adopted)
        for each in adopted:
            label = each.trailer.label
            scene.known.forget_chunk(label.path, label.version, label.chunk_index)
        tally.orphans += len(unusable)
        tally.adopted += len(adopted) - gone

    def _is_fit(self, found: FoundChunk) -> bool:
        """Whether it can ever be read again."""
        label, scene = found.trailer.label, self._scene
        if found.trailer.length != label.length or label.path.depth < SHORTEST_PATH:
            return False
        return label.workspace != scene.workspace or label.chunk_size == scene.chunk_size

    async def _drop_rows_without_file(self, suspects: Iterable[bytes]) -> int:
        scene = self._scene
        names = [ChunkName(name) for name in suspects if not scene.is_publishing(ChunkName(name))]
        if not names:
            return 0
        # Who wants to store one of them waits, or his row would go.
        with scene.removals.claiming(names):
            # In line behind the removals that were under way when these were seen.
            missing = await scene.calls.run(partial(scene.files.find_missing, names))
            if missing:
                await scene.rows.take_selected(Selection(names=frozenset(missing)))
                scene.known.clear()
        return len(missing)


def _list_files(files: ChunkFiles, shards: range) -> list[ChunkName]:
    """In a thread: the chunk files of some shards."""
    return [name for shard in shards for name in files.list_shard(shard)]


def _identify(files: ChunkFiles, names: Iterable[ChunkName]) -> tuple[list[FoundChunk], list[ChunkName]]:
    """In a thread: what describes itself, and what does not. A bad sector is neither: it is left alone."""
    found: list[FoundChunk] = []
    unusable: list[ChunkName] = []
    for name in names:
        try:
            found.append(files.load_found(name))
        except ChunkUnusable as error:
            if not isinstance(error.__cause__, FileNotFoundError):  # evicted just now
                unusable.append(name)
        except CacheError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EIO:
                raise
    return found, unusable


def _described(found: FoundChunk) -> Foundling:
    trailer, label = found.trailer, found.trailer.label
    chunk = NewChunk(
        chunk_index=label.chunk_index,
        name=found.name,
        length=trailer.length,
        checksum=trailer.checksum,
        owner=label.owner,
        disk_bytes=found.disk_bytes,
        last_access=found.mtime,
    )
    return Foundling(label.workspace, label.path, label.version, chunk)
