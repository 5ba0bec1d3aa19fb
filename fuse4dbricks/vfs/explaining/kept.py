"""What this mount keeps of a path, and what the next reading of it would cost, for those who may know.

The difficulty: a size, a time or the mere fact that something is cached tells about the file and about who reads it. So
nothing is looked at before the same proof as for a read, and whoever has none gets no answer at all.
"""

from __future__ import annotations

from collections.abc import Callable

from fuse4dbricks.cache.freshness import Known
from fuse4dbricks.cache.holdings import Holding, Holdings
from fuse4dbricks.cache.listings import listing_scope
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.entry import Entry, Version
from fuse4dbricks.errors import InvalidToken, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.explaining.answer import Cached, NextOpen
from fuse4dbricks.vfs.explaining.findings import Findings
from fuse4dbricks.vfs.gate import Gate
from fuse4dbricks.vfs.xattrs import version_text


class Kept:
    """Describes what is cached.

    Args:
        count_calls: remote reads for a file of which a :class:`Holding` is cached.
        root: what the mount point shows.
    """

    def __init__(
        self,
        gate: Gate,
        metadata: MetadataCache,
        holdings: Holdings,
        count_calls: Callable[[Holding], int],
        root: RemotePath,
    ) -> None:
        self._gate = gate
        self._metadata = metadata
        self._holdings = holdings
        self._count_calls = count_calls
        self._root = root

    async def look(self, viewer: Viewer, findings: Findings) -> None:
        """Fill in what is cached, for who may read it: in an outage those who were let in before.

        Raises:
            InvalidToken: the viewer's token is refused.
        """
        path = findings.path
        try:
            await self._gate.admit(viewer, path)
        except InvalidToken:
            raise
        except RemoteError:
            return
        known = self._metadata.load_entry(viewer, path)
        if known is not None and known.entry is not None:
            findings.kind = known.entry.kind
        version = self._next_version(viewer, path, known, findings.entry)
        holding = None if version is None else await self._holdings.survey(path, version)
        findings.cached = self._describe(viewer, path, known, version, holding)
        findings.next_open = self._count(viewer, path, holding)

    def _next_version(
        self, viewer: Viewer, path: RemotePath, known: Known | None, now: Entry | None
    ) -> Version | None:
        """That which the next open would read: what is believed, else what the workspace said, else the last one."""
        believed = self._metadata.get_entry(viewer, path)
        last = None if known is None else known.entry
        for entry in (None if believed is None else believed.entry, now, last):
            if entry is not None:
                return entry.version
        return None

    def _describe(
        self,
        viewer: Viewer,
        path: RemotePath,
        known: Known | None,
        version: Version | None,
        holding: Holding | None,
    ) -> Cached | None:
        listing = self._metadata.listings.get(listing_scope(viewer, path), path)
        seen = known if known is not None and known.entry is not None and path.depth else None
        if seen is None and listing is None and (holding is None or not holding.cached):
            return None
        held = holding or Holding(0)
        return Cached(
            version=None if version is None else version_text(version),
            size=None if version is None else version.size,
            last_modified=None if version is None else version.last_modified,
            etag=None if version is None else version.etag,
            validated_at=None if seen is None else seen.fetched_at,
            fresh_for=0.0 if seen is None else self._metadata.freshness_left(seen),
            ram_ranges=held.ram,
            disk_ranges=held.disk,
            cached_bytes=held.cached_bytes,
            complete=holding is not None and holding.is_complete,
            pinned=held.is_pinned,
            owners=held.owners,
            fetched_at=held.fetched_at,
            listed=None if listing is None else len(listing),
            listing_complete=None if listing is None else listing.is_complete,
        )

    def _count(self, viewer: Viewer, path: RemotePath, holding: Holding | None) -> NextOpen:
        """Each name that is not believed costs a call: its own, or the listing of its folder."""
        steps = [RemotePath(path.parts[:depth]) for depth in range(self._root.depth + 1, path.depth + 1)]
        doubtful = [step for step in steps if self._metadata.get_entry(viewer, step) is None]
        catalog = sum(step.boundary_kind is not None for step in doubtful)
        needs_proof = path.in_volume and not self._gate.has_proof(viewer, path)
        calls = 0 if holding is None else self._count_calls(holding)
        missing = 0 if holding is None else holding.size - holding.cached_bytes
        return NextOpen(catalog, len(doubtful) - catalog, int(needs_proof), calls, missing)
