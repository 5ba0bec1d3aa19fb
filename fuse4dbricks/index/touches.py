"""Times of use, gathered in RAM.

The difficulty: each read answered from a chunk is a use, a hundred thousand in a second, and a write each would be
slower than the reads. So the loop notes them in a dict and the writer thread takes the lot about every 30 s, before it
looks for victims and at the end. What a kill loses is half a minute of LRU order.
"""

from __future__ import annotations

import json
import threading
from collections import Counter

from fuse4dbricks.clock import Clock
from fuse4dbricks.index.session import Session

#: Seconds between two flushes when nothing else asks for one.
FLUSH_SECONDS = 30.0
#: Distinct chunks noted before the writer is asked to take them.
MANY = 20_000

#: Row id → (last use in Unix milliseconds, uses).
Uses = dict[int, tuple[int, int]]

_BY_DAY = """
    SELECT last_access_ms / 86400000, count(*), sum(disk_bytes)
    FROM json_each(?) AS touched CROSS JOIN chunk ON chunk.id = touched.value GROUP BY 1"""
_TOUCH = "UPDATE chunk SET last_access_ms = ?, hits = hits + ? WHERE id = ?"
_DAY = """
    INSERT INTO usage_day (day, chunks, disk_bytes) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET chunks = chunks + excluded.chunks, disk_bytes = disk_bytes + excluded.disk_bytes"""
_EMPTY_DAY = "DELETE FROM usage_day WHERE day = ? AND chunks = 0"


class TouchLog:
    """Uses since the last flush. The one object that the loop and the writer thread both write to, hence its lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._uses: Uses = {}
        self._first_at = 0.0

    def note(self, row_id: int) -> bool:
        """One use now; True when the writer has to be told: of the first, so that it looks at the time, and of many."""
        now = max(0, int(self._clock.wall() * 1000))
        with self._lock:
            _, hits = self._uses.get(row_id, (0, 0))
            self._uses[row_id] = (now, hits + 1)
            if len(self._uses) == 1 and not hits:
                self._first_at = self._clock.monotonic()
            return len(self._uses) in {1, MANY} and not hits

    def take(self) -> Uses:
        """All uses noted, which are then the caller's to write."""
        with self._lock:
            uses, self._uses = self._uses, {}
        return uses

    def get_patience(self) -> float | None:
        """Seconds until they are to be written; None: there are none."""
        with self._lock:
            if not self._uses:
                return None
            if len(self._uses) >= MANY:
                return 0.0
            return max(0.0, self._first_at + FLUSH_SECONDS - self._clock.monotonic())

    def is_due(self) -> bool:
        """Whether they are to be written now."""
        return self.get_patience() == 0.0


def write_uses(session: Session, uses: Uses) -> None:
    """Write times of use; rows that are gone meanwhile are passed over."""
    ids = json.dumps(list(uses))
    days = Counter[int]()
    sizes = Counter[int]()
    _count_days(session, ids, -1, days, sizes)
    session.run_many(_TOUCH, [(used, hits, row_id) for row_id, (used, hits) in uses.items()])
    _count_days(session, ids, 1, days, sizes)
    changed = [day for day in days if days[day] or sizes[day]]
    session.run_many(_DAY, [(day, days[day], sizes[day]) for day in changed])
    session.run_many(_EMPTY_DAY, [(day,) for day in changed])
    session.victims.note_use(min(used for used, _ in uses.values()))


def _count_days(session: Session, ids: str, sign: int, days: Counter[int], sizes: Counter[int]) -> None:
    for day, chunks, size in session.rows(_BY_DAY, (ids,)):
        days[day] += sign * chunks
        sizes[day] += sign * size
