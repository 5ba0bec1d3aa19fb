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
    ) -> list[Entry] | None:
        """Entries by name, after a name; None when they cannot be given."""
        ...

    def load_seen_entries(self, path: RemotePath, principal: str | None, limit: int) -> list[Entry]:
        """Entries of a folder of which there may be no listing."""
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
        """A complete stored listing, fresh or not; to be read with :meth:`load_page`."""
        stored = self._tree.load_listing(path, scope) if self._tree is not None else None
        if stored is None or not stored.complete:
            return None
        stamp = self._freshness.restore(None, stored.fetched_at, stored.expires_at)
        return Listing(path, stamp, from_index=True)

    def load_page(self, listing: Listing, scope: str | None) -> bool:
        """Read the next page of a stored listing back; False when the index cannot give it now."""
        after = listing.next_token
        entries = (
            self._tree.load_listing_entries(listing.path, scope, after, PAGE_ENTRIES)
            if self._tree is not None
            else None
        )
        if entries is None:
            return False
        is_last = len(entries) < PAGE_ENTRIES
        if is_last and not self._is_whole(listing, scope, len(entries)):
            return False
        listing.add_page(entries, next_token=None if is_last else entries[-1].name)
        return True

    def _is_whole(self, listing: Listing, scope: str | None, rest: int) -> bool:
        """Whether no row was lost to damage: a gap would pass for a shorter folder."""
        stored = self._tree.load_listing(listing.path, scope) if self._tree is not None else None
        return stored is not None and stored.count == len(listing) + rest

    def has_listing(self, path: RemotePath, scope: str | None) -> bool:
        """Whether a listing of the folder is stored, fresh or not."""
        return self._tree is not None and self._tree.load_listing(path, scope) is not None

    def load_seen(self, path: RemotePath, scope: str | None) -> list[Entry]:
        """What was seen in a folder, one page of it at most."""
        return [] if self._tree is None else self._tree.load_seen_entries(path, scope, PAGE_ENTRIES)

    def is_long(self, path: RemotePath, scope: str | None) -> bool:
        """Whether the folder is known to have more than one page of entries."""
        stored = self._tree.load_listing(path, scope) if self._tree is not None else None
        return stored is not None and stored.count > PAGE_ENTRIES

    def post_page(
        self, listing: Listing, scope: str | None, entries: Sequence[Entry], *, is_first: bool
    ) -> None:
        """Keep one page that came from the workspace: all of it, for the index drops what a walk has not seen."""
        if self._tree is None:
            return
        stamp = listing.stamp
        self._tree.post_listing(
            listing.path,
            scope,
            entries,
            fetched_at=stamp.fetched_at,
            expires_at=stamp.fetched_at + (stamp.fresh_until - stamp.seen_at),
            first=is_first,
            last=listing.is_complete,
        )

    def post_entry(self, path: RemotePath, scope: str | None, known: Known) -> None:
        """Keep one entry that came from the workspace."""
        if self._tree is not None and known.entry is not None:
            expires_at = known.fetched_at + (known.fresh_until - known.seen_at)
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
