# ruff: noqa: S608 - statements are put together from constants of this package; values are always bound
"""The tree as last seen, for the loop.

The difficulty: what is inside a volume is one truth, shared by all who may read it; which catalogs, schemas and volumes
there are, and what is *not* there, depends on who asks. Every row has a viewer, a principal's id or nobody's, and is
found only by naming exactly that one: there is no query here that could answer one principal with what another saw.

A miss (None) never says that there is no such name. Only a negative entry does, or a complete listing that was read
to its end without finding fewer entries than its ``count``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from operator import lt
from typing import TypeVar

from fuse4dbricks.entry import Entry
from fuse4dbricks.index import tree_writes
from fuse4dbricks.index.connection import Row
from fuse4dbricks.index.reader import Reader, in_loop
from fuse4dbricks.index.records import StoredEntry, StoredListing
from fuse4dbricks.index.tree_rows import (
    ENTRY_COLUMNS,
    LISTING_COLUMNS,
    Place,
    absence_rowsum,
    entry_rowsum,
    index_path,
    parse_entry,
    read_entry,
    read_listing,
    viewer_of,
)
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.paths import RemotePath

T = TypeVar("T")

#: Walks that may be under way at once; the oldest is then one that never becomes complete.
MAX_WALKS = 1000

# A scalar sub-query, not a join: 3 µs instead of 9.
_IN_FOLDER = "WHERE folder_id = (SELECT id FROM folder WHERE workspace_id = ? AND path = ?) AND viewer = ?"

_LOAD_ENTRY = in_loop(f"SELECT {ENTRY_COLUMNS}, rowsum FROM dentry {_IN_FOLDER} AND name = ?")
_LOAD_ABSENCE = in_loop(f"SELECT fetched_at, expires_at, rowsum FROM absence {_IN_FOLDER} AND name = ?")
_LOAD_LISTING = in_loop(f"SELECT {LISTING_COLUMNS}, rowsum FROM listing {_IN_FOLDER}")
_LOAD_ENTRIES = in_loop(
    f"SELECT {ENTRY_COLUMNS}, rowsum FROM dentry {_IN_FOLDER} AND name > ? ORDER BY name LIMIT ?"
)


class Tree:
    """Entries, listings and negative entries of one workspace.

    ``principal`` is None for what is shared inside volumes, else the id of the principal who asked.
    """

    def __init__(self, reader: Reader, writer: Writer, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._walks: OrderedDict[tuple[RemotePath, str], tree_writes.Walk] = OrderedDict()

    # --- loading ---------------------------------------------------------------------------------

    def load_entry(self, path: RemotePath, principal: str | None) -> StoredEntry | None:
        """What was last seen at ``path``, or that nothing was; None: not known. The root has no entry."""
        if not path.parts:
            return None
        place = self._parent(path, principal)
        key = (self._reader.workspace_id, place.folder, place.viewer, path.name)
        row = self._reader.row(_LOAD_ENTRY, key)
        if row is not None:
            # One flipped bit in the order of keys, and SQLite's search for a name ends at its neighbour's row, which is
            # sound in itself: a row also has to be the one that was asked for.
            return self._checked(read_entry(place, row) if row[0] == path.name else None)
        absence = self._reader.row(_LOAD_ABSENCE, key)
        if absence is None:
            return None
        fetched_at, expires_at, rowsum = absence
        is_sound = absence_rowsum(place, path.name, fetched_at, expires_at) == rowsum
        return self._checked(StoredEntry(None, fetched_at, expires_at) if is_sound else None)

    def load_listing(self, path: RemotePath, principal: str | None) -> StoredListing | None:
        """What is known of the folder's listing as a whole; None: nothing."""
        place = self._inside(path, principal)
        row = self._reader.row(_LOAD_LISTING, (self._reader.workspace_id, place.folder, place.viewer))
        return None if row is None else self._checked(read_listing(place, row))

    def load_listing_entries(
        self, path: RemotePath, principal: str | None, after: str | None, limit: int
    ) -> list[Entry] | None:
        """At most ``limit`` entries by name, after the name ``after``; some 3 µs each.

        None when the page cannot be given whole: no listing is stored (any more), the index is busy, or a row is
        damaged. An empty list would say that the folder ends there. (That a row is lost from between others shows in
        the ``count`` of the listing; for a folder of one page it is looked at here.)
        """
        place = self._inside(path, principal)
        key = (self._reader.workspace_id, place.folder, place.viewer, after or "", limit)
        rows = self._reader.rows(_LOAD_ENTRIES, key)
        if rows is None:
            return None
        is_sound = _ascend(after or "", rows) and all(
            entry_rowsum(place, row[:-1]) == row[-1] for row in rows
        )
        if is_sound and len(rows) < limit:
            # The file may have been replaced since the page before: an end is one only if the listing is still there.
            listing = self.load_listing(path, principal)
            is_sound = listing is not None and (after is not None or listing.count == len(rows))
        return self._checked([parse_entry(row) for row in rows] if is_sound else None)

    def load_seen_entries(self, path: RemotePath, principal: str | None, limit: int) -> list[Entry]:
        """At most ``limit`` entries of the folder that were seen one by one or in a listing; damaged ones are left out.

        It says nothing about any other name: without a complete listing nobody knows what else there is.
        """
        place = self._inside(path, principal)
        rows = self._reader.rows(
            _LOAD_ENTRIES, (self._reader.workspace_id, place.folder, place.viewer, "", limit)
        )
        return [parse_entry(row) for row in rows or () if entry_rowsum(place, row[:-1]) == row[-1]]

    def _checked(self, found: T | None) -> T | None:
        if found is None:
            self._reader.note_bad_row()
        return found

    # --- posting ---------------------------------------------------------------------------------

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
        """Keep one page of a walk over a folder.

        When the ``last`` page of a walk arrives and none was lost on the way, the listing is complete, and names that
        the walk did not see are gone. Until then what an earlier walk said stands, with its own age. All pages of a
        walk carry the ``fetched_at`` of its first: two principals may walk over the same folder at the same time, and
        then only the walk that began last can become complete.
        """
        place = self._inside(path, principal)
        walk = self._walk_of(path, place.viewer, fetched_at, first=first, last=last)
        position = walk.posted if walk is not None else 0
        if walk is not None:
            walk.posted += 1
        page = tree_writes.Page(place, tuple(entries), fetched_at, expires_at, walk, position, last)
        self._writer.post(partial(tree_writes.write_page, page=page), rows=max(1, len(page.entries)))

    def _walk_of(
        self, path: RemotePath, viewer: str, fetched_at: float, *, first: bool, last: bool
    ) -> tree_writes.Walk | None:
        """The walk that a page belongs to, or None: its beginning is not known, or another has begun since."""
        key = (path, viewer)
        walk = tree_writes.Walk(fetched_at) if first else self._walks.get(key)
        if walk is None or walk.fetched_at != fetched_at:
            return None
        self._walks[key] = walk
        self._walks.move_to_end(key)
        if last:
            del self._walks[key]
        elif len(self._walks) > MAX_WALKS:
            self._walks.popitem(last=False)
        return walk

    def post_entry(
        self, path: RemotePath, principal: str | None, entry: Entry, *, fetched_at: float, expires_at: float
    ) -> None:
        """Keep one entry that was seen alone. The root has no entry."""
        if path.parts:
            place = self._parent(path, principal)
            self._writer.post(
                partial(
                    tree_writes.write_entry,
                    place=place,
                    entry=entry,
                    fetched_at=fetched_at,
                    expires_at=expires_at,
                )
            )

    def post_absent(
        self, path: RemotePath, principal: str | None, *, fetched_at: float, expires_at: float
    ) -> None:
        """Keep that this viewer was told that there is nothing at ``path``."""
        if path.parts:
            place = self._parent(path, principal)
            self._writer.post(
                partial(
                    tree_writes.write_absent,
                    place=place,
                    name=path.name,
                    fetched_at=fetched_at,
                    expires_at=expires_at,
                )
            )

    def post_expire(self, path: RemotePath) -> None:
        """What is known of ``path`` is stale from now on, for every viewer; it is kept."""
        if path.parts:
            self._writer.post(partial(tree_writes.expire, place=self._parent(path, None), name=path.name))

    # --- places ----------------------------------------------------------------------------------

    def _parent(self, path: RemotePath, principal: str | None) -> Place:
        return Place(self._host, "/".join(path.parts[:-1]), viewer_of(principal))

    def _inside(self, path: RemotePath, principal: str | None) -> Place:
        return Place(self._host, index_path(path), viewer_of(principal))


def _ascend(after: str, rows: Sequence[Row]) -> bool:
    """Whether the rows follow each other, and ``after``, by name: with a damaged order of keys some come twice."""
    names = [row[0] for row in rows]
    # A flipped bit in a record's header makes bytes of a text, which do not compare with one.
    return all(isinstance(name, str) for name in names) and all(map(lt, [after, *names], names))
