"""Filling a cache that nobody is mounted on: everything that a mount has, but for the mount.

The difficulty: it must be the same cache that a later mount finds, with the same limits; one gigabyte less, and filling it
would throw half of it away. So what is not said is as the last mount in this folder had it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from fuse4dbricks.app.attending import warm_scene
from fuse4dbricks.app.mount import build_access, build_disk, build_metadata, open_base, workspace_of
from fuse4dbricks.app.storage import open_storage
from fuse4dbricks.app.upkeep.attendant import Attendant
from fuse4dbricks.cache.disk import DiskTier
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.config import MountConfig
from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.report import load_report
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.trust import trust_with
from fuse4dbricks.units import GIB, KIB

#: Stands for a mount point where there is none.
NOWHERE = Path("/Volumes")

#: Seconds until the folder has been looked at for the first time.
READY_SECONDS = 60.0
POLL = 0.05


def settings_of_last_mount(index: Path) -> dict[str, Any]:
    """Options as the last mount had them, as far as they are about what the folder may hold."""
    try:
        mount = load_report(index, 0).mount
    except CacheFolderError:
        return {}
    if mount is None:
        return {}
    known = mount.settings
    found: dict[str, Any] = {}
    if "disk_bytes" in known:
        found["disk_cache_gb"] = known["disk_bytes"] / GIB
    if "chunk_size" in known:
        found["chunk_size_kb"] = int(known["chunk_size"]) // KIB
    if "min_free_fraction" in known:
        found["disk_cache_min_free_percent"] = known["min_free_fraction"] * 100
    if "max_age_seconds" in known:
        found["disk_cache_max_days"] = known["max_age_seconds"] / 86_400
    if "pin_bytes" in known:
        found["pin_max_gb"] = known["pin_bytes"] / GIB
    return found


@asynccontextmanager
async def attending_alone(config: MountConfig) -> AsyncIterator[Attendant]:
    """Whoever carries out orders without a mount, for the length of a block.

    Raises:
        UserError: the options or the cache folder do not allow it.
    """
    clock, metrics = SystemClock(), Metrics()
    verify = trust_with(config.ca_file)
    workspace = workspace_of(config, clock, metrics, verify)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workspace)
        storage = await open_storage(
            config.cache_folder,
            mountpoint=NOWHERE,
            clear=False,
            limit=config.disk_bytes,
            host=workspace.host,
            stack=stack,
            clock=clock,
            metrics=metrics,
        )
        base = await open_base(
            config, workspace, storage, stack, mountpoint=NOWHERE, clock=clock, metrics=metrics, verify=verify
        )
        access, disk = build_access(base), build_disk(base)
        scene = warm_scene(base, access, build_metadata(base, access), base.connectivity, disk)
        if scene is None or storage.index is None:
            raise CacheFolderError(f"the cache folder {config.cache_folder} cannot be used: its disk fails")
        await storage.index.pins.limit(config.pin_bytes)
        await _wait_until_counted(disk)
        yield Attendant(
            scene=scene,
            keeper=None,
            clock=clock,
            max_pinned=config.pin_bytes,
            owner_uid=os.getuid(),
            root=config.root_path,
            filters=(config.securable_allowlist, config.securable_denylist),
        )


async def _wait_until_counted(disk: DiskTier) -> None:
    """An index that was begun anew is filled first, and the disk is looked at, before there can be new chunks."""
    with trio.move_on_after(READY_SECONDS):
        while True:
            keeping = disk.keeping
            if keeping is not None and keeping.is_measured:
                return
            await trio.sleep(POLL)
