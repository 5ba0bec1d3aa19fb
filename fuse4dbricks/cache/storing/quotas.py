"""What one user or one catalog may take of the cache, whatever room there is besides.

The difficulty: a quota must hold while several chunks of the same user are being written that have no row yet, and it
must be the user over his quota who pays, not the others. So who finds his quota used up waits until his own oldest
chunks are gone, or is not stored; and chunks count for who caused their fetch, once, however many read them.
Pinned ones count for nobody: they have a ceiling of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fuse4dbricks.cache.storing.room import TARGET_FRACTION, DiskLimits
from fuse4dbricks.chunks import ChunkLabel
from fuse4dbricks.clock import Clock
from fuse4dbricks.index.records import Share
from fuse4dbricks.index.shares import Shares

#: Seconds for which it is believed that nothing more of a share can go.
BARREN = 5.0


class Quotas:
    """The accounts of all users and catalogs. For the loop only.

    Args:
        get_shares: what they take by the rows; None: not known.
    """

    def __init__(self, limits: DiskLimits, get_shares: Callable[[], Shares | None], clock: Clock) -> None:
        quotas = {"user": limits.user_bytes, "catalog": limits.catalog_bytes}
        self._quotas = {kind: quota for kind, quota in quotas.items() if quota}
        self._get_shares = get_shares
        self._clock = clock
        self._reserved = Counter[Share]()
        self._wanted = Counter[Share]()
        self._barren_until: dict[Share, float] = {}

    @property
    def are_set(self) -> bool:
        """Whether there are any."""
        return bool(self._quotas)

    @property
    def are_known(self) -> bool:
        """Whether it can be told what anybody takes."""
        return not self._quotas or self._get_shares() is not None

    def fits(self, label: ChunkLabel, size: int) -> bool:
        """Whether ``size`` more bytes for a chunk stay within all quotas that it counts for."""
        shares = self._get_shares()
        return not self._quotas or (
            shares is not None
            and all(
                shares.get(share, 0) + self._reserved[share] + size <= self._quotas[share.kind]
                for share in self._shares_of(label)
            )
        )

    def is_hopeless(self, label: ChunkLabel, size: int) -> bool:
        """Whether there is no point in waiting for a quota to have room for it."""
        now = self._clock.monotonic()
        return any(
            size > self._quotas[share.kind]
            or (now < self._barren_until.get(share, 0.0) and not self.fits(label, size))
            for share in self._shares_of(label)
        )

    def find_heaviest(self) -> tuple[Share, int] | None:
        """Who is most over a quota, and by how much; leaving out those of whose chunks none can go just now."""
        now = self._clock.monotonic()
        self._barren_until = {share: until for share, until in self._barren_until.items() if until > now}
        over = ((share, self._get_excess(share, used)) for share, used in self._find_used().items())
        return max(
            ((share, excess) for share, excess in over if excess > 0 and share not in self._barren_until),
            key=lambda found: found[1],
            default=None,
        )

    def note_barren(self, share: Share) -> None:
        """Nothing more of it can go: all is held open."""
        self._barren_until[share] = self._clock.monotonic() + BARREN

    def released(self) -> None:
        """An open file was closed: what was fruitless need not be so now."""
        self._barren_until.clear()

    @contextmanager
    def reserving(self, label: ChunkLabel, size: int) -> Iterator[None]:
        """Count ``size`` bytes as used, until the row that records them is there."""
        with self._counting(self._reserved, label, size):
            yield

    @contextmanager
    def wanting(self, label: ChunkLabel, size: int) -> Iterator[None]:
        """Let eviction know of a writer that waits."""
        with self._counting(self._wanted, label, size):
            yield

    @contextmanager
    def _counting(self, account: Counter[Share], label: ChunkLabel, size: int) -> Iterator[None]:
        shares = self._shares_of(label)
        for share in shares:
            account[share] += size
        try:
            yield
        finally:
            for share in shares:
                account[share] -= size
                if not account[share]:
                    del account[share]

    def _shares_of(self, label: ChunkLabel) -> list[Share]:
        names = {"user": label.owner, "catalog": label.path.parts[0]}
        return [Share(kind, label.workspace, names[kind]) for kind in self._quotas]

    def _find_used(self) -> dict[Share, int]:
        used = {
            share: size for share, size in (self._get_shares() or {}).items() if share.kind in self._quotas
        }
        for account in (self._reserved, self._wanted):
            for share, size in account.items():
                used[share] = used.get(share, 0) + size
        return used

    def _get_excess(self, share: Share, used: int) -> int:
        """Bytes of it that are to go: more than a writer needs, so that the next ones need not wait."""
        quota = self._quotas[share.kind]
        if used <= quota:
            return 0
        return used - max(int(quota * TARGET_FRACTION), 0)
