"""What the workspace let each token do, and when it was asked.

The difficulty: a cache is shared by many tokens, and a right must not pass from one to another on any detour. Two
tokens of one principal are two: one may be revoked, or be good for less, while the other lives. So a proof belongs to
the very token that asked, is about one place, and is as old as the question was when it was *sent*; who may read one
file, in another token's name or a while ago, proves nothing here. In the index a proof is kept under a keyed hash of
its token; and, for when no such token can be had because there is no network, under that of the credential which it
was made from, so that whoever still has that is who he was.

Three rights: to READ a volume (the Files API answered), to SEE a catalog, schema or volume (Unity Catalog told of it, or
something below it was read), and to LIST what is in a catalog or schema. None of them follows from another, but that
who reads a volume sees what it lies in.
"""

from __future__ import annotations

from typing import Final, Protocol

from fuse4dbricks.cache.standings import Bounded, Standings
from fuse4dbricks.clock import Clock
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.tokens import StandIn, Token

Right = str
READ: Final = "read"
SEE: Final = "see"
LIST: Final = "list"

#: Proofs remembered at once. The oldest is forgotten, and proved again when it is needed.
MAX_PROOFS = 65536


class StoredProof(Protocol):
    """A proof as the index remembers it, in wall time."""

    @property
    def proved_at(self) -> float:
        """When it was asked for."""
        ...

    @property
    def expires_at(self) -> float:
        """When it stops being a proof."""
        ...


class ProofShelf(Protocol):
    """Where proofs outlive the mount. ``holder`` names a token and a right, and is no secret."""

    def load_grant(self, holder: str, volume: RemotePath, /) -> StoredProof | None:
        """The last proof, if the row is sound and the clock has not gone back before it."""
        ...

    def post_grant(self, holder: str, volume: RemotePath, /, *, proved_at: float, expires_at: float) -> None:
        """Remember a proof."""
        ...

    def post_revoked(self, holder: str, volume: RemotePath, /) -> None:
        """The service said no: forget the proof."""
        ...

    def post_drop_principal(self, holder: str, /) -> None:
        """Forget every proof of a holder."""
        ...


class Proofs:
    """Every token's proofs, of this mount and of the last one; in monotonic seconds."""

    def __init__(self, shelf: ProofShelf | None, *, fingerprint_key: bytes, clock: Clock, ttl: float) -> None:
        self._shelf = shelf
        self._fingerprint_key = fingerprint_key
        self._clock = clock
        self._ttl = ttl
        self._standings: Standings[tuple[Token, Right, RemotePath]] = Standings(clock, max_proofs=MAX_PROOFS)
        self._stored_at: Bounded[tuple[Token, RemotePath], float] = Bounded(MAX_PROOFS)

    def prove_read(self, token: Token, volume: RemotePath, asked_at: float) -> None:
        """The Files API answered 200 or 206 on something in the volume."""
        self._standings.prove((token, READ, volume), asked_at)
        for depth in range(volume.depth + 1):
            self._standings.prove((token, SEE, RemotePath(volume.parts[:depth])), asked_at)
        self._store(token, volume, asked_at)

    def prove(self, token: Token, right: Right, place: RemotePath, asked_at: float) -> None:
        """Unity Catalog answered with what is at ``place``, or in it."""
        self._standings.prove((token, SEE, ROOT), asked_at)
        self._standings.prove((token, SEE, place), asked_at)
        self._standings.prove((token, right, place), asked_at)

    def refuse(self, token: Token, place: RemotePath, error: Exception, asked_at: float | None) -> None:
        """Every right to a place is denied, unless a later question was answered with yes."""
        for each in _itself_and_stand_in(token):
            for right in (READ, SEE, LIST):
                if self._standings.refuse((each, right, place), error, asked_at) and self._shelf is not None:
                    self._shelf.post_revoked(self._holder(each, right), place)
        self._stored_at.clear()

    def refuse_token(self, token: Token) -> None:
        """Nothing that the token proved counts any more."""
        bearers = _itself_and_stand_in(token)
        self._standings.forget_proofs(lambda key: key[0] in bearers)
        self._stored_at.clear()
        if self._shelf is not None:
            for each in bearers:
                for right in (READ, SEE):
                    self._shelf.post_drop_principal(self._holder(each, right))

    def get_refusal(self, token: Token, right: Right, place: RemotePath) -> Exception | None:
        """The refusal that is still believed, for the caller to raise."""
        return self._standings.get_refusal((token, right, place))

    def load(self, token: Token, right: Right, place: RemotePath) -> float | None:
        """The second of the last proof, however long ago; from an earlier run if need be."""
        key = (token, right, place)
        proved_at = self._standings.get_proof(key)
        if proved_at is None and self._shelf is not None and not self._standings.was_refused(key):
            proved_at = self._load_stored(token, right, place)
            if proved_at is not None:
                self._standings.prove(key, proved_at)
        return proved_at

    def was_refused(self, token: Token, right: Right, place: RemotePath) -> bool:
        """Whether the last answer was no, however long ago."""
        return self._standings.was_refused((token, right, place))

    # --- proofs that outlive the mount -----------------------------------------------------------

    def _holder(self, token: Token, right: Right) -> str:
        """The index keeps it in the column of principals; no principal's id has a space."""
        return f"{right} {token.fingerprint(self._fingerprint_key).hex()}"

    def _store(self, token: Token, volume: RemotePath, asked_at: float) -> None:
        key, now = (token, volume), self._clock.monotonic()
        # A walk is hundreds of answers: the index hears of a proof when it is news.
        if self._shelf is None or now - self._stored_at.get(key, float("-inf")) <= self._ttl / 4:
            return
        self._stored_at.put(key, now)
        wall = self._clock.wall() - (now - asked_at)
        for each in _itself_and_stand_in(token):
            self._post(self._shelf, each, volume, wall)

    def _post(self, shelf: ProofShelf, token: Token, volume: RemotePath, wall: float) -> None:
        expires_at = wall + self._ttl
        shelf.post_grant(self._holder(token, READ), volume, proved_at=wall, expires_at=expires_at)
        holder = self._holder(token, SEE)
        for depth in range(volume.depth + 1):
            shelf.post_grant(holder, RemotePath(volume.parts[:depth]), proved_at=wall, expires_at=expires_at)

    def _load_stored(self, token: Token, right: Right, place: RemotePath) -> float | None:
        """The monotonic second of a proof in the index; void when the clock stands before it."""
        if self._shelf is None or right == LIST:
            return None
        stored = self._shelf.load_grant(self._holder(token, right), place)
        if stored is None:
            return None
        age = self._clock.wall() - stored.proved_at
        return None if age < 0 else self._clock.monotonic() - age


def _itself_and_stand_in(token: Token) -> tuple[Token, ...]:
    """Those in whose names a token's proofs are kept."""
    if token.credential is None or isinstance(token, StandIn):
        return (token,)
    return (token, token.credential.stand_in())
