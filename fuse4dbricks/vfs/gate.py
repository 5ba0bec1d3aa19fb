"""Nothing passes to a local user before there is a proof that he may have it.

The difficulty: the caches behind the file system are common to all users, and every operation reaches them by another
way: a name, an inode, a handle, a listing, a page that the kernel still holds. So the question "may he?" is asked in
one place, and what is cached is only ever had through it, with three rules:

* What is cached needs a proof first. What is not is fetched straight away with the user's own token, and the answer
  is the proof: that is why a cold ``ls`` of a folder costs one call and not two.
* Absence is told like presence: who may not read a volume does not learn what is not in it.
* Catalogs, schemas and lists of them are kept for minutes, for each principal apart; that he may still see them is
  proved anew within the permission TTL like everything else, by what he reads below or by one question.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from fuse4dbricks.access import Access
from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.cache.fetching import empty_volume
from fuse4dbricks.cache.freshness import Known
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.proofs import LIST, READ, SEE
from fuse4dbricks.entry import Kind
from fuse4dbricks.errors import EmptyVolume, InvalidToken, NotFound, NoToken, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token, Viewer
from fuse4dbricks.vfs.renewed import renewed


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

    def get_viewer(self, uid: int) -> Viewer | None:
        """The principal that ``uid`` is, when he is known and his token was not refused."""
        return self._access.get_viewer(uid)

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
            NotFound: it is in a catalog, schema or volume that is no more, for him; or in an
                :class:`~fuse4dbricks.errors.EmptyVolume`.
            PermissionDenied: the workspace does not let him read the volume.
            RemoteError: it cannot say, and he was not let in before.
        """
        if not self._is_guarded_by_grant(path):
            if not self._is_seen(viewer, path):
                await self._access.require(viewer, path, SEE, partial(self._ask_for, viewer, path))
        elif not self._access.get_grant(viewer, path.volume):
            await self._require(viewer, path.volume)

    async def admit_to_itself(self, viewer: Viewer, path: RemotePath) -> None:
        """The same, where it is shown that there is something at ``path``, and nothing of what is in it.

        So a volume that is empty for him is a folder for him, too.
        """
        try:
            await self.admit(viewer, path)
        except EmptyVolume:
            if path != path.volume:
                raise

    def has_proof(self, viewer: Viewer, path: RemotePath) -> bool:
        """Whether the viewer may be shown what is in the volume of ``path`` without another question."""
        return self._access.get_grant(viewer, path.volume)

    async def resolve_entry(self, viewer: Viewer, path: RemotePath) -> Known:
        """What is at ``path``, for somebody who may know.

        Raises:
            NotFound: nothing.
            PermissionDenied: he may not know.
            RemoteError: the workspace cannot say.
        """
        if not self._is_guarded_by_grant(path):
            return await self._resolve_boundary(viewer, path)
        if path.boundary_kind is Kind.VOLUME:
            known = await self._metadata.resolve_entry(viewer, path)
            await self.admit_to_itself(viewer, path)
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
        if not path.in_volume:
            return await self._open_outside(viewer, path)
        try:
            return await self._open_inside(viewer, path)
        except EmptyVolume:
            if path != path.volume:
                raise
            return self.empty_listing(path)

    def empty_listing(self, folder: RemotePath) -> Listing:
        """What is shown of an :class:`~fuse4dbricks.errors.EmptyVolume`, whatever others see in it."""
        return self._metadata.listing_of(folder, ())

    def get_kernel_seconds(self, viewer: Viewer, path: RemotePath, fresh: float) -> float:
        """Seconds for which the kernel may answer for us: while what is at ``path`` is ``fresh``, and he may know it."""
        if self._is_guarded_by_grant(path):
            left = self._access.get_seconds_left(viewer, READ, path.volume)
        else:
            left = self._access.get_seconds_left(viewer, SEE, path)
            if not left and self._is_listed(viewer, path):
                left = self._access.get_seconds_left(viewer, LIST, path.parent)
        return min(fresh, left or self._get_hold())

    def get_listed_seconds(self, viewer: Viewer, folder: RemotePath, fresh: float) -> float:
        """The same for everything that a listing of ``folder`` shows."""
        right, place = (READ, folder.volume) if folder.in_volume else (LIST, folder)
        left = self._access.get_seconds_left(viewer, right, place)
        return min(fresh, left or self._get_hold())

    async def resolve_reading_viewer(self, uid: int, path: RemotePath) -> Viewer:
        """In whose name bytes are fetched for a handle; fails at once while the workspace is out of reach."""
        self._connectivity.raise_if_down()
        viewer = await self.resolve_viewer(uid)
        await self.admit(viewer, path)
        return viewer

    # --- for those who hold something ------------------------------------------------------------

    def get_holder_seconds(self, uid: int, path: RemotePath) -> float:
        """Seconds for which ``uid`` may be shown what is at ``path`` in a volume without asking anew."""
        viewer = self._access.get_viewer(uid)
        return 0.0 if viewer is None else self._access.get_seconds_left(viewer, READ, path.volume)

    @renewed
    async def check_holder(self, uid: int, path: RemotePath) -> None:
        """Return when ``uid`` may be shown what is at ``path``; raises as :meth:`admit` does."""
        await self.admit(await self.resolve_viewer(uid), path)

    @renewed
    async def renew_holder(self, uid: int, path: RemotePath) -> None:
        """The same, but asked now, whatever was proved before; an outage raises."""
        await self._access.renew(await self.resolve_viewer(uid), path.volume)

    def get_identity(self, uid: int) -> Token | None:
        """The token that ``uid`` uses, if it is known to be good."""
        viewer = self._access.get_viewer(uid)
        return None if viewer is None else viewer.token

    def _get_hold(self) -> float:
        """How long the kernel may keep what is served because of an outage."""
        return 0.0 if self._connectivity.get_outage() is None else HOLD_SECONDS

    # --- volumes ---------------------------------------------------------------------------------

    async def _open_inside(self, viewer: Viewer, path: RemotePath) -> Listing:
        listings = self._metadata.listings
        if self._access.get_grant(viewer, path.volume):
            return await listings.open(viewer, path)
        if listings.has_seen(viewer, path):
            await self._require(viewer, path.volume)
        listing = await listings.open(viewer, path)
        await self._require(viewer, path.volume)
        return listing

    async def _require(self, viewer: Viewer, volume: RemotePath) -> None:
        try:
            await self._access.require(viewer, volume)
        except NotFound as error:
            absence = error
        else:
            return
        # It is Unity Catalog's word whether there is such a volume; that he may read it is not proved by that.
        await self._access.require(viewer, volume, SEE, partial(self._ask_for, viewer, volume))
        raise empty_volume(volume, absence)

    # --- catalogs, schemas, volumes --------------------------------------------------------------

    def _is_guarded_by_grant(self, path: RemotePath) -> bool:
        return path.in_volume and (path.boundary_kind is None or self._is_shared)

    async def _resolve_boundary(self, viewer: Viewer, path: RemotePath) -> Known:
        if not self._is_seen(viewer, path):
            known = self._metadata.load_entry(viewer, path)
            # What is not known is asked for in his name, so it needs no proof first.
            if known is not None and known.entry is not None:
                await self.admit(viewer, path)
        return await self._metadata.resolve_entry(viewer, path)

    async def _open_outside(self, viewer: Viewer, path: RemotePath) -> Listing:
        try:
            return await self._open_boundary(viewer, path)
        except RemoteError as error:
            if not is_outage(error) or not self._connectivity.serves_expired:
                raise
            seen = await self._list_seen(viewer, path)
            if seen is None:
                raise
            return seen

    async def _open_boundary(self, viewer: Viewer, path: RemotePath) -> Listing:
        listings = self._metadata.listings
        if not self._access.get_seconds_left(viewer, LIST, path) and listings.has_seen(viewer, path):
            await self._access.require(viewer, path, LIST, partial(listings.refetch, viewer, path))
        return await listings.open(viewer, path)

    async def _list_seen(self, viewer: Viewer, path: RemotePath) -> Listing | None:
        """In an outage: what he has come by in a folder that nobody listed, such as whoever goes by whole paths."""
        shown = []
        for entry in self._metadata.load_seen(viewer, path):
            with suppress(RemoteError):
                await self.admit(viewer, path.child(entry.name))
                shown.append(entry)
        return self._metadata.listing_of(path, shown) if shown else None

    def _is_seen(self, viewer: Viewer, path: RemotePath) -> bool:
        return self._access.get_seconds_left(viewer, SEE, path) > 0 or (
            self._is_listed(viewer, path) and self._access.get_seconds_left(viewer, LIST, path.parent) > 0
        )

    def _is_listed(self, viewer: Viewer, path: RemotePath) -> bool:
        if path.depth == 0:
            return False
        listing = self._metadata.listings.get(viewer.principal.id, path.parent)
        return listing is not None and listing.get(path.name) is not None

    async def _ask_for(self, viewer: Viewer, path: RemotePath) -> None:
        """One question, the answer to which proves that he may see a catalog, schema or volume."""
        if path.depth == 0:
            await self._metadata.listings.refetch(viewer, path)
        elif not await self._access.renew_below(viewer, path):
            known = await self._metadata.refetch_entry(viewer, path)
            if known.entry is None:
                raise NotFound(f"no {path}")
