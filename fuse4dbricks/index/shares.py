"""How much of the cache each user and each catalog takes, for quotas.

The difficulty: a quota is to hold at each moment, so the sums are needed after each commit, and even the rolled-up rows
are thousands. So they are added up once, when somebody first wants to know, and follow the changes from then on. A
pinned chunk counts for nobody: its owner cannot make it give way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fuse4dbricks.index.records import Share

if TYPE_CHECKING:
    from fuse4dbricks.index.session import Session

#: Bytes on the disk.
Shares = Mapping[Share, int]

_SUMS = """
    SELECT volume_id, owner_id, sum(disk_bytes - pinned_bytes) FROM usage GROUP BY volume_id, owner_id"""
_OWNER = "SELECT w.host, o.name FROM owner o JOIN workspace w ON w.id = o.workspace_id WHERE o.id = ?"
_CATALOG = "SELECT w.host, v.catalog FROM volume v JOIN workspace w ON w.id = v.workspace_id WHERE v.id = ?"


class ShareSums:
    """The sums, the running transaction included; RAM of the writer thread."""

    def __init__(self) -> None:
        self._sums: Counter[Share] | None = None
        self._owners: dict[int, Share] = {}
        self._catalogs: dict[int, Share] = {}

    def forget(self) -> None:
        """Add up again next time: rows have changed by another way, or the transaction was taken back."""
        self._sums = None
        self._owners.clear()
        self._catalogs.clear()

    def change(self, session: Session, volume_id: int, owner_id: int, size: int) -> None:
        """Chunks of ``size`` bytes came or (negative) went."""
        if self._sums is not None and size:
            for share in self._find(session, volume_id, owner_id):
                self._sums[share] += size

    def load(self, session: Session) -> None:
        """Add up what is there now, unless that is known."""
        if self._sums is not None:
            return
        sums = Counter[Share]()
        for volume_id, owner_id, size in session.rows(_SUMS):
            for share in self._find(session, volume_id, owner_id):
                sums[share] += size
        self._sums = sums

    def get_snapshot(self) -> Shares | None:
        """The sums as they are now, or None when nobody has added them up."""
        sums = self._sums
        return None if sums is None else {share: size for share, size in sums.items() if size > 0}

    def _find(self, session: Session, volume_id: int, owner_id: int) -> list[Share]:
        """Whose chunks of this volume and owner are."""
        found = (
            _resolve(session, self._owners, "user", _OWNER, owner_id),
            _resolve(session, self._catalogs, "catalog", _CATALOG, volume_id),
        )
        return [share for share in found if share is not None]


def load_shares(session: Session) -> None:
    """As an operation of the writer: have the sums, which from then on follow all changes."""
    session.shares.load(session)


def _resolve(session: Session, known: dict[int, Share], kind: str, sql: str, row_id: int) -> Share | None:
    if row_id not in known:
        row = session.row(sql, (row_id,))
        if row is None:  # damage; the next count puts it right
            return None
        known[row_id] = Share(kind, *row)
    return known[row_id]
