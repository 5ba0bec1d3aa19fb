"""The listings of all folders: RAM, then the index, then the workspace.

The difficulties: a listing is read page by page by several handles and lookups at once, each in the name of
another viewer; the tokens of its pages end after a while; the index may not have a page when it is wanted; and
whatever happens, a position that was given out stays what it is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from fuse4dbricks.cache.connectivity import Connectivity, is_outage
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.freshness import Freshness, Known, Ttls
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.shelf import TreeShelf
from fuse4dbricks.cache.versions import merged
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Entry
from fuse4dbricks.errors import InvalidToken, NotFound, PermissionDenied, RemoteError, RequestRejected
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token, Viewer
from fuse4dbricks.workspace.limits import Ticket, Urgency

logger = logging.getLogger("fuse4dbricks.metadata")

#: None: shared by all who may read the volume; else a principal's id.
Scope = str | None


def listing_scope(viewer: Viewer, folder: RemotePath) -> Scope:
    """Whose truth the listing of ``folder`` is."""
    return None if folder.in_volume else viewer.principal.id


class ListingCache:
    """Answers what is in a folder, for one viewer at a time.

    ``older`` tells what else is known of a name in a volume, and ``on_growth`` is called when there is more in RAM.
    """

    def __init__(
        self,
        *,
        fetcher: TreeFetcher,
        shelf: TreeShelf,
        connectivity: Connectivity,
        supervisor: Supervisor,
        freshness: Freshness,
        ttls: Ttls,
        older: Callable[[RemotePath, str], Entry | None],
        on_growth: Callable[[], None],
    ) -> None:
        self._fetcher = fetcher
        self._shelf = shelf
        self._connectivity = connectivity
        self._supervisor = supervisor
        self._freshness = freshness
        self._ttls = ttls
        self._older = older
        self._on_growth = on_growth
        self._listings: OrderedDict[tuple[Scope, RemotePath], Listing] = OrderedDict()
        # By token, not by principal: nobody is to fail because somebody else's token did.
        self._open_flights: Flights[tuple[Token, RemotePath], Listing] = Flights("listing", supervisor)
        self._tickets: dict[tuple[Token, RemotePath], Ticket] = {}
        self._page_flights: Flights[int, None] = Flights("listing-page", supervisor)
        #: How many entries count against the bound.
        self.entries_in_ram = 0

    # --- what is there ---------------------------------------------------------------------------

    def get(self, scope: Scope, folder: RemotePath) -> Listing | None:
        """The listing in RAM, fresh or not."""
        return self._listings.get((scope, folder))

    def find(self, listing: Listing, name: str) -> Known | None:
        """What a listing says of a name; None when it does not know."""
        entry, stamp = listing.get(name), listing.stamp
        if entry is not None:
            if listing.is_doubtful(entry):
                return None
            return Known(entry, stamp.fetched_at, stamp.fresh_until, stamp.seen_at)
        # A complete one says who is absent, but for no longer than a negative answer would. Outside volumes it
        # does not: names are case-insensitive there.
        if listing.is_complete and listing.path.in_volume:
            return self._freshness.capped(stamp, self._ttls.negative)
        return None

    def has_seen(self, viewer: Viewer, folder: RemotePath) -> bool:
        """Whether a listing of ``folder`` could come from a cache, fresh or not."""
        scope = listing_scope(viewer, folder)
        return (scope, folder) in self._listings or self._shelf.has_listing(folder, scope)

    def is_fresh(self, listing: Listing, than: Known | None = None) -> bool:
        """Whether a listing may serve a new reader, who knows something that it must be newer ``than``."""
        if than is not None and listing.stamp.seen_at <= than.seen_at:
            return False
        return self._freshness.is_fresh(listing.stamp)

    def get_freshness_left(self, listing: Listing) -> float:
        """Seconds for which the kernel may keep what ``listing`` says."""
        return self._freshness.left(listing.stamp) or self._connectivity.get_hold()

    def is_worse_than_head(self, viewer: Viewer, path: RemotePath) -> bool:
        """Whether asking for one name says more than its folder's listing: that is long, or was wrong about it."""
        scope = listing_scope(viewer, path.parent)
        listing = self._listings.get((scope, path.parent))
        if listing is None or listing.from_index:
            return self._shelf.is_long(path.parent, scope)
        if path.name in listing.distrusted and self.is_fresh(listing):
            return True
        return listing.pages > 1 or not listing.is_complete

    # --- opening ---------------------------------------------------------------------------------

    async def open(self, viewer: Viewer, path: RemotePath) -> Listing:
        """The listing of a folder, to be read with :meth:`extend` until it is complete.

        Raises:
            RemoteError: the workspace refused, or nothing is known of the folder and it cannot be asked.
        """
        is_something = self._connectivity.serves_expired and self.has_seen(viewer, path)
        try:
            return await self.resolve(viewer, path, is_awaited=not is_something)
        except RemoteError as error:
            kept = self._fallback(viewer, path) if is_something and is_outage(error) else None
            if kept is None:
                raise
            return kept

    async def resolve(
        self, viewer: Viewer, path: RemotePath, than: Known | None = None, *, is_awaited: bool = True
    ) -> Listing:
        """The same, but fresh or not at all, and newer ``than`` something that is known.

        With ``is_awaited`` off there is something to show without it, and nobody waits long.

        Raises:
            RemoteError: the workspace refused or could not say.
        """
        key = (listing_scope(viewer, path), path)
        listing = self._listings.get(key)
        if listing is not None and self.is_fresh(listing, than):
            self._listings.move_to_end(key)
            return listing
        stored = self._load(path, key[0]) if listing is None else None
        if stored is not None and self.is_fresh(stored, than) and self._shelf.load_page(stored, key[0]):
            self._keep(key, stored)
            return stored
        return await self.refetch(viewer, path, is_awaited=is_awaited)

    async def refetch(self, viewer: Viewer, path: RemotePath, *, is_awaited: bool = True) -> Listing:
        """The first page of the folder as it is now, whatever is known of it.

        Raises:
            RemoteError: the workspace refused or could not say.
        """
        key = (viewer.token, path)
        if key in self._tickets:
            self._tickets[key].promote()
        with self._connectivity.reaching(is_awaited=is_awaited):
            return await self._open_flights.join(
                key,
                lambda: self._fetch(viewer, path),
                goes_on=None if is_awaited else self._connectivity.is_worth_asking,
            )

    async def fetch_ahead(self, viewer: Viewer, path: RemotePath) -> Listing:
        """The same, behind everything that somebody waits for; until somebody waits for this, too.

        Raises:
            RemoteError: the workspace refused or could not say.
        """
        key, ticket = (viewer.token, path), Ticket(Urgency.AHEAD)
        if key in self._open_flights:
            return await self.refetch(viewer, path)
        self._tickets[key] = ticket
        try:
            return await self._open_flights.join(key, lambda: self._fetch(viewer, path, ticket))
        finally:
            if self._tickets.get(key) is ticket:
                del self._tickets[key]

    def is_known(self, viewer: Viewer, path: RemotePath) -> bool:
        """Whether opening the folder needs no call: its listing is in RAM or in the index, and fresh."""
        scope = listing_scope(viewer, path)
        listing = self._listings.get((scope, path))
        if listing is None:
            listing = self._load(path, scope)
        return listing is not None and self.is_fresh(listing)

    async def _fetch(self, viewer: Viewer, path: RemotePath, ticket: Ticket | None = None) -> Listing:
        listing = Listing(path, self._freshness.stamp(None, self._ttl(path)))
        await self._fetch_page(viewer, listing, ticket)
        self._keep((listing_scope(viewer, path), path), listing)
        return listing

    def _load(self, path: RemotePath, scope: Scope) -> Listing | None:
        stored = self._shelf.load_listing(path, scope)
        if stored is not None:
            stored.stamp = self._freshness.capped(stored.stamp, self._ttl(path))
        return stored

    def _fallback(self, viewer: Viewer, path: RemotePath) -> Listing | None:
        """What can be shown of a folder while the workspace cannot be reached."""
        scope = listing_scope(viewer, path)
        listing = self._listings.get((scope, path))
        if listing is not None and (listing.is_complete or listing.from_index):
            return listing
        stored = self._load(path, scope)
        return stored if stored is not None and self._shelf.load_page(stored, scope) else None

    def _ttl(self, folder: RemotePath) -> float:
        return self._ttls.inner if folder.in_volume else self._ttls.boundary

    # --- reading on ------------------------------------------------------------------------------

    async def extend(self, viewer: Viewer, listing: Listing) -> None:
        """Read one more page of an incomplete listing; concurrent callers share it.

        Raises:
            NotFound: the folder is gone.
            RemoteError: the workspace refused or could not say.
        """
        while not listing.is_complete:
            is_guest = id(listing) in self._page_flights
            try:
                await self._page_flights.join(id(listing), lambda: self._fetch_page(viewer, listing))
            except (NotFound, PermissionDenied, InvalidToken):
                if is_guest:  # somebody else's refusal, which may be a 404, is none of this viewer's
                    continue
                raise
            return

    def extend_ahead(self, viewer: Viewer, listing: Listing) -> None:
        """Start reading the next page before anybody asks for it."""
        if not listing.is_complete and id(listing) not in self._page_flights:
            self._supervisor.start_soon("listing-ahead", self._extend_quietly, viewer, listing)

    async def _extend_quietly(self, viewer: Viewer, listing: Listing) -> None:
        try:
            await self.extend(viewer, listing)
        except RemoteError as error:
            logger.debug("reading ahead in %s: %s", listing.path, error)

    async def _fetch_page(self, viewer: Viewer, listing: Listing, ticket: Ticket | None = None) -> None:
        scope, before = listing_scope(viewer, listing.path), len(listing)
        if not (listing.from_index and self._shelf.load_page(listing, scope)):
            if listing.from_index:
                listing.walk_again()
            await self._fetch_remote_page(viewer, listing, scope, ticket)
        if self._listings.get((scope, listing.path)) is listing:
            self.entries_in_ram += len(listing) - before
            self._on_growth()

    async def _fetch_remote_page(
        self, viewer: Viewer, listing: Listing, scope: Scope, ticket: Ticket | None
    ) -> None:
        self._connectivity.raise_if_down()
        try:
            entries, next_token = await self._fetcher.fetch_page(
                viewer, listing.path, listing.next_token, ticket
            )
        except RequestRejected:
            # A page token ends after a while; the names of the pages that were read keep their positions.
            if listing.next_token is None or not listing.walk_again():
                raise
            entries, next_token = await self._fetcher.fetch_page(viewer, listing.path, None)
        is_first = listing.next_token is None
        old = self._listings.get((scope, listing.path))
        listing.add_page(
            [merged(self._known_before(old, listing.path, entry.name), entry) for entry in entries],
            next_token=next_token,
        )
        shown = [shown for entry in entries if (shown := listing.get(entry.name)) is not None]
        self._shelf.post_page(listing, scope, shown, is_first=is_first)

    def _known_before(self, old: Listing | None, folder: RemotePath, name: str) -> Entry | None:
        entry = old.get(name) if old is not None else None
        return self._older(folder, name) if entry is None and folder.in_volume else entry

    # --- RAM -------------------------------------------------------------------------------------

    def drop_oldest(self) -> None:
        """Forget the listing that was opened longest ago; who reads it goes on."""
        _, oldest = self._listings.popitem(last=False)
        self.entries_in_ram -= len(oldest)

    def _keep(self, key: tuple[Scope, RemotePath], listing: Listing) -> None:
        old = self._listings.pop(key, None)
        self.entries_in_ram += len(listing) - (len(old) if old is not None else 0)
        self._listings[key] = listing
        self._on_growth()
