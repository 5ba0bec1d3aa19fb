"""Totals that follow the chunk rows in the same transaction.

The difficulty: adding up 1,000,000 rows takes seconds, and a total that is kept beside them drifts at the first
forgotten case. So every change of chunk rows goes through one :class:`Rollup`, which collects what it means for each
total and writes that once; and the same bytes are summed twice, by volume and by day, so that damage to either
shows at the next start.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fuse4dbricks.index.records import Totals
from fuse4dbricks.index.session import Session

DAY_MS = 86_400_000

_USAGE = """
    INSERT INTO usage (volume_id, owner_id, extension, chunks, disk_bytes, pinned_chunks, pinned_bytes)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        chunks = chunks + excluded.chunks, disk_bytes = disk_bytes + excluded.disk_bytes,
        pinned_chunks = pinned_chunks + excluded.pinned_chunks, pinned_bytes = pinned_bytes + excluded.pinned_bytes"""
_DAY = """
    INSERT INTO usage_day (day, chunks, disk_bytes) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET chunks = chunks + excluded.chunks, disk_bytes = disk_bytes + excluded.disk_bytes"""
_EMPTY_USAGE = "DELETE FROM usage WHERE volume_id = ? AND owner_id = ? AND extension = ? AND chunks = 0"
_EMPTY_DAY = "DELETE FROM usage_day WHERE day = ? AND chunks = 0"
_VERSION = "UPDATE file_version SET chunks = chunks + ?, cached_bytes = cached_bytes + ? WHERE id = ?"

_TOTALS = """
    SELECT (SELECT coalesce(sum(chunks), 0) FROM usage), (SELECT coalesce(sum(disk_bytes), 0) FROM usage),
           (SELECT coalesce(sum(chunks), 0) FROM usage_day), (SELECT coalesce(sum(disk_bytes), 0) FROM usage_day),
           (SELECT coalesce(sum(pinned_bytes), 0) FROM usage)"""

_RECOUNT = (
    "DELETE FROM usage",
    """INSERT INTO usage
       SELECT c.volume_id, c.owner_id, coalesce(v.extension, ''), count(*), sum(c.disk_bytes),
              sum(c.pinned), sum(c.disk_bytes * c.pinned)
       FROM chunk c LEFT JOIN file_version v ON v.id = c.version_id GROUP BY 1, 2, 3""",
    "DELETE FROM usage_day",
    "INSERT INTO usage_day SELECT last_access_ms / 86400000, count(*), sum(disk_bytes) FROM chunk GROUP BY 1",
    """UPDATE file_version SET (chunks, cached_bytes) =
       (SELECT count(*), coalesce(sum(length), 0) FROM chunk c WHERE c.version_id = file_version.id)""",
    "DELETE FROM file_version WHERE chunks = 0",
    "UPDATE volume SET files = (SELECT count(*) FROM file_version v WHERE v.volume_id = volume.id)",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counted:
    """What one chunk row means for the totals; a displaced chunk has no version."""

    version_id: int | None
    volume_id: int
    owner_id: int
    extension: str
    last_access_ms: int
    disk_bytes: int
    length: int
    pinned: int


class Rollup:
    """Collects the changes of one operation, then writes them."""

    def __init__(self) -> None:
        self._usage: dict[tuple[int, int, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self._days: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self._versions: dict[int, list[int]] = defaultdict(lambda: [0, 0])

    def count(self, chunk: Counted, sign: int) -> None:
        """A row came (``sign`` 1) or went (-1)."""
        size = sign * chunk.disk_bytes
        _add(
            self._usage[chunk.volume_id, chunk.owner_id, chunk.extension],
            (sign, size, sign * chunk.pinned, size * chunk.pinned),
        )
        _add(self._days[chunk.last_access_ms // DAY_MS], (sign, size))
        if chunk.version_id is not None:
            _add(self._versions[chunk.version_id], (sign, sign * chunk.length))

    def write(self, session: Session) -> None:
        """Change all totals; versions without a chunk go."""
        session.run_many(_USAGE, [(*key, *sums) for key, sums in self._usage.items()])
        session.run_many(_DAY, [(day, *sums) for day, sums in self._days.items()])
        session.run_many(_VERSION, [(*sums, row_id) for row_id, sums in self._versions.items()])
        session.run_many(_EMPTY_USAGE, list(self._usage))
        for (volume_id, owner_id, _), (_, size, _, pinned) in self._usage.items():
            session.shares.change(session, volume_id, owner_id, size - pinned)
        session.run_many(_EMPTY_DAY, [(day,) for day in self._days])
        _drop_empty_versions(session, [row_id for row_id, sums in self._versions.items() if sums[0] < 0])
        chunks = sum(sums[0] for sums in self._days.values())
        size = sum(sums[1] for sums in self._days.values())
        before = session.totals
        session.totals = Totals(
            before.chunks + chunks, before.bytes + size, before.pinned_bytes + self.pinned_bytes
        )

    @property
    def pinned_bytes(self) -> int:
        """By how much the pinned chunks grow."""
        return sum(sums[3] for sums in self._usage.values())


def _add(sums: list[int], amounts: tuple[int, ...]) -> None:
    for position, amount in enumerate(amounts):
        sums[position] += amount


def _drop_empty_versions(session: Session, version_ids: list[int]) -> None:
    for version_id in version_ids:
        gone = session.row(
            "DELETE FROM file_version WHERE id = ? AND chunks <= 0 RETURNING volume_id", (version_id,)
        )
        if gone is not None:
            session.run("UPDATE volume SET files = files - 1 WHERE id = ?", gone)


def load_totals(session: Session) -> Totals | None:
    """The totals, or None when the two ways of counting disagree."""
    row = session.row(_TOTALS)
    if row is None or row[:2] != row[2:4] or min(row) < 0:
        return None
    return Totals(row[0], row[1], row[4])


def recount(session: Session) -> Totals:
    """Make all totals anew from the rows: seconds with 1,000,000 chunks."""
    for sql in _RECOUNT:
        session.run(sql)
    session.shares.forget()
    return load_totals(session) or Totals(0, 0)
