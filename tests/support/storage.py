"""A whole disk cache (folder, index, chunk files, tier) as a mount has it, and a reader that checks each byte.

``python -m tests.support.storage FOLDER`` stores and evicts until it is killed, for crash tests.
"""

import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from fuse4dbricks.app.storage import take_stock
from fuse4dbricks.cache.disk import DiskLimits, DiskTier
from fuse4dbricks.chunks import CacheFolder, ChunkLabel, ChunkStore
from fuse4dbricks.clock import Clock, SystemClock
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.entry import Version
from fuse4dbricks.index import Index
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import KIB, MIB

HOST = "adb-1.azuredatabricks.net"
VOLUME = RemotePath(("main", "sales", "raw"))
CHUNK = 64 * KIB
CHUNKS_PER_FILE = 4
NO_MARGIN = DiskLimits(64 * MIB, min_free_bytes=0)


def version_of(number: int) -> Version:
    return Version(size=CHUNKS_PER_FILE * CHUNK - 100, last_modified=number)


def content_of(path: RemotePath, version: Version, index: int) -> bytes:
    """What the workspace would send: says of each byte where it is from."""
    seed = hashlib.sha256(f"{path} {version} {index}".encode()).digest()
    return (seed * (CHUNK // len(seed)))[: min(CHUNK, version.size - index * CHUNK)]


@dataclass
class StorageRig:
    """An open disk cache."""

    folder: CacheFolder
    index: Index
    store: ChunkStore
    tier: DiskTier
    metrics: Metrics
    supervisor: Supervisor
    from_disk: int = 0
    from_workspace: int = 0

    async def read(self, path: RemotePath, version: Version, chunk: int) -> None:
        """As a reader does: from disk, else from the workspace, which stores it; always the right bytes."""
        right = content_of(path, version, chunk)
        found: bytes | bytearray | memoryview | None = self.tier.read_now(path, version, chunk, 0, len(right))
        if found is None:
            found = await self.tier.load_chunk(path, version, chunk)
        if found is not None:
            assert bytes(found) == right
            self.from_disk += 1
            return
        self.from_workspace += 1
        done = trio.Event()
        if self.tier.publish(path, version, chunk, right, "42", done.set):
            await done.wait()

    async def read_file(self, number: int) -> None:
        for chunk in range(CHUNKS_PER_FILE):
            await self.read(VOLUME.child(f"{number}.bin"), version_of(number), chunk)

    def chunk_file(self, number: int, chunk: int) -> Path:
        label = ChunkLabel(HOST, VOLUME.child(f"{number}.bin"), version_of(number), chunk, CHUNK)
        name = label.name().hex()
        return self.folder.path / "chunks" / name[:2] / f"{name}.chunk"

    def stored(self) -> list[Path]:
        return list(self.folder.path.rglob("*.chunk"))


@asynccontextmanager
async def storage_rig(
    path: Path,
    *,
    limits: DiskLimits = NO_MARGIN,
    store_type: type[ChunkStore] = ChunkStore,
    clock: Clock | None = None,
    drain: float = 5.0,
) -> AsyncIterator[StorageRig]:
    clock, metrics = clock or SystemClock(), Metrics()
    with CacheFolder.open(path) as folder:
        index = await Index.open(
            folder.index_path, workspace=HOST, clock=clock, metrics=metrics, disk_limit=limits.max_bytes
        )
        await take_stock(index, folder)
        store = store_type(folder, clock)
        try:
            async with supervised(metrics) as supervisor:
                tier = DiskTier(
                    index=index,
                    store=store,
                    folder=folder,
                    workspace=HOST,
                    chunk_size=CHUNK,
                    limits=limits,
                    supervisor=supervisor,
                    metrics=metrics,
                    clock=clock,
                )
                supervisor.run_forever("eviction", tier.run_eviction)
                supervisor.run_forever("sweep", tier.run_sweep)
                yield StorageRig(folder, index, store, tier, metrics, supervisor)
                await tier.aclose(drain)
        finally:
            await index.aclose()
            store.close()


async def _store_for_ever(path: Path) -> None:
    limits = DiskLimits(32 * MIB, min_free_bytes=0)
    async with storage_rig(path, limits=limits) as rig:
        number = 0
        while True:
            await rig.read_file(number % 150)
            number += 1
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_store_for_ever, Path(sys.argv[1]))
