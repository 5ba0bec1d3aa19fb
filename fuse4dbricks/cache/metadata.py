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

from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.freshness import Freshness, Known, Ttls
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.shelf import TreeShelf
from fuse4dbricks.cache.versions import merged
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import NotFound, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Viewer

logger = logging.getLogger("fuse4dbricks.metadata")

#: None: shared by all who may read the volume; else a principal's id.
Scope = str | None

ROOT_ENTRY = Entry("", Kind.ROOT)

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
        self._entry_flights: Flights[tuple[str, RemotePath], Known] = Flights("metadata", supervisor)
        self._open_flights: Flights[tuple[str, RemotePath], Listing] = Flights("listing", supervisor)
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
                (viewer.principal.id, path), lambda: self._fetch_entry(viewer, path, known)
            )
        except RemoteError as error:
            if known is None or not is_outage(error):
                raise
            return self._freshness.extended(known, HOLD_SECONDS)

    async def _fetch_entry(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        if path.boundary_kind is not None:
            return await self._fetch_alone(viewer, path, known)
        if not self._is_long(viewer, path.parent):
            listing = await self.open_listing(viewer, path.parent, must_be_newer_than=known)
            entry = listing.get(path.name)
            if entry is not None and entry.name not in listing.distrusted and not _needs_head(entry):
                return Known(entry, listing.fetched_at, listing.fresh_until)
            if entry is None and listing.is_complete:
                return self._remember_absent(viewer, path)
        return await self._fetch_alone(viewer, path, known)

    async def _fetch_alone(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        old = known.entry if known is not None else None
        try:
            entry = merged(old, await self._fetcher.fetch_entry(viewer, path, old.kind if old else None))
        except NotFound:
            return self._remember_absent(viewer, path)
        boundary = path.boundary_kind is not None
        fresh = self._freshness.stamp(entry, self._ttls.boundary if boundary else self._ttls.inner)
        canonical = path.parent.child(entry.name)
        scope = viewer.principal.id if boundary else None
        self._keep_single(scope, canonical, fresh)
        if entry.name != path.name:
            # Another spelling of a case-insensitive name: known in RAM, never stored as a name of its own.
            self._keep_single(scope, path, fresh)
        listing = self._listings.get((listing_scope(viewer, path.parent), path.parent))
        if listing is not None:
            listing.replace(entry)
        self._shelf.post_entry(canonical, scope, fresh)
        return fresh

    def mark_stale(self, path: RemotePath) -> None:
        """What is known of a file inside a volume is no longer true: the next question goes to the workspace."""
        self._single.pop((None, path), None)
        listing = self._listings.get((None, path.parent))
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
        stored = self._shelf.load_listing(path, key[0])
        if stored is not None and self._is_listing_fresh(stored, must_be_newer_than):
            self._keep_listing(key, stored)
            return stored
        try:
            self._raise_if_down()
            return await self._open_flights.join(
                (viewer.principal.id, path), lambda: self._fetch_listing(viewer, path)
            )
        except RemoteError as error:
            kept = listing if listing is not None and listing.is_complete else stored
            if kept is None or not is_outage(error):
                raise
            return kept

    async def _fetch_listing(self, viewer: Viewer, path: RemotePath) -> Listing:
        """A new listing with its first page."""
        stamp = self._freshness.stamp(None, self._ttls.inner if path.in_volume else self._ttls.boundary)
        listing = Listing(path, fetched_at=stamp.fetched_at, fresh_until=stamp.fresh_until)
        await self._fetch_page(viewer, listing)
        self._keep_listing((listing_scope(viewer, path), path), listing)
        return listing

    async def extend(self, viewer: Viewer, listing: Listing) -> None:
        """Read one more page of an incomplete listing; concurrent callers share it.

        Raises:
            NotFound: the folder is gone.
            RemoteError: the workspace refused or could not say.
        """
        if not listing.is_complete:
            await self._page_flights.join(id(listing), lambda: self._fetch_page(viewer, listing))

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
        if listing.from_index:
            self._shelf.load_page(listing, scope)
        else:
            entries, next_token = await self._fetcher.fetch_page(viewer, listing.path, listing.next_token)
            entries = [merged(self._older(scope, listing.path, entry.name), entry) for entry in entries]
            added = listing.add_page(entries, next_token=next_token)
            self._shelf.post_page(listing, scope, added)
        if self._listings.get((scope, listing.path)) is listing:
            self._listed_entries += len(listing) - before
            self._trim()

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
            return Known(ROOT_ENTRY, 0.0, float("inf"))
        scope = None if path.boundary_kind is None else viewer.principal.id
        single = self._single.get((scope, path))
        if scope is None:
            absent = self._single.get((viewer.principal.id, path))
            if absent is not None and (single is None or absent.fetched_at >= single.fetched_at):
                single = absent
        listed = self._recall_listed(viewer, path)
        if listed is not None and (single is None or listed.fetched_at > single.fetched_at):
            return listed
        return single

    def _recall_listed(self, viewer: Viewer, path: RemotePath) -> Known | None:
        parent = path.parent
        listing = self._listings.get((listing_scope(viewer, parent), parent))
        if listing is None:
            return None
        entry = listing.get(path.name)
        if entry is None:
            # Complete listings say who is absent, but no longer than a negative answer would.
            if not listing.is_complete or path.boundary_kind is not None:
                return None
            ttl = min(self._ttls.negative, self._ttls.inner)
            return Known(None, listing.fetched_at, listing.fresh_until - self._ttls.inner + ttl)
        if path.name in listing.distrusted or _needs_head(entry):
            return None
        return Known(entry, listing.fetched_at, listing.fresh_until)

    def _load(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """The newest that the index knows of ``path``: what is shared, and what this principal was denied."""
        mine = self._shelf.load_entry(path, viewer.principal.id)
        shared = self._shelf.load_entry(path, None) if path.boundary_kind is None else None
        found = [known for known in (shared, mine) if known is not None]
        known = max(found, key=lambda known: known.fetched_at, default=None)
        if known is None or (known.entry is not None and _needs_head(known.entry)):
            return None
        self._keep_single(viewer.principal.id if known is mine else None, path, known)
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
        return self._freshness.left(Known(None, listing.fetched_at, listing.fresh_until))

    def is_listing_fresh(self, listing: Listing) -> bool:
        """Whether a listing may serve a new reader."""
        return self._is_listing_fresh(listing, None)

    def _is_listing_fresh(self, listing: Listing, than: Known | None) -> bool:
        if than is not None and listing.fetched_at <= than.fetched_at:
            return False
        return self._freshness.is_fresh(Known(None, listing.fetched_at, listing.fresh_until))

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
