"""What outlives the mount."""

import json
from pathlib import Path

from tests.support.indexes import HandClock, opened, outside


async def test_counts_add_up_over_restarts(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        assert index.counters.load_counts() == {}
        index.counters.post_counts({"remote.calls{kind=listing}": 2, "read.hits": 5})
        index.counters.post_counts({})
        index.counters.post_counts({"read.hits": 1})
    async with opened(tmp_path) as index:
        assert index.counters.load_counts() == {"remote.calls{kind=listing}": 2, "read.hits": 6}
    async with opened(tmp_path, workspace="another") as index:
        assert index.counters.load_counts() == {}


async def test_the_mount_can_be_seen_from_outside(tmp_path: Path) -> None:
    clock = HandClock()
    query = "SELECT pid, mountpoint, settings, started_at, ended_at FROM mount"
    async with opened(tmp_path, clock=clock) as index:
        index.counters.post_mount(41, "/old", 1.0)
        index.counters.post_mount(42, "/mnt/a b", 2.5, {"disk_cache_gb": 10})
        await index.flush()
        db = outside(tmp_path)
        ((pid, mountpoint, settings, started_at, ended_at),) = db.execute(query).fetchall()
        assert (pid, mountpoint, started_at, ended_at) == (42, "/mnt/a b", 2.5, None)
        assert json.loads(str(settings)) == {"disk_cache_gb": 10}
        index.counters.post_unmount()
        await index.flush()
        assert db.execute(query).fetchall()[0][4] == clock.wall()
        db.close()
