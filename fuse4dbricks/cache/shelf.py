"""The tree in the index, as the metadata cache uses it; or no index at all.

The difficulty: the index is advisory. Without one, or with one that is busy or broken, everything here is a miss
and nothing is kept, and the mount goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fuse4dbricks.cache.freshness import Freshness, Known
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.entry import Entry
from fuse4dbricks.paths import RemotePath

#: Entries read back from the index at a time: about 3 ms in the loop.
PAGE_ENTRIES = 1000


class StoredEntry(Protocol):
    """An entry as the index keeps it, in wall time; ``entry`` None is a negative one."""

    @property
    def entry(self) -> Entry | None:
        """What was seen."""
        ...

    @property
    def fetched_at(self) -> float:
        """When."""
        ...

    @property
    def expires_at(self) -> float:
        """Until when it was to be believed."""
        ...


class StoredListing(Protocol):
    """A listing as the index keeps it."""

    @property
    def complete(self) -> bool:
        """Whether its last page was seen."""
        ...

    @property
    def fetched_at(self) -> float:
        """When its first page was asked for."""
        ...

    @property
    def expires_at(self) -> float:
        """Until when it was to be believed."""
        ...

    @property
    def count(self) -> int:
        """How many entries it has."""
        ...


class TreeIndex(Protocol):
    """What is needed of the index (its ``tree``)."""

    def load_entry(self, path: RemotePath, principal: str | None) -> StoredEntry | None:
        """One entry."""
        ...

    def load_listing(self, path: RemotePath, principal: str | None) -> StoredListing | None:
        """What is known of a folder's listing as a whole."""
        ...

    def load_listing_entries(
        self, path: RemotePath, principal: str | None, after: str | None, limit: int
    ) -> list[Entry]:
        """Entries by name, after a name."""
        ...

    def post_listing(
        self,
        path: RemotePath,
        principal: str | None,
        entries: Sequence[Entry],
        *,
        fetched_at: float,
        expires_at: float,
        first: bool,
        last: bool,
    ) -> None:
        """Keep one page of a walk."""
        ...

    def post_entry(
        self, path: RemotePath, principal: str | None, entry: Entry, *, fetched_at: float, expires_at: float
    ) -> None:
        """Keep one entry."""
        ...

    def post_absent(
        self, path: RemotePath, principal: str | None, *, fetched_at: float, expires_at: float
    ) -> None:
        """Keep that there is none."""
        ...

    def post_expire(self, path: RemotePath) -> None:
        """Keep the entry but do not believe it."""
        ...


class TreeShelf:
    """Reads and writes the tree in the index, if there is one."""

    def __init__(self, tree: TreeIndex | None, freshness: Freshness) -> None:
        self._tree = tree
        self._freshness = freshness

    def load_entry(self, path: RemotePath, scope: str | None) -> Known | None:
        """The stored entry, fresh or not."""
        stored = self._tree.load_entry(path, scope) if self._tree is not None else None
        if stored is None:
            return None
        return self._freshness.restore(stored.entry, stored.fetched_at, stored.expires_at)

    def load_listing(self, path: RemotePath, scope: str | None) -> Listing | None:
        """A complete stored listing with its first page read, fresh or not."""
        stored = self._tree.load_listing(path, scope) if self._tree is not None else None
        if stored is None or not stored.complete:
            return None
        known = self._freshness.restore(None, stored.fetched_at, stored.expires_at)
        listing = Listing(path, fetched_at=known.fetched_at, fresh_until=known.fresh_until, from_index=True)
        self.load_page(listing, scope)
        return listing

    def load_page(self, listing: Listing, scope: str | None) -> None:
        """Read the next page of a stored listing back."""
        after = listing.next_token
        entries = (
            self._tree.load_listing_entries(listing.path, scope, after, PAGE_ENTRIES)
            if self._tree is not None
            else []
        )
        is_last = len(entries) < PAGE_ENTRIES
        listing.add_page(entries, next_token=None if is_last else entries[-1].name)

    def has_listing(self, path: RemotePath, scope: str | None) -> bool:
        """Whether a listing of the folder is stored, fresh or not."""
        return self._tree is not None and self._tree.load_listing(path, scope) is not None

    def is_long(self, path: RemotePath, scope: str | None) -> bool:
        """Whether the folder is known to have more than one page of entries."""
        stored = self._tree.load_listing(path, scope) if self._tree is not None else None
        return stored is not None and stored.count > PAGE_ENTRIES

    def post_page(self, listing: Listing, scope: str | None, added: Sequence[Entry]) -> None:
        """Keep one page that came from the workspace."""
        if self._tree is None:
            return
        left = self._freshness.left(Known(None, listing.fetched_at, listing.fresh_until))
        self._tree.post_listing(
            listing.path,
            scope,
            added,
            fetched_at=listing.fetched_at,
            expires_at=listing.fetched_at + left,
            first=listing.pages == 1,
            last=listing.is_complete,
        )

    def post_entry(self, path: RemotePath, scope: str | None, known: Known) -> None:
        """Keep one entry that came from the workspace."""
        if self._tree is not None and known.entry is not None:
            expires_at = known.fetched_at + self._freshness.left(known)
            self._tree.post_entry(
                path, scope, known.entry, fetched_at=known.fetched_at, expires_at=expires_at
            )

    def post_absent(self, path: RemotePath, scope: str | None, known: Known, ttl: float) -> None:
        """Keep that there is nothing at ``path``."""
        if self._tree is not None:
            self._tree.post_absent(
                path, scope, fetched_at=known.fetched_at, expires_at=known.fetched_at + ttl
            )

    def post_expire(self, path: RemotePath) -> None:
        """Keep the entry, but do not believe it."""
        if self._tree is not None:
            self._tree.post_expire(path)
