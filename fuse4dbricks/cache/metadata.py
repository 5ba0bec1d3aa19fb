"""The tree as last seen: RAM, then the index, then the workspace.

The difficulties, and who solves them here:

* Few calls. A name that is not known is found by the first page of its folder's listing, which answers for its
  siblings too; only in folders of more than one page is the name asked for alone (:class:`TreeFetcher`).
* What is inside a volume is one truth shared by all who may read it; catalogs, schemas, volumes and every
  negative answer depend on who asks. The scope in each key says which.
* An expired entry is kept: it is served while the workspace cannot be reached.
* RAM is bounded in entries; the index keeps the rest.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace

from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.freshness import Freshness, Known, Ttls
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.shelf import TreeShelf
from fuse4dbricks.cache.versions import merged
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import InvalidToken, NotFound, PermissionDenied, RemoteError, RequestRejected
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token, Viewer

logger = logging.getLogger("fuse4dbricks.metadata")

#: None: shared by all who may read the volume; else a principal's id.
Scope = str | None

_ROOT = Known(Entry("", Kind.ROOT), 0.0, float("inf"), 0.0)

#: Unity Catalog names hold none of these (databricks-api section 2), so asking would be a wasted call; programs
#: look for ``.git``, ``.Trash`` and ``autorun.inf`` in every folder they open.
_NOT_IN_SECURABLE_NAMES = frozenset(". ") | {chr(code) for code in range(0x20)} | {"\x7f"}


def listing_scope(viewer: Viewer, folder: RemotePath) -> Scope:
    """Whose truth the listing of ``folder`` is."""
    return None if folder.in_volume else viewer.principal.id


class MetadataCache:
    """Answers what is at a path and what is in a folder, for one viewer at a time."""

    def __init__(
        self,
        *,
        fetcher: TreeFetcher,
        shelf: TreeShelf,
        connectivity: Connectivity,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
        ttls: Ttls,
        max_entries: int,
    ) -> None:
        self._fetcher = fetcher
        self._shelf = shelf
        self._connectivity = connectivity
        self._supervisor = supervisor
        self._metrics = metrics
        self._freshness = Freshness(clock)
        self._ttls = ttls
        self._max_entries = max_entries
        self._single: OrderedDict[tuple[Scope, RemotePath], Known] = OrderedDict()
        self._listings: OrderedDict[tuple[Scope, RemotePath], Listing] = OrderedDict()
        self._listed_entries = 0
        # By token, not by principal: nobody is to fail because somebody else's token did.
        self._entry_flights: Flights[tuple[Token, RemotePath], Known] = Flights("metadata", supervisor)
        self._open_flights: Flights[tuple[Token, RemotePath], Listing] = Flights("listing", supervisor)
        self._page_flights: Flights[int, None] = Flights("listing-page", supervisor)

    # --- one path --------------------------------------------------------------------------------

    def get_entry(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """What RAM knows of ``path`` and may still be believed."""
        known = self._recall(viewer, path)
        return known if known is not None and self._freshness.is_fresh(known) else None

    def load_entry(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """What RAM or the index knows of ``path``, believable or not."""
        return self._recall(viewer, path) or self._load(viewer, path)

    def has_seen(self, viewer: Viewer, path: RemotePath) -> bool:
        """Whether an answer about ``path`` could come from a cache, fresh or not."""
        return self.has_listed(viewer, path.parent) or self.load_entry(viewer, path) is not None

    def has_listed(self, viewer: Viewer, folder: RemotePath) -> bool:
        """Whether a listing of ``folder`` could come from a cache, fresh or not."""
        scope = listing_scope(viewer, folder)
        return (scope, folder) in self._listings or self._shelf.has_listing(folder, scope)

    async def resolve_entry(self, viewer: Viewer, path: RemotePath) -> Known:
        """What is at ``path``; the entry's name is the server's.

        Raises:
            NotFound: nothing, or nothing this principal may know of.
            RemoteError: the workspace refused or could not say, and nothing older is known.
        """
        known = self._recall(viewer, path)
        if known is not None and self._freshness.is_fresh(known):
            self._metrics.count("metadata.hits", layer="ram")
        else:
            known = await self._resolve_stale(viewer, path, known)
        if known.entry is None:
            raise NotFound(f"no {path}")
        return known

    async def _resolve_stale(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        stored = self._load(viewer, path) if known is None else None
        if stored is not None and self._freshness.is_fresh(stored):
            self._metrics.count("metadata.hits", layer="index")
            return stored
        known = known or stored
        if path.boundary_kind is not None and _NOT_IN_SECURABLE_NAMES & set(path.name):
            return self._freshness.stamp(None, self._ttls.boundary)
        self._metrics.count("metadata.misses")
        try:
            self._raise_if_down()
            return await self._entry_flights.join(
                (viewer.token, path), lambda: self._fetch_entry(viewer, path, known)
            )
        except RemoteError as error:
            # That it was absent a while ago says nothing now: an outage must not look like "no such file".
            if known is None or known.entry is None or not is_outage(error):
                raise
            return self._freshness.extended(known, HOLD_SECONDS)

    async def _fetch_entry(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        if path.boundary_kind is not None or self._is_better_alone(viewer, path):
            return await self._fetch_alone(viewer, path, known)
        try:
            listing = await self.open_listing(viewer, path.parent, must_be_newer_than=known)
            found = self._find_listed(listing, path.name)
            if found is not None and found.entry is None and not self._freshness.is_fresh(found):
                # Young enough to say what is there, too old to say what is not.
                listing = await self.open_listing(viewer, path.parent, must_be_newer_than=listing.stamp)
                found = self._find_listed(listing, path.name)
        except NotFound:
            return self._remember_absent(viewer, path)
        if found is None:
            return await self._fetch_alone(viewer, path, known)
        return found if found.entry is not None else self._remember_absent(viewer, path)

    async def _fetch_alone(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        old = known.entry if known is not None else None
        try:
            entry = merged(old, await self._fetcher.fetch_entry(viewer, path, old.kind if old else None))
        except NotFound:
            return self._remember_absent(viewer, path)
        fresh = self._freshness.stamp(entry, self._entry_ttl(path, entry))
        canonical = path.parent.child(entry.name)
        scope = listing_scope(viewer, path.parent)
        self._keep_single(scope, canonical, fresh)
        if entry.name != path.name:
            # Another spelling of a case-insensitive name: known in RAM, never stored as a name of its own.
            self._keep_single(scope, path, fresh)
        listing = self._listings.get((listing_scope(viewer, path.parent), path.parent))
        if listing is not None:
            listing.replace(entry)
        self._shelf.post_entry(canonical, scope, fresh)
        return fresh

    def mark_stale(self, path: RemotePath, version: Version | None = None) -> None:
        """That the file at ``path`` is of ``version`` is no longer true (None: whatever is known of it is not).

        The next question goes to the workspace. Nothing happens when another version is known already.
        """
        known = self._single.get((None, path))
        listing = self._listings.get((None, path.parent))
        listed = self._find_listed(listing, path.name) if listing is not None else None
        if known is None or (listed is not None and listed.seen_at > known.seen_at):
            known = listed or known or self._shelf.load_entry(path, None)
        if known is None or known.entry is None or version not in {None, known.entry.version}:
            return
        # Kept, as expired: without it the index would be asked, which hears of this a moment later.
        self._keep_single(None, path, replace(known, fresh_until=float("-inf")))
        if listing is not None:
            listing.distrusted.add(path.name)
        self._shelf.post_expire(path)

    # --- one folder ------------------------------------------------------------------------------

    async def open_listing(
        self, viewer: Viewer, path: RemotePath, *, must_be_newer_than: Known | None = None
    ) -> Listing:
        """The listing of a folder, to be read with :meth:`extend` until it is complete.

        Raises:
            RemoteError: nothing is known of the folder and the workspace cannot be asked.
        """
        key = (listing_scope(viewer, path), path)
        listing = self._listings.get(key)
        if listing is not None and self._is_listing_fresh(listing, must_be_newer_than):
            self._listings.move_to_end(key)
            return listing
        stored = self._load_listing(path, key[0]) if listing is None else None
        if (
            stored is not None
            and self._is_listing_fresh(stored, must_be_newer_than)
            and self._shelf.load_page(stored, key[0])
        ):
            self._keep_listing(key, stored)
            return stored
        try:
            self._raise_if_down()
            return await self.refetch_listing(viewer, path)
        except RemoteError as error:
            kept = self._fallback(key, listing) if is_outage(error) else None
            if kept is None:
                raise
            return kept

    async def refetch_listing(self, viewer: Viewer, path: RemotePath) -> Listing:
        """The first page of the folder as it is now, whatever is known of it.

        Raises:
            RemoteError: the workspace refused or could not say.
        """
        return await self._open_flights.join((viewer.token, path), lambda: self._fetch_listing(viewer, path))

    async def _fetch_listing(self, viewer: Viewer, path: RemotePath) -> Listing:
        listing = Listing(path, self._freshness.stamp(None, self._listing_ttl(path)))
        await self._fetch_page(viewer, listing)
        self._keep_listing((listing_scope(viewer, path), path), listing)
        return listing

    def _load_listing(self, path: RemotePath, scope: Scope) -> Listing | None:
        stored = self._shelf.load_listing(path, scope)
        if stored is not None:
            stored.stamp = self._freshness.capped(stored.stamp, self._listing_ttl(path))
        return stored

    def _fallback(self, key: tuple[Scope, RemotePath], listing: Listing | None) -> Listing | None:
        """What can be shown of a folder while the workspace cannot be reached."""
        if listing is not None and (listing.is_complete or listing.from_index):
            return listing
        stored = self._load_listing(key[1], key[0])
        return stored if stored is not None and self._shelf.load_page(stored, key[0]) else None

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
            except (PermissionDenied, InvalidToken):
                if is_guest:  # somebody else's refusal is none of this viewer's
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

    async def _fetch_page(self, viewer: Viewer, listing: Listing) -> None:
        scope = listing_scope(viewer, listing.path)
        before = len(listing)
        if not (listing.from_index and self._shelf.load_page(listing, scope)):
            if listing.from_index:
                listing.walk_again()
            await self._fetch_remote_page(viewer, listing, scope)
        if self._listings.get((scope, listing.path)) is listing:
            self._listed_entries += len(listing) - before
            self._trim()

    async def _fetch_remote_page(self, viewer: Viewer, listing: Listing, scope: Scope) -> None:
        try:
            entries, next_token = await self._fetcher.fetch_page(viewer, listing.path, listing.next_token)
        except RequestRejected:
            # A page token ends after a while; the names of the pages that were read keep their positions.
            if listing.next_token is None or not listing.walk_again():
                raise
            entries, next_token = await self._fetcher.fetch_page(viewer, listing.path, None)
        is_first = listing.next_token is None
        listing.add_page(
            [merged(self._older(scope, listing.path, entry.name), entry) for entry in entries],
            next_token=next_token,
        )
        shown = [shown for entry in entries if (shown := listing.get(entry.name)) is not None]
        self._shelf.post_page(listing, scope, shown, is_first=is_first)

    def _older(self, scope: Scope, folder: RemotePath, name: str) -> Entry | None:
        """What was known of a listed name before this page."""
        old = self._listings.get((scope, folder))
        entry = old.get(name) if old is not None else None
        if entry is None:
            single = self._single.get((scope, folder.child(name))) if scope is None else None
            entry = single.entry if single is not None else None
        return entry

    # --- RAM -------------------------------------------------------------------------------------

    def _recall(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """The newest that RAM knows of ``path``, believable or not."""
        if path.depth == 0:
            return _ROOT
        scope = None if path.boundary_kind is None else viewer.principal.id
        single = self._single.get((scope, path))
        if scope is None:
            absent = self._single.get((viewer.principal.id, path))
            if absent is not None and (single is None or absent.seen_at >= single.seen_at):
                single = absent
        listed = self._recall_listed(viewer, path)
        if listed is not None and (single is None or listed.seen_at > single.seen_at):
            return listed
        return single

    def _recall_listed(self, viewer: Viewer, path: RemotePath) -> Known | None:
        parent = path.parent
        listing = self._listings.get((listing_scope(viewer, parent), parent))
        return self._find_listed(listing, path.name) if listing is not None else None

    def _find_listed(self, listing: Listing, name: str) -> Known | None:
        """What a listing says of a name; None when it does not know."""
        entry = listing.get(name)
        if entry is not None:
            if self.is_doubtful(listing, entry):
                return None
            stamp = listing.stamp
            return Known(entry, stamp.fetched_at, stamp.fresh_until, stamp.seen_at)
        # A complete one says who is absent, but for no longer than a negative answer would. Outside volumes it
        # does not: names are case-insensitive there.
        if listing.is_complete and listing.path.in_volume:
            return self._freshness.capped(listing.stamp, self._ttls.negative)
        return None

    def _load(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """The newest that the index knows of ``path``: what is shared, and what this principal was denied."""
        mine = self._shelf.load_entry(path, viewer.principal.id)
        shared = self._shelf.load_entry(path, None) if path.boundary_kind is None else None
        found = [known for known in (shared, mine) if known is not None]
        newest = max(found, key=lambda known: known.seen_at, default=None)
        if newest is None or (newest.entry is not None and _needs_head(newest.entry)):
            return None
        known = self._freshness.capped(newest, self._entry_ttl(path, newest.entry))
        self._keep_single(viewer.principal.id if newest is mine else None, path, known)
        return known

    def _remember_absent(self, viewer: Viewer, path: RemotePath) -> Known:
        known = self._freshness.stamp(None, self._ttls.negative)
        self._single.pop((None, path), None)
        self._keep_single(viewer.principal.id, path, known)
        self._shelf.post_absent(path, viewer.principal.id, known, self._ttls.negative)
        return known

    def _keep_single(self, scope: Scope, path: RemotePath, known: Known) -> None:
        self._single[scope, path] = known
        self._single.move_to_end((scope, path))
        self._trim()

    def _keep_listing(self, key: tuple[Scope, RemotePath], listing: Listing) -> None:
        old = self._listings.pop(key, None)
        self._listed_entries += len(listing) - (len(old) if old is not None else 0)
        self._listings[key] = listing
        self._trim()

    def _trim(self) -> None:
        """Hold the bound in entries: single entries go first, they are the cheaper to find again."""
        while len(self._single) + self._listed_entries > self._max_entries:
            if self._single:
                self._single.popitem(last=False)
            else:
                _, oldest = self._listings.popitem(last=False)
                self._listed_entries -= len(oldest)

    # --- judgement -------------------------------------------------------------------------------

    def freshness_left(self, known: Known) -> float:
        """Seconds for which the kernel may keep ``known``."""
        return self._freshness.left(known)

    def listing_freshness_left(self, listing: Listing) -> float:
        """Seconds for which the kernel may keep what ``listing`` says."""
        return self._freshness.left(listing.stamp)

    def is_listing_fresh(self, listing: Listing) -> bool:
        """Whether a listing may serve a new reader."""
        return self._is_listing_fresh(listing, None)

    def _is_listing_fresh(self, listing: Listing, than: Known | None) -> bool:
        if than is not None and listing.stamp.seen_at <= than.seen_at:
            return False
        return self._freshness.is_fresh(listing.stamp)

    def _entry_ttl(self, path: RemotePath, entry: Entry | None) -> float:
        if entry is None:
            return self._ttls.negative
        return self._ttls.inner if path.boundary_kind is None else self._ttls.boundary

    def _listing_ttl(self, folder: RemotePath) -> float:
        return self._ttls.inner if folder.in_volume else self._ttls.boundary

    def is_doubtful(self, listing: Listing, entry: Entry) -> bool:
        """Whether a listed entry has to be resolved by itself before it is shown."""
        return _needs_head(entry) or entry.name in listing.distrusted

    def _is_better_alone(self, viewer: Viewer, path: RemotePath) -> bool:
        """Whether asking for one name says more than its folder's listing: that is long, or was wrong about it."""
        listing = self._listings.get((listing_scope(viewer, path.parent), path.parent))
        if listing is not None and path.name in listing.distrusted and self.is_listing_fresh(listing):
            return True
        return self._is_long(viewer, path.parent)

    def _is_long(self, viewer: Viewer, folder: RemotePath) -> bool:
        """Whether the folder is known to need more than one page, so that one name is asked for alone."""
        listing = self._listings.get((listing_scope(viewer, folder), folder))
        if listing is not None and listing.pages and not listing.from_index:
            return listing.pages > 1 or not listing.is_complete
        return self._shelf.is_long(folder, listing_scope(viewer, folder))

    def _raise_if_down(self) -> None:
        outage = self._connectivity.get_outage()
        if outage is not None:
            raise outage


def _needs_head(entry: Entry) -> bool:
    """A file that was listed without size or time."""
    return entry.kind is Kind.FILE and entry.version is None
