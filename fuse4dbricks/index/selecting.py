"""Forgetting the chunks that somebody points out: a path, a user, an age.

The difficulty: what is pointed out may be a million chunks, and the mount must go on writing meanwhile. So they go in
batches, each with a place to go on from, so that no row is looked at twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fuse4dbricks.index.chunk_writes import COUNTED, File, drop_rows, find_version
from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.records import Selection, Victim
from fuse4dbricks.index.rollups import Rollup, recount
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.paths import RemotePath

#: Owners are principals' ids; people know user names.
_OWNED = """
    c.owner_id IN (SELECT id FROM owner WHERE name = ?
                   OR name IN (SELECT principal FROM principal WHERE user_name = ?))"""


_VOLUME = "SELECT catalog, schema, name FROM volume WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks whose rows are gone.

    Attributes:
        victims: their files are to be unlinked.
        cursor: where to go on; None: there are no more.
    """

    victims: tuple[Victim, ...]
    cursor: int | None


def take_selected(session: Session, selection: Selection, after: int, limit: int) -> Batch:
    """Forget the next chunks of a selection; pinned and protected ones stay."""
    held = {row[0] for file in selection.protected for row in find_version(session, File(*file))}
    found = list(_find(session, selection, after, limit))
    cursor = found[-1][8] if selection.names is None and len(found) == limit else None
    hidden = _hidden_volumes(session, selection, {row[1] for row in found})
    gone = [row for row in found if row[0] not in held and row[1] not in hidden]
    rollup = Rollup()
    drop_rows(session, rollup, gone)
    rollup.write(session)
    # Candidates of eviction may be among them; it passes over rows that are gone.
    return Batch(tuple(Victim(row[9], row[6], row[5]) for row in gone), cursor)


def _hidden_volumes(session: Session, selection: Selection, volume_ids: Iterable[int]) -> set[int]:
    """Those of the volumes that are not there for who wants the chunks gone."""
    if selection.shows is None:
        return set()
    places = {each: session.row(_VOLUME, (each,)) for each in volume_ids}
    return {
        each for each, parts in places.items() if parts is not None and not selection.shows(RemotePath(parts))
    }


def _find(session: Session, selection: Selection, after: int, limit: int) -> Iterable[Row]:
    words, binds = zip(*_conditions(selection), strict=True)
    where = " AND ".join(words)
    values: Binds = tuple(value for each in binds for value in each)
    if selection.names is not None:
        for name in sorted(selection.names):
            yield from session.rows(f"{COUNTED} WHERE c.name = ? AND {where}", (name, *values))
    else:
        yield from session.rows(
            f"{COUNTED} WHERE c.id > ? AND {where} ORDER BY c.id LIMIT ?", (after, *values, limit)
        )


def _conditions(selection: Selection) -> Iterator[tuple[str, Binds]]:
    # Who names chunks knows that they are no good, pinned or not.
    yield "c.pinned = 0" if selection.names is None else "TRUE", ()
    if selection.under is not None and selection.under.parts:
        path = index_path(selection.under)
        # What begins with "path/": in the order of bytes "0" follows "/".
        yield "(v.path = ? OR (v.path > ? AND v.path < ?))", (path, f"{path}/", f"{path}0")
    if selection.host is not None:
        yield "v.workspace_id = (SELECT id FROM workspace WHERE host = ?)", (selection.host,)
    if selection.owner is not None:
        yield _OWNED, (selection.owner, selection.owner)
    if selection.older_than is not None:
        yield "c.last_access_ms < ?", (int(selection.older_than * 1000),)


def count_again(session: Session) -> None:
    """Make all totals anew from the rows."""
    session.totals = recount(session)
