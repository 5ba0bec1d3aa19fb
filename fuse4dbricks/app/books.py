"""What a mount leaves in the index for others to read: who it is, its limits, and what it counted.

The difficulty: ``cache-stats`` must know the limits in force, and get the last counts of a mount that ended, without
asking it. The last counts are made while the service tasks are taken down, so they are kept after these and before
the index closes.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

from fuse4dbricks.app.storage import Storage
from fuse4dbricks.cache.counting import CountKeeper
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.config import MountConfig
from fuse4dbricks.telemetry.metrics import Metrics


def open_books(storage: Storage, metrics: Metrics, stack: AsyncExitStack) -> CountKeeper | None:
    """The keeper of the counts, whose last entry is made when ``stack`` closes; None without an index."""
    if storage.index is None:
        return None
    keeper = CountKeeper(metrics, storage.index.counters)
    stack.callback(keeper.keep)
    return keeper


def begin_books(
    keeper: CountKeeper | None,
    storage: Storage,
    config: MountConfig,
    *,
    mountpoint: Path,
    supervisor: Supervisor,
    clock: Clock,
    stack: AsyncExitStack,
) -> None:
    """Say who uses the folder from now on, until ``stack`` closes, and keep the counts meanwhile."""
    if keeper is None or storage.index is None:
        return
    counters, started_at = storage.index.counters, clock.wall()

    def enter() -> None:
        counters.post_mount(os.getpid(), str(mountpoint), started_at, settings_of(config))

    enter()
    # An index that is begun anew while the mount runs knows nothing of it.
    storage.index.tell_renewed(enter)
    stack.callback(counters.post_unmount)
    supervisor.run_forever("counters", keeper.run)


def settings_of(config: MountConfig) -> dict[str, float]:
    """The limits in force, as the ``mount`` row keeps them: bytes, seconds, a fraction."""
    return {
        "disk_bytes": config.disk_bytes,
        "max_age_seconds": config.max_age_seconds,
        "min_free_fraction": config.min_free_fraction,
        "max_files": config.disk_cache_max_files,
        "quota_user_bytes": config.quota_user_bytes,
        "quota_catalog_bytes": config.quota_catalog_bytes,
        "pin_bytes": config.pin_bytes,
        "ram_bytes": config.ram_bytes,
        "chunk_size": config.chunk_size,
    }
