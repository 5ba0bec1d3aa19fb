"""An index in dictionaries, behind the seams that the real one is used through.

It can be busy, lag behind what is posted, and lose rows, when a test says so. Nothing here waits for time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fuse4dbricks.entry import Entry
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Principal


@dataclass(frozen=True)
class StoredEntry:
    entry: Entry | None
    fetched_at: float
    expires_at: float


@dataclass(frozen=True)
class StoredListing:
    complete: bool
    fetched_at: float
    expires_at: float
    count: int


@dataclass
class _Walk:
    stored: StoredListing
    seen: set[str] = field(default_factory=set)


class FakeTree:
    """The index's tree; satisfies TreeIndex. While ``is_lagging``, what is posted is not yet committed."""

    def __init__(self) -> None:
        self.is_busy = False
        self.is_lagging = False
        self._waiting: list[Callable[[], None]] = []
        self._entries: dict[tuple[RemotePath, str | None], StoredEntry] = {}
        self._listings: dict[tuple[RemotePath, str | None], StoredListing] = {}
        self._walks: dict[tuple[RemotePath, str | None], _Walk] = {}

    def _post(self, write: Callable[[], None]) -> None:
        if self.is_lagging:
            self._waiting.append(write)
        else:
            write()

    def commit(self) -> None:
        """Everything posted is in."""
        waiting, self._waiting = self._waiting, []
        for write in waiting:
            write()

    def lose(self, path: RemotePath) -> None:
        """Damage takes a row, and the listing still counts it."""
        for key in [key for key in self._entries if key[0] == path]:
            del self._entries[key]

    def load_entry(self, path: RemotePath, principal: str | None) -> StoredEntry | None:
        return self._entries.get((path, principal))

    def load_listing(self, path: RemotePath, principal: str | None) -> StoredListing | None:
        return self._listings.get((path, principal))

    def load_listing_entries(
        self, path: RemotePath, principal: str | None, after: str | None, limit: int
    ) -> list[Entry] | None:
        if self.is_busy:
            return None
        names = sorted(
            key.name
            for (key, scope), stored in self._entries.items()
            if scope == principal and key.depth and key.parent == path and stored.entry is not None
        )
        entries = [self._entries[path.child(name), principal].entry for name in names if name > (after or "")]
        return [entry for entry in entries[:limit] if entry is not None]

    def load_seen_entries(self, path: RemotePath, principal: str | None, limit: int) -> list[Entry]:
        return self.load_listing_entries(path, principal, None, limit) or []

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
        def write() -> None:
            key = (path, principal)
            if first:
                self._walks[key] = _Walk(StoredListing(False, fetched_at, expires_at, 0))
            walk = self._walks[key]
            for entry in entries:
                walk.seen.add(entry.name)
                self._entries[path.child(entry.name), principal] = StoredEntry(entry, fetched_at, expires_at)
            if last:
                self._listings[key] = StoredListing(True, fetched_at, expires_at, len(walk.seen))
                unseen = [
                    (known, scope)
                    for known, scope in self._entries
                    if scope == principal
                    and known.depth
                    and known.parent == path
                    and known.name not in walk.seen
                ]
                for gone in unseen:
                    del self._entries[gone]

        self._post(write)

    def post_entry(
        self, path: RemotePath, principal: str | None, entry: Entry, *, fetched_at: float, expires_at: float
    ) -> None:
        stored = StoredEntry(entry, fetched_at, expires_at)
        self._post(lambda: self._entries.__setitem__((path, principal), stored))

    def post_absent(
        self, path: RemotePath, principal: str | None, *, fetched_at: float, expires_at: float
    ) -> None:
        stored = StoredEntry(None, fetched_at, expires_at)
        self._post(lambda: self._entries.__setitem__((path, principal), stored))

    def post_expire(self, path: RemotePath) -> None:
        def write() -> None:
            for key, stored in self._entries.items():
                if key[0] == path:
                    self._entries[key] = replace(stored, expires_at=0.0)

        self._post(write)


@dataclass(frozen=True)
class StoredProof:
    proved_at: float
    expires_at: float


class FakeGrants:
    """The index's grants; satisfies GrantShelf."""

    def __init__(self) -> None:
        self.principals: dict[bytes, Principal] = {}
        self.proofs: dict[tuple[str, RemotePath], StoredProof] = {}
        self.posts: Counter[str] = Counter()

    def load_principal(self, fingerprint: bytes) -> Principal | None:
        return self.principals.get(fingerprint)

    def post_principal(self, fingerprint: bytes, uid: int, principal: Principal) -> None:
        self.posts["principal"] += 1
        self.principals[fingerprint] = principal

    def load_grant(self, principal_id: str, volume: RemotePath) -> StoredProof | None:
        return self.proofs.get((principal_id, volume))

    def post_grant(
        self, principal_id: str, volume: RemotePath, *, proved_at: float, expires_at: float
    ) -> None:
        self.posts["grant"] += 1
        self.proofs[principal_id, volume] = StoredProof(proved_at, expires_at)

    def post_revoked(self, principal_id: str, volume: RemotePath) -> None:
        self.posts["revoked"] += 1
        self.proofs.pop((principal_id, volume), None)

    def post_drop_principal(self, principal_id: str) -> None:
        self.posts["dropped"] += 1
        for key in [key for key in self.proofs if key[0] == principal_id]:
            del self.proofs[key]
        for fingerprint in [f for f, known in self.principals.items() if known.id == principal_id]:
            del self.principals[fingerprint]
