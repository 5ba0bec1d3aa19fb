# ruff: noqa: S608 - statements are put together from constants of this package; values are always bound
"""Changing the tree, inside the writer's transaction.

The difficulties:

* A listing must never be called complete while a name is missing from it, or that name is "no such file" to a program
  that then acts on it. Pages can be dropped (full queue), rolled back (full disk) or never come, so each page says
  its number, the row counts those that were stored, and only a walk without a gap ends one.
* A folder that is gone may have a million names below it. Its rows are cut off at once, by taking the workspace
  from the folder's row, and cleared away in batches; if it comes back meanwhile it is a new folder with new rows.
* A file where a folder was (or the reverse) must not inherit its children.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.tree_rows import (
    ENTRY_COLUMNS,
    LISTING_COLUMNS,
    SHARED,
    EntryRow,
    ListingRow,
    Place,
    absence_rowsum,
    entry_row,
    entry_rowsum,
)

#: Rows of a gone folder cleared per transaction: some 15 ms.
CLEAR_ROWS = 2_000
#: Negative entries kept; they live for seconds, so more than this is somebody guessing names.
MAX_ABSENCES = 10_000

_PUT_ENTRY = f"""
    INSERT OR REPLACE INTO dentry (folder_id, viewer, walk, rowsum, {ENTRY_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PUT_LISTING = f"""
    INSERT OR REPLACE INTO listing (folder_id, viewer, rowsum, {LISTING_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PUT_ABSENCE = """
    INSERT OR REPLACE INTO absence (folder_id, name, viewer, fetched_at, expires_at, rowsum)
    VALUES (?, ?, ?, ?, ?, ?)"""
_LISTING = f"SELECT {LISTING_COLUMNS}, rowsum FROM listing WHERE folder_id = ? AND viewer = ?"
_KNOWN = """
    SELECT d.name, d.kind FROM json_each(?) AS wanted
    CROSS JOIN dentry d ON d.folder_id = ? AND d.viewer = ? AND d.name = wanted.value"""
_COUNT = "SELECT count(*) FROM dentry WHERE folder_id = ? AND viewer = ?"
_BELOW = "workspace_id = :workspace AND (path = :path OR (path > :path || '/' AND path < :path || '0'))"


@dataclass(slots=True)
class Walk:
    """One walk over a folder's pages, shared by its pages on their way.

    Attributes:
        fetched_at: Unix time that all of its pages carry; tells it from another walk at the same time.
        posted: pages handed in so far.
        number: what the writer called it; None until its first page was written.
    """

    fetched_at: float
    posted: int = 0
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Attributes:
        place: whose view of which folder.
        entries: what it holds.
        fetched_at, expires_at: Unix times.
        walk: the walk it belongs to; None when its beginning is not known.
        position: its number in the walk, from 0.
        last: whether the walk ends with it.
    """

    place: Place
    entries: Sequence[Entry]
    fetched_at: float
    expires_at: float
    walk: Walk | None
    position: int
    last: bool

    @property
    def times(self) -> tuple[float, float]:
        """As SQLite will give them back: -0.0 comes back as 0.0."""
        return (float(self.fetched_at) + 0.0, float(self.expires_at) + 0.0)


@dataclass(slots=True)
class _Folder:
    """A folder's row and its listing's, while one operation changes them."""

    session: Session
    place: Place
    id: int = field(init=False)
    listing: ListingRow | None = field(init=False)

    def __post_init__(self) -> None:
        self.id = _ensure_folder(self.session, self.place.folder)
        row = self.session.row(_LISTING, (self.id, self.place.viewer))
        self.listing = None if row is None else self._verify(ListingRow(*row[:-1]), row[-1])

    def _verify(self, listing: ListingRow, rowsum: int) -> ListingRow:
        """The listing, or, if its row was damaged, one that promises nothing: a new seal must not make it true."""
        if listing.rowsum(self.place) == rowsum:
            return listing
        return ListingRow(listing.walk, -1, 0, self.count_entries(), 0.0, 0.0)

    def keep_listing(self, listing: ListingRow) -> None:
        self.listing = listing
        self.session.run(
            _PUT_LISTING, (self.id, self.place.viewer, listing.rowsum(self.place), *listing.values)
        )

    def count_entries(self) -> int:
        row = self.session.row(_COUNT, (self.id, self.place.viewer))
        return int(row[0]) if row is not None else 0

    def put_entries(self, rows: Sequence[EntryRow], walk: int) -> None:
        place = self.place
        self.session.run_many(
            _PUT_ENTRY, ((self.id, place.viewer, walk, entry_rowsum(place, row), *row) for row in rows)
        )

    def forget_absences(self, name: str | None = None) -> None:
        # Whoever was told that it is not there may ask again: a negative entry lost costs one call.
        if name is None:
            self.session.run("DELETE FROM absence WHERE folder_id = ?", (self.id,))
        else:
            self.session.run("DELETE FROM absence WHERE folder_id = ? AND name = ?", (self.id, name))


# --- one page of a listing -----------------------------------------------------------------------


def write_page(session: Session, page: Page) -> None:
    """Store one page; the last one of an unbroken walk makes the listing complete."""
    folder = _Folder(session, page.place)
    walk, unbroken = _place_in_walk(page, folder.listing)
    entries = {entry.name: entry for entry in page.entries}
    known = _find_known(folder, list(entries))
    for name, kind in known.items():
        if kind != Kind.FILE and entries[name].kind is Kind.FILE:
            _forget_child(folder, name)
    folder.put_entries([entry_row(e, page.fetched_at, page.expires_at) for e in entries.values()], walk)
    folder.forget_absences()
    if page.last and unbroken:
        _drop_unseen(folder, walk)
        folder.keep_listing(ListingRow(walk, page.position + 1, 1, folder.count_entries(), *page.times))
    else:
        folder.keep_listing(_unfinished(folder, page, walk, unbroken, came=len(entries) - len(known)))


def _unfinished(folder: _Folder, page: Page, walk: int, unbroken: bool, *, came: int) -> ListingRow:
    """The listing's row in the middle of a walk: what an earlier walk completed stands, with its own times."""
    old = folder.listing
    if old is None:
        return ListingRow(walk, int(unbroken), 0, folder.count_entries(), *page.times)
    pages = page.position + 1 if unbroken else old.pages
    times = (old.fetched_at, old.expires_at) if old.complete else page.times
    return ListingRow(walk, pages, old.complete, old.entries + came, *times)


def _place_in_walk(page: Page, listing: ListingRow | None) -> tuple[int, bool]:
    """The number of the walk that the page's names were seen by, and whether the walk has no gap so far."""
    newest = listing.walk if listing is not None else 0
    if page.walk is None:
        return newest, False
    if page.position == 0:
        page.walk.number = newest + 1
        return newest + 1, True
    unbroken = listing is not None and listing.walk == page.walk.number and listing.pages == page.position
    return newest, unbroken


def _find_known(folder: _Folder, names: list[str]) -> dict[str, int]:
    return dict(folder.session.rows(_KNOWN, (json.dumps(names), folder.id, folder.place.viewer)))


def _drop_unseen(folder: _Folder, walk: int) -> None:
    key = (folder.id, folder.place.viewer, walk)
    where = "folder_id = ? AND viewer = ? AND walk <> ?"
    gone = folder.session.rows(f"SELECT name FROM dentry WHERE {where} AND kind <> {int(Kind.FILE)}", key)
    for (name,) in gone:
        _forget_child(folder, name)
    folder.session.run(f"DELETE FROM dentry WHERE {where}", key)


# --- one name ------------------------------------------------------------------------------------


def write_entry(session: Session, place: Place, entry: Entry, fetched_at: float, expires_at: float) -> None:
    """Store one entry, seen alone."""
    folder = _Folder(session, place)
    known = _find_known(folder, [entry.name])
    if known.get(entry.name, Kind.FILE) != Kind.FILE and entry.kind is Kind.FILE:
        _forget_child(folder, entry.name)
    # As if the newest walk had seen it: a file made after that walk passed its place must outlive the walk's end.
    walk = folder.listing.walk if folder.listing is not None else 0
    folder.put_entries([entry_row(entry, fetched_at, expires_at)], walk)
    folder.forget_absences(entry.name)
    if folder.listing is not None and not known:
        folder.keep_listing(replace(folder.listing, entries=folder.listing.entries + 1))


def write_absent(session: Session, place: Place, name: str, fetched_at: float, expires_at: float) -> None:
    """Store that the viewer was told that there is no such name."""
    folder = _Folder(session, place)
    known = _find_known(folder, [name])
    if known:
        if known[name] != Kind.FILE:
            _forget_child(folder, name)
        session.run(
            "DELETE FROM dentry WHERE folder_id = ? AND viewer = ? AND name = ?",
            (folder.id, place.viewer, name),
        )
        if folder.listing is not None:
            folder.keep_listing(replace(folder.listing, entries=folder.listing.entries - 1))
    fetched_at, expires_at = float(fetched_at) + 0.0, float(expires_at) + 0.0
    rowsum = absence_rowsum(place, name, fetched_at, expires_at)
    session.run(_PUT_ABSENCE, (folder.id, name, place.viewer, fetched_at, expires_at, rowsum))
    session.absences_posted += 1
    if session.absences_posted % 1000 == 0:
        _trim_absences(session)


def _trim_absences(session: Session) -> None:
    session.run("DELETE FROM absence WHERE expires_at < ?", (session.clock.wall(),))
    left = session.row("SELECT count(*) FROM absence")
    if left is not None and left[0] > MAX_ABSENCES:
        session.run("DELETE FROM absence")


def expire(session: Session, place: Place, name: str) -> None:
    """Make what is known of a name, and of the folder that it may be, stale for every viewer."""
    own_path = f"{place.folder}/{name}" if place.folder else name
    parent_id, own_id = _find_folder(session, place.folder), _find_folder(session, own_path)
    for viewer in _viewers(session, "dentry", parent_id):
        where = (parent_id, viewer, name)
        row = session.row(
            f"SELECT walk, rowsum, {ENTRY_COLUMNS} FROM dentry WHERE folder_id = ? AND viewer = ? AND name = ?",
            where,
        )
        view = replace(place, viewer=viewer)
        if row is not None and entry_rowsum(view, row[2:]) == row[1]:
            stale = (*row[2:-1], 0.0)
            session.run(_PUT_ENTRY, (parent_id, viewer, row[0], entry_rowsum(view, stale), *stale))
    for viewer in _viewers(session, "listing", own_id):
        folder = _Folder(session, Place(place.host, own_path, viewer))
        if folder.listing is not None:
            folder.keep_listing(replace(folder.listing, expires_at=0.0))


def _viewers(session: Session, table: str, folder_id: int | None) -> list[str]:
    """All viewers that have rows for a folder: one seek each, not a scan of what may be a million names."""
    found: list[str] = []
    row = session.row(f"SELECT min(viewer) FROM {table} WHERE folder_id = ?", (folder_id,))
    while row is not None and row[0] is not None:
        found.append(row[0])
        row = session.row(
            f"SELECT min(viewer) FROM {table} WHERE folder_id = ? AND viewer > ?", (folder_id, row[0])
        )
    return found


# --- folders -------------------------------------------------------------------------------------


def _find_folder(session: Session, path: str) -> int | None:
    known = session.find_id(("folder", path))
    if known is not None:
        return known
    row = session.row(
        "SELECT id FROM folder WHERE workspace_id = ? AND path = ?", (session.workspace_id, path)
    )
    return None if row is None else session.remember_id(("folder", path), row[0])


def _ensure_folder(session: Session, path: str) -> int:
    found = _find_folder(session, path)
    if found is not None:
        return found
    session.run("INSERT INTO folder (workspace_id, path) VALUES (?, ?)", (session.workspace_id, path))
    return session.remember_id(("folder", path), session.last_row_id())


def _forget_child(folder: _Folder, name: str) -> None:
    """A folder is gone, for all or for one viewer: so is what was known of its inside."""
    session, viewer = folder.session, folder.place.viewer
    path = f"{folder.place.folder}/{name}" if folder.place.folder else name
    below = {"workspace": session.workspace_id, "path": path}
    if viewer == SHARED:
        session.run(f"UPDATE folder SET workspace_id = NULL WHERE {_BELOW}", below)
        session.forget_ids()
        session.has_gone_folders = True
        return
    # Only catalogs and schemas hold names per viewer, and no path of these has more than one slash.
    if path.count("/") < 2:
        inside = f"SELECT id FROM folder WHERE {_BELOW} AND path NOT LIKE '%/%/%'"
        for table in ("dentry", "listing", "absence"):
            session.run(
                f"DELETE FROM {table} WHERE viewer = :viewer AND folder_id IN ({inside})",
                below | {"viewer": viewer},
            )


def clear_gone_folder(session: Session) -> None:
    """Clear away some rows of one folder that is gone."""
    row = session.row("SELECT id FROM folder WHERE workspace_id IS NULL LIMIT 1")
    if row is None:
        session.has_gone_folders = False
        return
    session.run(
        """DELETE FROM dentry WHERE (folder_id, viewer, name) IN
           (SELECT folder_id, viewer, name FROM dentry WHERE folder_id = ? LIMIT ?)""",
        (row[0], CLEAR_ROWS),
    )
    if session.changed() < CLEAR_ROWS:
        for table in ("listing", "absence"):
            session.run(f"DELETE FROM {table} WHERE folder_id = ?", row)
        session.run("DELETE FROM folder WHERE id = ?", row)
