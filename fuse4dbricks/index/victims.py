# ruff: noqa: S608 - statements are put together from constants of this module; values are always bound
"""The least recently used chunks, without an index on the time of use.

The difficulty: an index on ``last_access_ms`` makes each touch 8 times as dear, and without one the oldest are found by
a scan, 0.15 s with 1,000,000 chunks. So one scan fetches the next thousands, and batches are served from these: a
candidate that was touched since has another time in its row and is passed over, and whatever is written with a time
inside the stretch already scanned (the clock went back) voids the list.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.records import Share, Victim, VictimQuery

#: Runs a statement in the writer's transaction and gives its rows.
Select = Callable[[str, Binds], list[Row]]

#: Candidates per scan: 256 batches, 1.5 MiB of RAM. With 1,000,000 chunks a scan takes 0.15 to 0.2 s, 3 us for each.
SCAN_ROWS = 65_536

#: Users and catalogs over their quota whose candidates are kept.
MAX_LISTS = 16

_SCAN = """
    SELECT last_access_ms, id, coalesce(version_id, 0) FROM chunk
    WHERE pinned = 0 AND {whose} AND (last_access_ms, id) > (?, ?)
    ORDER BY last_access_ms, id LIMIT ?"""

_WORKSPACE = "workspace_id = (SELECT id FROM workspace WHERE host = ?)"
#: Whose chunks a list is of, by :attr:`Share.kind`.
_WHOSE = {
    "user": f"owner_id = (SELECT id FROM owner WHERE {_WORKSPACE} AND name = ?)",
    "catalog": f"volume_id IN (SELECT id FROM volume WHERE {_WORKSPACE} AND catalog = ?)",
}

_CANDIDATE = "SELECT last_access_ms, pinned, name, length, disk_bytes FROM chunk WHERE id = ?"

_BEFORE_ALL = (-(1 << 63), 0)

#: Numbers of one candidate: last_access_ms, id and version_id, which is 0 where there is none.
_WIDTH = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """A chunk that is to go, its row still there."""

    row_id: int
    victim: Victim


class VictimLists:
    """One list for all chunks, and one for each user or catalog that is over its quota."""

    def __init__(self) -> None:
        self._lists: dict[Share | None, VictimList] = {}

    def forget(self) -> None:
        """Scan again next time."""
        self._lists.clear()

    def note_use(self, last_access_ms: int) -> None:
        """A row was written with this time of use."""
        for each in self._lists.values():
            each.note_use(last_access_ms)

    def choose(
        self, select: Select, query: VictimQuery, limit: int, protected: frozenset[int]
    ) -> list[Chosen]:
        """The next at most ``limit`` chunks that ``query`` is about, oldest first; none of the ``protected`` versions."""
        chosen_list = self._lists.pop(query.share, None) or VictimList(query.share)
        self._lists[query.share] = chosen_list
        if len(self._lists) > MAX_LISTS:
            del self._lists[next(iter(self._lists))]
        return chosen_list.choose(select, query, limit, protected)


class VictimList:
    """Candidates in the order in which they go; RAM of the writer thread."""

    def __init__(self, share: Share | None) -> None:
        self._scan = _SCAN.format(whose="TRUE" if share is None else _WHOSE[share.kind])
        self._whose = () if share is None else (share.host, share.name)
        # Flat, because a tuple for each would take 10 MB as long as the cache is full.
        self._candidates = array("q")
        self._horizon = _BEFORE_ALL

    def forget(self) -> None:
        """Scan again next time."""
        self._candidates = array("q")
        self._horizon = _BEFORE_ALL

    def note_use(self, last_access_ms: int) -> None:
        """A row was written with this time of use."""
        if last_access_ms <= self._horizon[0]:
            self.forget()

    def choose(
        self, select: Select, query: VictimQuery, limit: int, protected: frozenset[int]
    ) -> list[Chosen]:
        """The next at most ``limit`` chunks that ``query`` is about, oldest first; none of the ``protected`` versions."""
        older_ms = None if query.older_than is None else int(query.older_than * 1000)
        size, count = query.free_bytes or 0, query.free_chunks or 0
        chosen: list[Chosen] = []
        spared = array("q")
        position = 0
        while len(chosen) < limit:
            if position == len(self._candidates) and not self._extend(select):
                break
            used, row_id, version_id = candidate = self._candidates[position : position + _WIDTH]
            if size <= 0 and count <= 0 and (older_ms is None or used >= older_ms):
                break
            position += _WIDTH
            if version_id in protected:
                spared.extend(candidate)
                continue
            victim = _load_candidate(select, used, row_id)
            if victim is not None:
                chosen.append(Chosen(row_id, victim))
                size -= victim.disk_bytes
                count -= 1
        self._candidates[:position] = spared
        return chosen

    def _extend(self, select: Select) -> bool:
        found = select(self._scan, (*self._whose, *self._horizon, SCAN_ROWS))
        if not found:
            return False
        self._candidates.extend(chain.from_iterable(found))
        used, row_id, _ = found[-1]
        self._horizon = (used, row_id)
        return True


def _load_candidate(select: Select, used: int, row_id: int) -> Victim | None:
    for last_access_ms, pinned, name, length, disk_bytes in select(_CANDIDATE, (row_id,)):
        if last_access_ms == used and not pinned:
            return Victim(name, length, disk_bytes)
    return None  # gone, touched or pinned since the scan
