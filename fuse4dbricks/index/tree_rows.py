"""Rows of the tree as values, and their checksums.

The difficulty: an entry is written in one thread and verified in another; both must agree to the letter on what a
row says. So both directions are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.index.records import StoredEntry, StoredListing
from fuse4dbricks.index.rowsum import seal
from fuse4dbricks.paths import RemotePath

#: Who sees what is inside a volume: all who may read it.
SHARED = ""

ENTRY_COLUMNS = "name, kind, size, last_modified, etag, unsettled_at, mtime, fetched_at, expires_at"
LISTING_COLUMNS = "walk, pages, complete, entries, fetched_at, expires_at"

#: The values of ENTRY_COLUMNS.
EntryRow = tuple[str, int, int | None, int | None, str | None, int, float | None, float, float]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose view of which folder.

    Attributes:
        host: the workspace.
        folder: path as the index writes it.
        viewer: :data:`SHARED` or a principal's id.
    """

    host: str
    folder: str
    viewer: str


def index_path(path: RemotePath) -> str:
    """``catalog/schema/volume/…``; the root is empty. Names hold no slash, so this is unambiguous."""
    return "/".join(path.parts)


def path_ranges(under: RemotePath) -> tuple[tuple[str, str], ...]:
    """Between which paths (the first included, the second not) a file lies, or all that is in a folder, in their order.

    Names hold neither NUL nor a slash, and in the order of bytes "0" follows "/".
    """
    path = index_path(under)
    return ((path, f"{path}\0"), (f"{path}/", f"{path}0")) if path else (("", "\U0010ffff"),)


def viewer_of(principal: str | None) -> str:
    """The viewer column for a principal's id, or for what all share."""
    return SHARED if principal is None else principal


# --- entries -------------------------------------------------------------------------------------


def entry_row(entry: Entry, fetched_at: float, expires_at: float) -> EntryRow:
    """What is stored of an entry. (``+ 0.0`` because SQLite gives -0.0 back as 0.0.)"""
    version = entry.version
    return (
        entry.name,
        int(entry.kind),
        version.size if version is not None else None,
        version.last_modified if version is not None else None,
        version.etag if version is not None else None,
        version.unsettled_at if version is not None else 0,
        None if entry.mtime is None else float(entry.mtime) + 0.0,
        float(fetched_at) + 0.0,
        float(expires_at) + 0.0,
    )


def entry_rowsum(place: Place, row: Sequence[Any]) -> int:
    """The checksum of an :data:`EntryRow`."""
    return seal("dentry", place.host, place.folder, place.viewer, *row)


def parse_entry(row: Sequence[Any]) -> Entry:
    """The entry that a verified row says."""
    name, kind, size, last_modified, etag, unsettled_at, mtime = row[:7]
    version = None if size is None else Version(size, last_modified, etag, unsettled_at)
    return Entry(name, Kind(kind), version, mtime)


def read_entry(place: Place, row: Sequence[Any]) -> StoredEntry | None:
    """The stored entry that ENTRY_COLUMNS and the rowsum make, or None if they do not fit."""
    if entry_rowsum(place, row[:9]) != row[9]:
        return None
    return StoredEntry(parse_entry(row), row[7], row[8])


# --- absences ------------------------------------------------------------------------------------


def absence_rowsum(place: Place, name: str, fetched_at: float, expires_at: float) -> int:
    """The checksum of a negative entry."""
    return seal("absence", place.host, place.folder, place.viewer, name, fetched_at, expires_at)


# --- listings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListingRow:
    """The values of LISTING_COLUMNS; the migration explains them."""

    walk: int
    pages: int
    complete: int
    entries: int
    fetched_at: float
    expires_at: float

    @property
    def values(self) -> tuple[int, int, int, int, float, float]:
        """In the order of the columns."""
        return (self.walk, self.pages, self.complete, self.entries, self.fetched_at, self.expires_at)

    def rowsum(self, place: Place) -> int:
        """The checksum."""
        return seal("listing", place.host, place.folder, place.viewer, *self.values)


def read_listing(place: Place, row: Sequence[Any]) -> StoredListing | None:
    """The stored listing that LISTING_COLUMNS and the rowsum make, or None if they do not fit."""
    listing = ListingRow(*row[:6])
    if listing.rowsum(place) != row[6]:
        return None
    return StoredListing(bool(listing.complete), listing.fetched_at, listing.expires_at, listing.entries)
