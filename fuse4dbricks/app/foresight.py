"""Reading ahead of need, as the options ask for it."""

from __future__ import annotations

from fuse4dbricks.access import Access
from fuse4dbricks.cache.ahead.ahead import Ahead
from fuse4dbricks.cache.ahead.files import FilesAhead
from fuse4dbricks.cache.ahead.listings import ListingsAhead
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.reading.data_cache import DataCache
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.config import MountConfig
from fuse4dbricks.telemetry.metrics import Metrics


def build_ahead(
    config: MountConfig,
    *,
    access: Access,
    metadata: MetadataCache,
    content: DataCache,
    connectivity: Connectivity,
    supervisor: Supervisor,
    metrics: Metrics,
    clock: Clock,
) -> Ahead:
    """Both kinds, but for what is switched off."""
    listings = ListingsAhead(
        listings=metadata.listings,
        may_read=access.get_grant,
        connectivity=connectivity,
        supervisor=supervisor,
        metrics=metrics,
        clock=clock,
        max_entries=config.metadata_cache_max_entries,
    )
    files = FilesAhead(
        files=content,
        listings=metadata.listings,
        connectivity=connectivity,
        supervisor=supervisor,
        metrics=metrics,
        ram_bytes=config.ram_bytes,
    )
    return Ahead(
        listings if config.prefetch_listings else None,
        files if config.prefetch_files else None,
    )
