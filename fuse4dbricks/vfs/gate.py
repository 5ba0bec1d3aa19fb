"""Nothing passes to a local user before there is a proof that he may have it.

The difficulty: the caches behind the file system are common to all users, and every operation reaches them by another
way: a name, an inode, a handle, a listing, a page that the kernel still holds. So the question "may he?" is asked in
one place, and what is cached is only ever had through it, with two rules:

* What is cached needs a proof first. What is not is fetched straight away with the user's own token, and the answer
  is the proof: that is why a cold ``ls`` of a folder costs one call and not two.
* Absence is told like presence: who may not read a volume does not learn what is not in it.
"""

from __future__ import annotations

from fuse4dbricks.access import Access
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.freshness import Known
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.entry import Kind
from fuse4dbricks.errors import InvalidToken, NotFound, NoToken
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer


class Gate:
    """Lets local users through to what is known of a path.

    Args:
        is_shared: whether other local users than the one who mounted use the mount, so that the root folder of a
            volume is guarded, too.
    """

    def __init__(
        self, access: Access, metadata: MetadataCache, connectivity: Connectivity, *, is_shared: bool
    ) -> None:
        self._access = access
        self._metadata = metadata
        self._connectivity = connectivity
        self._is_shared = is_shared

    # --- who -------------------------------------------------------------------------------------

    async def resolve_viewer(self, uid: int) -> Viewer:
        """The principal that ``uid`` is, without waiting when he is known.

        Raises:
            NoToken: he has none.
            InvalidToken: the service refused what he has.
            RemoteError: the workspace could not say.
        """
        return self._access.get_viewer(uid) or await self._access.resolve_viewer(uid)

    async def has_token(self, uid: int) -> bool:
        """Whether ``uid`` has a token that was not refused; an outage refuses nothing."""
        return await self._access.has_valid_token(uid)

    async def has_other_token(self, uid: int) -> bool:
        """Whether ``uid`` has a token that was not refused; each source may renew once."""
        try:
            await self._access.resolve_viewer(uid)
        except (NoToken, InvalidToken):
            return False
        return True

    # --- what ------------------------------------------------------------------------------------

    async def admit(self, viewer: Viewer, path: RemotePath) -> None:
        """Return when the viewer may be shown what is cached at ``path``.

        Raises:
            PermissionDenied: the workspace does not let him read the volume.
            RemoteError: it cannot say, and he was not let in before.
        """
        guarded = path.in_volume and (path.boundary_kind is None or self._is_shared)
        if guarded and not self._access.get_grant(viewer, path.volume):
            await self._require(viewer, path.volume)

    async def resolve_entry(self, viewer: Viewer, path: RemotePath) -> Known:
        """What is at ``path``, for somebody who may know.

        Raises:
            NotFound: nothing.
            PermissionDenied: he may not know.
            RemoteError: the workspace cannot say.
        """
        if not path.in_volume:
            return await self._metadata.resolve_entry(viewer, path)
        if path.boundary_kind is Kind.VOLUME:
            known = await self._metadata.resolve_entry(viewer, path)
            await self.admit(viewer, path)
            return known
        if self._access.get_grant(viewer, path.volume):
            return await self._metadata.resolve_entry(viewer, path)
        if self._metadata.has_seen(viewer, path):
            await self._require(viewer, path.volume)
        try:
            known = await self._metadata.resolve_entry(viewer, path)
        except NotFound:
            # Somebody else's listing may have arrived meanwhile: absence, too, is for those who may read.
            await self._require(viewer, path.volume)
            raise
        await self._require(viewer, path.volume)
        return known

    async def open_listing(self, viewer: Viewer, path: RemotePath) -> Listing:
        """What is in the folder at ``path``, for somebody who may know; raises as :meth:`resolve_entry` does."""
        if not path.in_volume or self._access.get_grant(viewer, path.volume):
            return await self._metadata.listings.open(viewer, path)
        if self._metadata.listings.has_seen(viewer, path):
            await self._require(viewer, path.volume)
        listing = await self._metadata.listings.open(viewer, path)
        await self._require(viewer, path.volume)
        return listing

    async def resolve_reading_viewer(self, uid: int, path: RemotePath) -> Viewer:
        """In whose name bytes are fetched for a handle; fails at once while the workspace is out of reach."""
        self._connectivity.raise_if_down()
        viewer = await self.resolve_viewer(uid)
        await self.admit(viewer, path)
        return viewer

    async def _require(self, viewer: Viewer, volume: RemotePath) -> None:
        try:
            await self._access.require(viewer, volume)
        except NotFound:
            # The probe proves nothing of a volume that was emptied: its root may answer 404 (databricks-api 1.2).
            # Reading that folder asks Unity Catalog, too, whose word it is whether there is such a volume.
            await self._metadata.listings.refetch(viewer, volume)
            await self._access.require(viewer, volume)
