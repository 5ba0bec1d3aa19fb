"""The tree as last seen: RAM, then the index, then the workspace.

The difficulties, and who solves them here:

* Few calls. A name that is not known is found by the first page of its folder's listing, which answers for its
  siblings too; only in folders of more than one page is the name asked for alone (:class:`TreeFetcher`).
* What is inside a volume is one truth shared by all who may read it; catalogs, schemas, volumes and every
  negative answer depend on who asks. The scope in each key says which.
* An expired entry is kept: it is served while the workspace cannot be reached.
* RAM is bounded in entries, listed ones included (:class:`ListingCache`); the index keeps the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.freshness import Freshness, Known, Ttls
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.listings import ListingCache, Scope, listing_scope
from fuse4dbricks.cache.shelf import TreeShelf
from fuse4dbricks.cache.versions import merged
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import NotFound, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token, Viewer

_ROOT = Known(Entry("", Kind.ROOT), 0.0, float("inf"), 0.0)

#: Unity Catalog names hold none of these (databricks-api section 2), so asking would be a wasted call; programs
#: look for ``.git``, ``.Trash`` and ``autorun.inf`` in every folder they open.
_NOT_IN_SECURABLE_NAMES = frozenset(". ") | {chr(code) for code in range(0x20)} | {"\x7f"}


class MetadataCache:
    """Answers what is at a path, for one viewer at a time.

    Attributes:
        listings: what is in folders.
    """

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
        self._metrics = metrics
        self._freshness = Freshness(clock)
        self._ttls = ttls
        self._max_entries = max_entries
        self._single: OrderedDict[tuple[Scope, RemotePath], Known] = OrderedDict()
        self.listings = ListingCache(
            fetcher=fetcher,
            shelf=shelf,
            connectivity=connectivity,
            supervisor=supervisor,
            freshness=self._freshness,
            ttls=ttls,
            older=self._get_older,
            on_growth=self._trim,
        )
        # By token, not by principal: nobody is to fail because somebody else's token did.
        self._entry_flights: Flights[tuple[Token, RemotePath], Known] = Flights("metadata", supervisor)

    # --- one path --------------------------------------------------------------------------------

    def get_entry(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """What RAM knows of ``path`` and may still be believed."""
        known = self._recall(viewer, path)
        if known is None or self._freshness.is_fresh(known):
            return known
        return known if known.entry is not None and self._connectivity.get_hold() else None

    def load_entry(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """What RAM or the index knows of ``path``, believable or not."""
        return self._recall(viewer, path) or self._load(viewer, path)

    def has_seen(self, viewer: Viewer, path: RemotePath) -> bool:
        """Whether an answer about ``path`` could come from a cache, fresh or not."""
        return self.listings.has_seen(viewer, path.parent) or self.load_entry(viewer, path) is not None

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
            if not _is_impossible(path):
                self._connectivity.raise_if_down()  # an outage must not look like "no such file", however young
            raise NotFound(f"no {path}")
        return known

    def load_seen(self, viewer: Viewer, folder: RemotePath) -> list[Entry]:
        """The catalogs, schemas or volumes in ``folder`` that the viewer has come by, though nobody listed it."""
        scope = viewer.principal.id
        found = {entry.name: entry for entry in self._shelf.load_seen(folder, scope)}
        for (of, path), known in self._single.items():
            if of == scope and path.depth and path.parent == folder:
                if known.entry is None:
                    found.pop(path.name, None)
                else:
                    found[known.entry.name] = known.entry
        return [found[name] for name in sorted(found)]

    def listing_of(self, folder: RemotePath, entries: Sequence[Entry]) -> Listing:
        """A listing for once of what is known of a folder; it is out of date from the beginning."""
        listing = Listing(folder, self._freshness.stamp(None, 0.0))
        listing.add_page(entries, next_token=None)
        return listing

    async def refetch_entry(self, viewer: Viewer, path: RemotePath) -> Known:
        """What is at ``path`` now, whatever is known of it; what is not there is remembered as such.

        Raises:
            RemoteError: the workspace refused or could not say.
        """
        known = self.load_entry(viewer, path)
        return await self._entry_flights.join(
            (viewer.token, path), lambda: self._fetch_alone(viewer, path, known)
        )

    async def _resolve_stale(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        stored = self._load(viewer, path) if known is None else None
        if stored is not None and self._freshness.is_fresh(stored):
            self._metrics.count("metadata.hits", layer="index")
            return stored
        known = known or stored
        if _is_impossible(path):
            return self._freshness.stamp(None, self._ttls.boundary)
        self._metrics.count("metadata.misses")
        # That it was absent a while ago says nothing now: an outage must not look like "no such file".
        is_something = known is not None and known.entry is not None and self._connectivity.serves_expired
        try:
            with self._connectivity.reaching(is_awaited=not is_something):
                return await self._entry_flights.join(
                    (viewer.token, path),
                    lambda: self._fetch_entry(viewer, path, known),
                    goes_on=self._connectivity.is_worth_asking if is_something else None,
                )
        except RemoteError as error:
            if known is None or not is_something or not is_outage(error):
                raise
            return self._freshness.extended(known, HOLD_SECONDS)

    async def _fetch_entry(self, viewer: Viewer, path: RemotePath, known: Known | None) -> Known:
        if path.boundary_kind is not None or self.listings.is_worse_than_head(viewer, path):
            return await self._fetch_alone(viewer, path, known)
        try:
            # Fresh or not at all: what an old listing does not have may well be there now.
            listing = await self.listings.resolve(viewer, path.parent, known)
            found = self.listings.find(listing, path.name)
            if found is not None and found.entry is None and not self._freshness.is_fresh(found):
                # Young enough to say what is there, too old to say what is not.
                listing = await self.listings.resolve(viewer, path.parent, listing.stamp)
                found = self.listings.find(listing, path.name)
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
        listing = self.listings.get(listing_scope(viewer, path.parent), path.parent)
        if listing is not None:
            listing.replace(entry)
        self._shelf.post_entry(canonical, scope, fresh)
        return fresh

    def mark_stale(self, path: RemotePath, version: Version | None = None) -> None:
        """That the file at ``path`` is of ``version`` is no longer true (None: whatever is known of it is not).

        The next question goes to the workspace. Nothing happens when another version is known already.
        """
        known = self._single.get((None, path))
        listing = self.listings.get(None, path.parent)
        listed = self.listings.find(listing, path.name) if listing is not None else None
        if known is None or (listed is not None and listed.seen_at > known.seen_at):
            known = listed or known or self._shelf.load_entry(path, None)
        if known is None or known.entry is None or version not in {None, known.entry.version}:
            return
        # Kept, as expired: without it the index would be asked, which hears of this a moment later.
        self._keep_single(None, path, replace(known, fresh_until=float("-inf")))
        if listing is not None:
            listing.distrusted.add(path.name)
        self._shelf.post_expire(path)

    # --- RAM -------------------------------------------------------------------------------------

    @property
    def entries_in_ram(self) -> int:
        """How many entries count against the bound."""
        return len(self._single) + self.listings.entries_in_ram

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
        folder = path.parent
        listing = self.listings.get(listing_scope(viewer, folder), folder)
        listed = self.listings.find(listing, path.name) if listing is not None else None
        if listed is not None and (single is None or listed.seen_at > single.seen_at):
            return listed
        return single

    def _get_older(self, folder: RemotePath, name: str) -> Entry | None:
        """What was known of a name in a volume, besides its folder's listing."""
        single = self._single.get((None, folder.child(name)))
        return single.entry if single is not None else None

    def _load(self, viewer: Viewer, path: RemotePath) -> Known | None:
        """The newest that the index knows of ``path``: what is shared, and what this principal was denied."""
        mine = self._shelf.load_entry(path, viewer.principal.id)
        shared = self._shelf.load_entry(path, None) if path.boundary_kind is None else None
        found = [known for known in (shared, mine) if known is not None]
        newest = max(found, key=lambda known: known.seen_at, default=None)
        if newest is None or (newest.entry is not None and newest.entry.needs_head):
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

    def _trim(self) -> None:
        """Hold the bound in entries: single entries go first, they are the cheaper to find again."""
        while self.entries_in_ram > self._max_entries:
            if self._single:
                self._single.popitem(last=False)
            else:
                self.listings.drop_oldest()

    # --- judgement -------------------------------------------------------------------------------

    def freshness_left(self, known: Known) -> float:
        """Seconds for which the kernel may keep ``known``."""
        return self._freshness.left(known) or self._connectivity.get_hold()

    def _entry_ttl(self, path: RemotePath, entry: Entry | None) -> float:
        if entry is None:
            return self._ttls.negative
        return self._ttls.inner if path.boundary_kind is None else self._ttls.boundary


def _is_impossible(path: RemotePath) -> bool:
    """Whether no catalog, schema or volume can have such a name."""
    return path.boundary_kind is not None and not _NOT_IN_SECURABLE_NAMES.isdisjoint(path.name)
