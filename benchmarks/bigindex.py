"""An index with as many chunks as asked for, and nothing behind it: what the figures for 1,000,000 chunks need.

The difficulty: a million chunk files take an hour and a terabyte. Start, statistics and the choice of victims look at
rows only, so the rows are made, through the index's own door and with the totals that it keeps.
"""

from __future__ import annotations

import argparse
from hashlib import blake2b
from pathlib import Path

import trio

from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.entry import Version
from fuse4dbricks.index import Index, NewChunk
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import MIB

WORKSPACE = "adb-1.azuredatabricks.net"
VOLUMES, OWNERS, EXTENSIONS, DAYS = 300, 40, ("parquet", "csv", "json", "png", "dcm", ""), 30
TRAILER_BYTES = 4096
#: Files recorded at once: enough for group commits.
TOGETHER = 50


async def make_index(folder: Path, chunks: int, chunks_per_file: int) -> None:
    """Make a cache folder whose index has rows for ``chunks`` chunks of 1 MiB, and no chunk files."""
    clock = SystemClock()
    with CacheFolder.open(folder) as opened:
        index = await Index.open(opened.index_path, workspace=WORKSPACE, clock=clock, metrics=Metrics())
        try:
            limit = trio.CapacityLimiter(TOGETHER)
            async with trio.open_nursery() as nursery:
                for first in range(0, chunks, chunks_per_file):
                    count = min(chunks_per_file, chunks - first)
                    await limit.acquire_on_behalf_of(first)
                    nursery.start_soon(_add_file, index, first, count, clock.wall(), limit)
            await index.flush()
        finally:
            await index.aclose()


async def _add_file(index: Index, number: int, count: int, now: float, limit: trio.CapacityLimiter) -> None:
    volume = number % VOLUMES
    extension = EXTENSIONS[number % len(EXTENSIONS)]
    parts = (f"catalog{volume % 5}", f"schema{volume % 20}", f"volume{volume}", f"folder{number % 1000}")
    path = RemotePath((*parts, f"part-{number:08d}" + (f".{extension}" if extension else "")))
    version = Version(size=count * MIB, last_modified=1_700_000_000 + number % 1000)
    try:
        rows = [_chunk(number, position, now) for position in range(count)]
        await index.chunks.add(path, version, rows)
    finally:
        limit.release_on_behalf_of(number)


def _chunk(number: int, position: int, now: float) -> NewChunk:
    name = blake2b(f"{number} {position}".encode(), digest_size=16).digest()
    return NewChunk(
        position,
        name,
        MIB,
        int.from_bytes(name[:8]) >> 1,
        f"user{number % OWNERS}@example.com",
        MIB + TRAILER_BYTES,
        last_access=now - (number % DAYS) * 86_400,
    )


def main() -> None:
    """Make one by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--chunks-per-file", type=int, default=16)
    arguments = parser.parse_args()
    trio.run(make_index, arguments.folder, arguments.chunks, arguments.chunks_per_file)


if __name__ == "__main__":
    main()
