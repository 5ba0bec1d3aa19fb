"""Who asks, and may he read this volume.

The difficulties, and who solves them here:

* One cache serves many principals, so nothing in it may be shown on the strength of somebody else's rights. The
  proof of a grant is a real Files-API answer to the principal's own token (:meth:`Access.note_proof`); the
  permissions API is not asked, because owners have no row there and groups are unsettled.
* A proof ages. One younger than the TTL is good; past half of it a probe renews it in the background, so that a
  warm reader never waits; past all of it the reader waits for the probe (:meth:`Access.require`).
* Two tokens of one principal do not vouch for each other: a revoked token must stop working although the other
  one keeps the grant alive. So each token carries a proof of its own, in the index too.
* An outage is not a denial. When the probe cannot be made, a proof within the offline grace still counts, and who
  has one waits a few seconds at most.
* A 404 is neither: it proves nothing, or a deleted volume's cached files would be open to everybody.
"""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.cache.standings import Bounded, Standings
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import InvalidToken, NoToken, PermissionDenied, ProtocolViolation, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal, Token, Viewer

logger = logging.getLogger("fuse4dbricks.access")

#: Seconds before a renewal that failed is tried again, at most; a quarter of the TTL if that is less.
RENEWAL_PAUSE = 5.0
#: Seconds that somebody who was let in before waits for a probe. Without an end, each cached read of a workspace that
#: answers 429 took the whole 25 s of a call.
PROBE_PATIENCE = 2.0
#: How long past its TTL a proof counts while the workspace cannot be reached (design section 9).
OFFLINE_GRACE_SECONDS = 8 * 3600.0

#: Tokens and grants remembered at once. The oldest is forgotten, and proved again when it is needed.
MAX_TOKENS = 1024
MAX_GRANTS = 65536


class WhoAmI(Protocol):
    """The workspace's identity API."""

    async def fetch_principal(self, token: Token) -> Principal:
        """Whose token it is."""
        ...


class VolumeProbe(Protocol):
    """The cheapest real Files-API question about a volume."""

    async def probe_volume(self, token: Token, volume: RemotePath) -> None:
        """List at most one entry of the volume's root; returns when that was allowed."""
        ...


class StoredProof(Protocol):
    """A grant as the index remembers it, in wall time."""

    @property
    def proved_at(self) -> float:
        """When the Files API said yes."""
        ...

    @property
    def expires_at(self) -> float:
        """When that stops being a proof."""
        ...


class GrantShelf(Protocol):
    """Where proofs outlive the mount."""

    def load_principal(self, fingerprint: bytes) -> Principal | None:
        """Whose token has this fingerprint."""
        ...

    def post_principal(self, fingerprint: bytes, uid: int, principal: Principal) -> None:
        """Remember it."""
        ...

    def load_grant(self, principal_id: str, volume: RemotePath) -> StoredProof | None:
        """The last proof, if the row is sound and the clock has not gone back before it."""
        ...

    def post_grant(
        self, principal_id: str, volume: RemotePath, *, proved_at: float, expires_at: float
    ) -> None:
        """Remember a proof."""
        ...

    def post_revoked(self, principal_id: str, volume: RemotePath) -> None:
        """The service said no: forget the proof."""
        ...

    def post_drop_principal(self, principal_id: str) -> None:
        """Forget every proof of a principal."""
        ...


class Access:
    """Resolves local users to viewers, and keeps the proofs of what they may read."""

    def __init__(
        self,
        *,
        tokens: TokenChain,
        identity: WhoAmI,
        probe: VolumeProbe,
        shelf: GrantShelf | None,
        fingerprint_key: bytes,
        connectivity: Connectivity,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
        ttl: float,
        offline_grace: float = OFFLINE_GRACE_SECONDS,
    ) -> None:
        self._tokens = tokens
        self._identity = identity
        self._probe = probe
        self._shelf = shelf
        self._fingerprint_key = fingerprint_key
        self._connectivity = connectivity
        self._supervisor = supervisor
        self._metrics = metrics
        self._clock = clock
        self._ttl = ttl
        self._offline_grace = offline_grace
        self._principals: Bounded[Token, Principal] = Bounded(MAX_TOKENS)
        self._signed_in: Standings[Token] = Standings(clock, max_proofs=MAX_TOKENS)
        self._granted: Standings[tuple[str, RemotePath]] = Standings(clock, max_proofs=MAX_GRANTS)
        self._stored_at: Bounded[tuple[Token, RemotePath], float] = Bounded(MAX_GRANTS)
        self._renewed_at: Bounded[tuple[Token, RemotePath], float] = Bounded(MAX_GRANTS)
        self._unheard_at: Bounded[tuple[Token, RemotePath], float] = Bounded(MAX_GRANTS)
        self._whoami_flights: Flights[Token, Principal] = Flights("whoami", supervisor)
        self._probe_flights: Flights[tuple[Token, RemotePath], None] = Flights("grant-probe", supervisor)

    # --- who asks --------------------------------------------------------------------------------

    def get_viewer(self, uid: int) -> Viewer | None:
        """The viewer of ``uid`` when his principal is known and his token was not refused."""
        token = self._tokens.get_token(uid)
        if token is None:
            return None
        principal = self._principals.get(token)
        return None if principal is None else Viewer(uid, principal, token)

    async def resolve_viewer(self, uid: int) -> Viewer:
        """The viewer of ``uid``; asks the workspace whose token it is when that is not known.

        Raises:
            NoToken: no source has a token for him.
            InvalidToken: the service refused the token that there is.
            RemoteError: the workspace could not say.
        """
        viewer = self.get_viewer(uid)
        if viewer is not None:
            return viewer
        token = await self._tokens.resolve_token(uid)
        try:
            principal = await self._resolve_principal(uid, token)
        except InvalidToken as error:
            token = await self._other_token(uid, token, error)
            principal = await self._resolve_principal(uid, token)
        return Viewer(uid, principal, token)

    async def has_valid_token(self, uid: int) -> bool:
        """Whether ``uid`` has a token that the service has not refused; an outage refuses nothing."""
        try:
            await self.resolve_viewer(uid)
        except (NoToken, InvalidToken):
            return False
        except RemoteError as error:
            logger.debug("uid %d: %s", uid, error)
        return True

    async def _other_token(self, uid: int, rejected: Token, refusal: InvalidToken) -> Token:
        """A token other than the refused one: each source may renew once."""
        try:
            return await self._tokens.resolve_token(uid, rejected=rejected)
        except NoToken:
            raise refusal from None

    async def _resolve_principal(self, uid: int, token: Token) -> Principal:
        principal = self._principals.get(token)
        if principal is not None:
            return principal
        refusal = self._signed_in.get_refusal(token)
        if refusal is not None:
            raise refusal
        fingerprint = token.fingerprint(self._fingerprint_key)
        if self._shelf is not None and not self._signed_in.was_refused(token):
            # Known from an earlier run: what it may read still needs a proof made with this very token.
            principal = self._shelf.load_principal(fingerprint)
        if principal is None:
            principal = await self._whoami_flights.join(token, lambda: self._fetch_principal(token))
            if self._shelf is not None:
                self._shelf.post_principal(fingerprint, uid, principal)
        self._principals.put(token, principal)
        return principal

    async def _fetch_principal(self, token: Token) -> Principal:
        self._connectivity.raise_if_down()
        try:
            principal = await self._identity.fetch_principal(token)
        except RemoteError as error:
            self._metrics.count("auth.resolved", outcome=type(error).__name__)
            self._note_weather(error)
            if isinstance(error, InvalidToken):
                self._refuse_token(token, error)
            raise
        self._connectivity.note_answer()
        self._signed_in.prove(token)
        self._metrics.count("auth.resolved", outcome="ok")
        return principal

    # --- may he read this volume -----------------------------------------------------------------

    def get_grant(self, viewer: Viewer, volume: RemotePath) -> bool:
        """Whether both the viewer's token and his grant were proved within the TTL; renews past half of it."""
        proved_at = self._load_proof(viewer, volume)
        if proved_at is None:
            return False
        age = self._clock.monotonic() - proved_at
        if age >= self._ttl:
            return False
        if age > self._ttl / 2:
            self._renew_ahead(viewer, volume)
        return True

    async def require(self, viewer: Viewer, volume: RemotePath) -> None:
        """Return when ``viewer`` may read ``volume``, after a probe if the last proof is too old.

        Raises:
            PermissionDenied: the service said no, now or within the last few seconds.
            InvalidToken: the token is refused.
            NotFound: there is no such volume, or its root is empty on a store that has no empty folders.
            RemoteError: the workspace cannot say, and no proof is within the offline grace.
        """
        if self.get_grant(viewer, volume):
            return
        refusal = self._signed_in.get_refusal(viewer.token) or self._granted.get_refusal(
            (viewer.principal.id, volume)
        )
        if refusal is not None:
            raise refusal
        if not self._is_within_grace(viewer, volume):
            self._connectivity.raise_if_down()
            await self._ask(viewer, volume)
        elif self._connectivity.get_outage() is None:
            await self._probe_in_passing(viewer, volume)

    async def _ask(self, viewer: Viewer, volume: RemotePath) -> None:
        await self._probe_flights.join((viewer.token, volume), lambda: self._prove(viewer, volume))

    async def _probe_in_passing(self, viewer: Viewer, volume: RemotePath) -> None:
        """Probe for who was let in before: he is not made to wait long for a workspace that does not answer.

        The probe goes on without him, and its answer counts when it comes.
        """
        key = (viewer.token, volume)
        if self._clock.monotonic() - self._unheard_at.get(key, float("-inf")) < HOLD_SECONDS:
            return
        if key not in self._probe_flights:
            self._supervisor.start_soon("grant-renewal", self._renew, viewer, volume)
        try:
            with trio.fail_after(PROBE_PATIENCE):
                await self._ask(viewer, volume)
        except trio.TooSlowError:
            self._unheard_at.put(key, self._clock.monotonic())
        except RemoteError as error:
            if not is_outage(error):
                raise
            self._unheard_at.put(key, self._clock.monotonic())

    async def _prove(self, viewer: Viewer, volume: RemotePath) -> None:
        try:
            await self._probe.probe_volume(viewer.token, volume)
        except RemoteError as error:
            self._metrics.count("access.probes", outcome=type(error).__name__)
            self.note_error(viewer, volume, error)
            raise
        self._metrics.count("access.probes", outcome="ok")
        self.note_proof(viewer, volume)

    def _renew_ahead(self, viewer: Viewer, volume: RemotePath) -> None:
        """Start a probe in the background, unless one is under way or has just failed."""
        key, now = (viewer.token, volume), self._clock.monotonic()
        if now - self._renewed_at.get(key, float("-inf")) >= min(RENEWAL_PAUSE, self._ttl / 4):
            self._renewed_at.put(key, now)
            self._supervisor.start_soon("grant-renewal", self._renew, viewer, volume)

    async def _renew(self, viewer: Viewer, volume: RemotePath) -> None:
        if self._connectivity.get_outage() is not None:
            return
        try:
            await self._ask(viewer, volume)
        except RemoteError as error:
            logger.debug("renewing the grant on %s: %s", volume, error)

    def _is_within_grace(self, viewer: Viewer, volume: RemotePath) -> bool:
        proved_at = self._load_proof(viewer, volume)
        return proved_at is not None and self._clock.monotonic() - proved_at < self._ttl + self._offline_grace

    # --- evidence --------------------------------------------------------------------------------

    def note_answer(self, viewer: Viewer) -> None:
        """The workspace accepted the viewer's token, on something that proves no grant."""
        self._connectivity.note_answer()
        self._signed_in.prove(viewer.token)

    def note_proof(self, viewer: Viewer, path: RemotePath) -> None:
        """The Files API answered 200 or 206 to this viewer's own token on something in the volume."""
        self.note_answer(viewer)
        self._granted.prove((viewer.principal.id, path.volume))
        self._store_proof(viewer, path.volume)

    def note_error(self, viewer: Viewer, path: RemotePath, error: RemoteError) -> None:
        """A call of this viewer's failed: a refusal ends proofs at once, an outage only says so."""
        self._note_weather(error)
        if isinstance(error, InvalidToken):
            self._refuse_token(viewer.token, error)
        elif isinstance(error, PermissionDenied) and path.in_volume:
            self._granted.refuse((viewer.principal.id, path.volume), error)
            self._stored_at.clear()
            if self._shelf is not None:
                self._shelf.post_revoked(viewer.principal.id, path.volume)

    def _note_weather(self, error: RemoteError) -> None:
        if is_outage(error):
            self._connectivity.note_failure(error)
        elif not isinstance(error, ProtocolViolation):  # a login page of the hotel's network is no answer
            self._connectivity.note_answer()

    def _refuse_token(self, token: Token, error: InvalidToken) -> None:
        self._signed_in.refuse(token, error)
        self._stored_at.clear()
        principal = self._principals.pop(token, None)
        if self._shelf is not None:
            self._shelf.post_drop_principal(self._stored_name(token))
        if principal is None:
            return
        self._granted.forget_proofs(lambda key: key[0] == principal.id)
        if self._shelf is not None:
            self._shelf.post_drop_principal(principal.id)

    # --- proofs that outlive the mount -----------------------------------------------------------

    def _stored_name(self, token: Token) -> str:
        """The index keeps a token's own proof as that of a principal by this name; no real id has a space."""
        return f"token {token.fingerprint(self._fingerprint_key).hex()}"

    def _store_proof(self, viewer: Viewer, volume: RemotePath) -> None:
        key, now = (viewer.token, volume), self._clock.monotonic()
        # A walk is hundreds of answers: the index hears of a proof when it is news.
        if self._shelf is None or now - self._stored_at.get(key, float("-inf")) <= self._ttl / 4:
            return
        self._stored_at.put(key, now)
        wall = self._clock.wall()
        for name in (viewer.principal.id, self._stored_name(viewer.token)):
            self._shelf.post_grant(name, volume, proved_at=wall, expires_at=wall + self._ttl)

    def _load_proof(self, viewer: Viewer, volume: RemotePath) -> float | None:
        """When the older of the two was proved, the token and the grant; from an earlier run if need be."""
        key = (viewer.principal.id, volume)
        granted_at = self._granted.get_proof(key)
        signed_in_at = self._signed_in.get_proof(viewer.token)
        if granted_at is None and not self._granted.was_refused(key):
            granted_at = self._load_stored(viewer.principal.id, volume)
            if granted_at is not None:
                self._granted.prove(key, granted_at)
        if granted_at is None:
            return None
        if signed_in_at is None and not self._signed_in.was_refused(viewer.token):
            signed_in_at = self._load_stored(self._stored_name(viewer.token), volume)
            if signed_in_at is not None:
                self._signed_in.prove(viewer.token, signed_in_at)
        return None if signed_in_at is None else min(granted_at, signed_in_at)

    def _load_stored(self, name: str, volume: RemotePath) -> float | None:
        """The monotonic second of a proof in the index; void when the clock stands before it."""
        stored = self._shelf.load_grant(name, volume) if self._shelf is not None else None
        if stored is None:
            return None
        age = self._clock.wall() - stored.proved_at
        return None if age < 0 else self._clock.monotonic() - age
