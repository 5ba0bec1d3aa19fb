"""The least recently used chunks, without an index on the time of use.

The difficulty: an index on ``last_access_ms`` makes each touch 8 times as dear, and without one the oldest are found by
a scan, 0.1 s with 1,000,000 chunks. So one scan fetches the next thousands, and batches are served from these: a
candidate that was touched since has another time in its row and is passed over, and whatever is written with a time
inside the stretch already scanned (the clock went back) voids the list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.records import Victim, VictimQuery

#: Runs a statement in the writer's transaction and gives its rows.
Select = Callable[[str, Binds], list[Row]]

#: Candidates per scan: 40 batches, 1 MB of RAM.
SCAN_ROWS = 10_000

_SCAN = """
    SELECT last_access_ms, id, version_id FROM chunk
    WHERE pinned = 0 AND (last_access_ms, id) > (?, ?)
    ORDER BY last_access_ms, id LIMIT ?"""

_CANDIDATE = "SELECT last_access_ms, pinned, name, length, disk_bytes FROM chunk WHERE id = ?"

_BEFORE_ALL = (-(1 << 63), 0)

#: last_access_ms, id, version_id.
_Candidate = tuple[int, int, int | None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A chunk that is to go, its row still there."""

    row_id: int
    victim: Victim


class VictimList:
    """Candidates in the order in which they go; RAM of the writer thread."""

    def __init__(self) -> None:
        self._candidates: list[_Candidate] = []
        self._horizon = _BEFORE_ALL

    def forget(self) -> None:
        """Scan again next time."""
        self._candidates = []
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
        wanted = query.free_bytes or 0
        chosen: list[Chosen] = []
        spared: list[_Candidate] = []
        position = 0
        while len(chosen) < limit:
            if position == len(self._candidates) and not self._extend(select):
                break
            used, row_id, version_id = candidate = self._candidates[position]
            if wanted <= 0 and (older_ms is None or used >= older_ms):
                break
            position += 1
            if version_id in protected:
                spared.append(candidate)
                continue
            victim = _load_candidate(select, used, row_id)
            if victim is not None:
                chosen.append(Chosen(row_id, victim))
                wanted -= victim.disk_bytes
        self._candidates[:position] = spared
        return chosen

    def _extend(self, select: Select) -> bool:
        found = select(_SCAN, (*self._horizon, SCAN_ROWS))
        if not found:
            return False
        self._candidates.extend((used, row_id, version_id) for used, row_id, version_id in found)
        self._horizon = self._candidates[-1][:2]
        return True


def _load_candidate(select: Select, used: int, row_id: int) -> Victim | None:
    for last_access_ms, pinned, name, length, disk_bytes in select(_CANDIDATE, (row_id,)):
        if last_access_ms == used and not pinned:
            return Victim(name, length, disk_bytes)
    return None  # gone, touched or pinned since the scan
