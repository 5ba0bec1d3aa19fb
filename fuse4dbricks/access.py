"""Who asks, and may he read this volume.

The difficulties, and who solves them here:

* One cache serves many principals, so nothing in it may be shown on the strength of somebody else's rights. The
  proof of a grant is a real Files-API answer to the principal's own token (:meth:`Access.note_proof`); the
  permissions API is not asked, because owners have no row there and groups are unsettled.
* A proof ages. One younger than the TTL is good; past half of it a probe renews it in the background, so that a
  warm reader never waits; past all of it the reader waits for the probe (:meth:`Access.require`).
* Two tokens of one principal do not vouch for each other: a revoked token must stop working although the other
  one keeps the grant alive. So each token carries a proof of its own.
* An outage is not a denial. When the probe cannot be made, a proof within the offline grace still counts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.cache.connectivity import Connectivity, is_outage
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import InvalidToken, NotFound, NoToken, PermissionDenied, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal, Token, Viewer

logger = logging.getLogger("fuse4dbricks.access")

#: How long a refusal (of a grant or of a token) is believed before it is asked again, in seconds.
REFUSAL_SECONDS = 5.0

#: How long past its TTL a proof counts while the workspace cannot be reached (design section 9).
OFFLINE_GRACE_SECONDS = 8 * 3600.0


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


@dataclass(slots=True)
class _Standing:
    """What is known of one question (a token, or a principal's grant on a volume), in monotonic seconds."""

    proved_at: float | None = None
    refused_at: float | None = None
    refusal: RemoteError | None = None

    def prove(self, now: float) -> None:
        self.proved_at, self.refused_at, self.refusal = now, None, None

    def refuse(self, now: float, error: RemoteError) -> None:
        self.proved_at, self.refused_at, self.refusal = None, now, error


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
        self._principals: dict[Token, Principal] = {}
        self._token_standing: dict[Token, _Standing] = {}
        self._grants: dict[tuple[str, RemotePath], _Standing] = {}
        self._whoami_flights: Flights[Token, Principal] = Flights("whoami", supervisor)
        self._probe_flights: Flights[tuple[Token, RemotePath], None] = Flights("grant-probe", supervisor)

    # --- who asks --------------------------------------------------------------------------------

    def get_viewer(self, uid: int) -> Viewer | None:
        """The viewer of ``uid`` when his principal is known and his token is not known to be refused."""
        token = self._tokens.get_token(uid)
        if token is None:
            return None
        principal = self._principals.get(token)
        if principal is None or self._standing_refusal(self._token_standing.get(token)) is not None:
            return None
        return Viewer(uid, principal, token)

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
        refusal = self._standing_refusal(self._token_standing.get(token))
        if refusal is not None:
            token = await self._other_token(uid, token, refusal)
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

    async def _other_token(self, uid: int, rejected: Token, refusal: RemoteError) -> Token:
        """A token other than the refused one: each source may renew once."""
        try:
            return await self._tokens.resolve_token(uid, rejected=rejected)
        except NoToken:
            raise refusal from None

    async def _resolve_principal(self, uid: int, token: Token) -> Principal:
        principal = self._principals.get(token)
        refused = self._token_standing.get(token)
        if principal is not None and (refused is None or refused.refused_at is None):
            return principal
        fingerprint = token.fingerprint(self._fingerprint_key)
        if self._shelf is not None and refused is None:
            # Known from an earlier run: its grants still need a proof with this very token.
            principal = self._shelf.load_principal(fingerprint)
        if principal is None or refused is not None:
            principal = await self._whoami_flights.join(token, lambda: self._fetch_principal(token))
            if self._shelf is not None:
                self._shelf.post_principal(fingerprint, uid, principal)
        self._principals[token] = principal
        return principal

    async def _fetch_principal(self, token: Token) -> Principal:
        try:
            principal = await self._identity.fetch_principal(token)
        except InvalidToken as error:
            self._refuse_token(token, error)
            self._metrics.count("auth.resolved", outcome="invalid")
            raise
        self._prove_token(token)
        self._metrics.count("auth.resolved", outcome="ok")
        return principal

    # --- may he read this volume -----------------------------------------------------------------

    def get_grant(self, viewer: Viewer, volume: RemotePath) -> bool:
        """Whether both the viewer's token and his grant were proved within the TTL; renews past half of it."""
        grant = self._grants.get((viewer.principal.id, volume)) or self._load_grant(viewer, volume)
        token = self._token_standing.get(viewer.token)
        if grant is None or grant.proved_at is None or token is None or token.proved_at is None:
            return False
        age = self._clock.monotonic() - min(grant.proved_at, token.proved_at)
        if age >= self._ttl:
            return False
        if age > self._ttl / 2 and (viewer.token, volume) not in self._probe_flights:
            self._supervisor.start_soon("grant-renewal", self._renew, viewer, volume)
        return True

    async def require(self, viewer: Viewer, volume: RemotePath) -> None:
        """Return when ``viewer`` may read ``volume``, after a probe if the last proof is too old.

        Raises:
            PermissionDenied: the service said no, now or within the last few seconds.
            InvalidToken: the token is refused.
            NotFound: there is no such volume.
            RemoteError: the workspace cannot say, and no proof is within the offline grace.
        """
        if self.get_grant(viewer, volume):
            return
        for standing in (
            self._token_standing.get(viewer.token),
            self._grants.get((viewer.principal.id, volume)),
        ):
            refusal = self._standing_refusal(standing)
            if refusal is not None:
                raise refusal
        outage = self._connectivity.get_outage()
        try:
            if outage is not None:
                raise outage
            await self._probe_flights.join((viewer.token, volume), lambda: self._prove(viewer, volume))
        except RemoteError as error:
            if not (is_outage(error) and self._within_grace(viewer, volume)):
                raise

    async def _prove(self, viewer: Viewer, volume: RemotePath) -> None:
        try:
            await self._probe.probe_volume(viewer.token, volume)
        except NotFound:
            # The root of an emptied volume may answer 404 (databricks-api 1.2): that is no refusal.
            self._metrics.count("access.probes", outcome="not_found")
            self.note_proof(viewer, volume)
        except RemoteError as error:
            self._metrics.count("access.probes", outcome=type(error).__name__)
            self.note_error(viewer, volume, error)
            raise
        else:
            self._metrics.count("access.probes", outcome="ok")
            self.note_proof(viewer, volume)

    async def _renew(self, viewer: Viewer, volume: RemotePath) -> None:
        try:
            await self._probe_flights.join((viewer.token, volume), lambda: self._prove(viewer, volume))
        except RemoteError as error:
            logger.debug("renewing the grant on %s: %s", volume, error)

    def note_answer(self, viewer: Viewer) -> None:
        """The workspace accepted the viewer's token, on something that proves no grant."""
        self._connectivity.note_answer()
        self._prove_token(viewer.token)

    def note_proof(self, viewer: Viewer, path: RemotePath) -> None:
        """The Files API answered 200 or 206 to this viewer's own token on something in the volume."""
        now = self._clock.monotonic()
        self._connectivity.note_answer()
        self._prove_token(viewer.token)
        grant = self._grants.setdefault((viewer.principal.id, path.volume), _Standing())
        # A big file is hundreds of answers: the index hears of a proof when it is news.
        if self._shelf is not None and (grant.proved_at is None or now - grant.proved_at > self._ttl / 4):
            wall = self._clock.wall()
            self._shelf.post_grant(
                viewer.principal.id, path.volume, proved_at=wall, expires_at=wall + self._ttl
            )
        grant.prove(now)

    def note_error(self, viewer: Viewer, path: RemotePath, error: RemoteError) -> None:
        """A call of this viewer's failed: a refusal ends proofs at once, an outage only says so."""
        if isinstance(error, InvalidToken):
            self._connectivity.note_answer()
            self._refuse_token(viewer.token, error)
        elif isinstance(error, PermissionDenied):
            self._connectivity.note_answer()
            if path.in_volume:
                standing = self._grants.setdefault((viewer.principal.id, path.volume), _Standing())
                standing.refuse(self._clock.monotonic(), error)
                if self._shelf is not None:
                    self._shelf.post_revoked(viewer.principal.id, path.volume)
        else:
            self._connectivity.note_failure(error)

    # --- standings -------------------------------------------------------------------------------

    def _prove_token(self, token: Token) -> None:
        self._token_standing.setdefault(token, _Standing()).prove(self._clock.monotonic())

    def _refuse_token(self, token: Token, error: InvalidToken) -> None:
        self._token_standing.setdefault(token, _Standing()).refuse(self._clock.monotonic(), error)
        principal = self._principals.get(token)
        if principal is None:
            return
        for key in [key for key in self._grants if key[0] == principal.id]:
            del self._grants[key]
        if self._shelf is not None:
            self._shelf.post_drop_principal(principal.id)

    def _standing_refusal(self, standing: _Standing | None) -> RemoteError | None:
        if standing is None or standing.refused_at is None:
            return None
        return standing.refusal if self._clock.monotonic() - standing.refused_at < REFUSAL_SECONDS else None

    def _load_grant(self, viewer: Viewer, volume: RemotePath) -> _Standing | None:
        """A proof from an earlier run, turned from wall time into this run's monotonic time."""
        stored = self._shelf.load_grant(viewer.principal.id, volume) if self._shelf is not None else None
        if stored is None:
            return None
        age = self._clock.wall() - stored.proved_at
        if age < 0:
            return None
        proved_at = self._clock.monotonic() - age
        standing = self._grants.setdefault((viewer.principal.id, volume), _Standing(proved_at))
        token = self._token_standing.setdefault(viewer.token, _Standing())
        if token.proved_at is None and token.refused_at is None:
            token.proved_at = proved_at
        return standing

    def _within_grace(self, viewer: Viewer, volume: RemotePath) -> bool:
        grant = self._grants.get((viewer.principal.id, volume))
        token = self._token_standing.get(viewer.token)
        if grant is None or grant.proved_at is None or token is None or token.proved_at is None:
            return False
        age = self._clock.monotonic() - min(grant.proved_at, token.proved_at)
        return age < self._ttl + self._offline_grace
