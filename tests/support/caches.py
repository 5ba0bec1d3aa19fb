"""A cache folder with figures in it, made without a mount."""

from __future__ import annotations

from pathlib import Path

from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.entry import Version
from fuse4dbricks.index import Index
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import MIB
from tests.support.indexes import HOST, new_chunk

#: A file name that would paint on a terminal, close a tag and break a label.
NASTY = '\x1b[31m\u202e<script>alert(1)</script>"\n\\.csv'.replace("/", "∕")

COUNTS = {
    "read.hits{layer=ram}": 60,
    "read.hits{layer=disk}": 30,
    "read.misses": 10,
    "read.hit_bytes{layer=ram}": 6 * MIB,
    "read.hit_bytes{layer=disk}": MIB,
    "read.miss_bytes": 3 * MIB,
    "remote.bytes": 4 * MIB,
    "remote.calls{kind=range}": 5,
    "remote.calls{kind=head}": 2,
    "remote.retries{reason=status 503}": 1,
    "disk.evicted{reason=size}": 4,
    "disk.evicted_bytes{reason=size}": 4 * MIB,
    "named.by.a.later.program": 1,
}


async def make_cache(folder: Path) -> None:
    """Chunks of three users in three volumes, and counts."""
    with CacheFolder.open(folder) as opened:
        index = await Index.open(opened.index_path, workspace=HOST, clock=SystemClock(), metrics=Metrics())
        try:
            index.counters.post_mount(4_000_000, "/mnt/dbx", 1.0, {"disk_bytes": 100 * MIB})
            index.counters.post_counts(COUNTS)
            for number, name in enumerate(("a.parquet", "b.csv", NASTY)):
                path = RemotePath(("main", "sales", f"volume{number}", name))
                version = Version(size=4 * MIB, last_modified=1_700_000_000)
                chunks = [
                    new_chunk(k, path=path, version=version, length=MIB, owner=f"user{number}@example.com")
                    for k in range(number + 1)
                ]
                await index.chunks.add(path, version, chunks)
        finally:
            await index.aclose()
