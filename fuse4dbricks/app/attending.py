"""What a mount does for its cache besides serving reads: taking orders, and keeping pins.

The difficulty: an order to fetch must pass the same gate as a read, in somebody's name, and meet the same caches; so this
is joined from the very parts that the file system is made of.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fuse4dbricks.access import Access
from fuse4dbricks.app.upkeep.attendant import Attendant
from fuse4dbricks.app.upkeep.service import serve_orders
from fuse4dbricks.app.warming.keeper import PinKeeper
from fuse4dbricks.app.warming.scene import WarmScene
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.disk import DiskTier
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.vfs.gate import Gate

if TYPE_CHECKING:
    from fuse4dbricks.app.mount import Base


def begin_orders(
    base: Base, access: Access, metadata: MetadataCache, connectivity: Connectivity, disk: DiskTier
) -> None:
    """Take orders and keep the pins from now on, where there is a disk cache."""
    folder, upkeep = base.storage.folder, disk.upkeep
    scene = warm_scene(base, access, metadata, connectivity, disk)
    if folder is None or upkeep is None or scene is None:
        return
    config = base.config
    keeper = PinKeeper(scene, connectivity=connectivity, clock=base.clock, max_bytes=config.pin_bytes)
    attendant = Attendant(
        scene=scene,
        keeper=keeper,
        clock=base.clock,
        max_pinned=config.pin_bytes,
        owner_uid=os.getuid(),
        root=config.root_path,
        filters=(config.securable_allowlist, config.securable_denylist),
        counts=base.note_counts,
    )
    base.supervisor.run_forever("pins", keeper.run)
    base.supervisor.run_forever("orders", serve_orders, folder, upkeep, attendant)


def warm_scene(
    base: Base, access: Access, metadata: MetadataCache, connectivity: Connectivity, disk: DiskTier
) -> WarmScene | None:
    """What filling the cache works on; None without an index."""
    index = base.storage.index
    if index is None:
        return None
    config = base.config
    return WarmScene(
        # Who orders is told of names and sizes, so the root folder of a volume is guarded, too.
        gate=Gate(access, metadata, connectivity, is_shared=True),
        access=access,
        metadata=metadata,
        files=base.source,
        disk=disk,
        visibility=config.visibility,
        pins=index.pins,
        get_pinned_bytes=lambda: index.chunks.get_totals().pinned_bytes,
    )
