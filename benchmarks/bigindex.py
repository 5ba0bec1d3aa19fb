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
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.index import Index, NewChunk
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import MIB

WORKSPACE = "adb-1.azuredatabricks.net"
VOLUMES, OWNERS, EXTENSIONS, DAYS = 300, 40, ("parquet", "csv", "json", "png", "dcm", ""), 30
TRAILER_BYTES = 4096
#: Files recorded at once: enough for group commits.
TOGETHER = 50


async def make_index(folder: Path, chunks: int, chunks_per_file: int, *, with_files: bool = False) -> None:
    """Make a cache folder whose index has rows for ``chunks`` chunks of 1 MiB, and no chunk files.

    With ``with_files`` there is a file for each row, and nothing in it: what a look through the folder takes is its
    names.
    """
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
            if with_files:
                _make_files(folder, chunks, chunks_per_file)
        finally:
            await index.aclose()


async def _add_file(index: Index, number: int, count: int, now: float, limit: trio.CapacityLimiter) -> None:
    path, version = file_of(number, count)
    entry = Entry(path.name, Kind.FILE, version)
    try:
        rows = [_chunk(number, position, now) for position in range(count)]
        index.tree.post_entry(path, None, entry, fetched_at=now, expires_at=now + 30)
        await index.chunks.add(path, version, rows)
    finally:
        limit.release_on_behalf_of(number)


def file_of(number: int, chunks: int) -> tuple[RemotePath, Version]:
    """Which file the chunks from ``number`` on are of."""
    volume = number % VOLUMES
    extension = EXTENSIONS[number % len(EXTENSIONS)]
    parts = (f"catalog{volume % 5}", f"schema{volume % 20}", f"volume{volume}", f"folder{number % 1000}")
    path = RemotePath((*parts, f"part-{number:08d}" + (f".{extension}" if extension else "")))
    return path, Version(size=chunks * MIB, last_modified=1_700_000_000 + number % 1000)


def _chunk(number: int, position: int, now: float) -> NewChunk:
    name = _name(number, position)
    return NewChunk(
        position,
        name,
        MIB,
        int.from_bytes(name[:8]) >> 1,
        f"user{number % OWNERS}@example.com",
        MIB + TRAILER_BYTES,
        last_access=now - (number % DAYS) * 86_400,
    )


def _name(number: int, position: int) -> bytes:
    return blake2b(f"{number} {position}".encode(), digest_size=16).digest()


def _make_files(folder: Path, chunks: int, chunks_per_file: int) -> None:
    for first in range(0, chunks, chunks_per_file):
        for position in range(min(chunks_per_file, chunks - first)):
            name = _name(first, position).hex()
            (folder / "chunks" / name[:2] / f"{name}.chunk").touch(0o600)


def main() -> None:
    """Make one by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--chunks-per-file", type=int, default=16)
    parser.add_argument("--with-files", action="store_true", help="with an empty file for each chunk")
    asked = parser.parse_args()
    trio.run(
        lambda: make_index(asked.folder, asked.chunks, asked.chunks_per_file, with_files=asked.with_files)
    )


if __name__ == "__main__":
    main()
