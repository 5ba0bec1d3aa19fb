"""Who asks, and may he read this volume.

The difficulties, and who solves them here:

* One cache serves many principals, so nothing in it may be shown on the strength of somebody else's rights. The
  proof of a grant is a real Files-API answer to the very token that asks (:mod:`~fuse4dbricks.cache.proofs`); the
  permissions API is not asked, because owners have no row there and groups are unsettled.
* A proof ages, from the second at which its question was sent. One younger than the TTL is good; past half of it a
  probe renews it in the background, so that a warm reader never waits; past all of it the reader waits for the probe
  (:meth:`Access.require`). So nothing is shown for longer than the TTL after the service would have refused.
* Catalogs and schemas are guarded likewise, or a list that was cached for minutes would show what is no more his to
  see. Who reads a volume sees what it lies in, so in a walk they cost no question of their own.
* An outage is not a denial. When the probe cannot be made, a proof within the offline grace still counts, and who
  has one waits a few seconds at most.
* A 404 is neither: it proves nothing, or a deleted volume's cached files would be open to everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio

from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.cache.proofs import MAX_PROOFS, READ, SEE, Proofs, ProofShelf, Right
from fuse4dbricks.cache.standings import Bounded, Standings
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import (
    InvalidToken,
    NotFound,
    NoToken,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
)
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Credential, Principal, Token, Viewer

logger = logging.getLogger("fuse4dbricks.access")

#: Seconds before a renewal that failed is tried again, at most; a quarter of the TTL if that is less.
RENEWAL_PAUSE = 5.0
#: Seconds that somebody who was let in before waits for a probe. Without an end, each cached read of a workspace that
#: answers 429 took the whole 25 s of a call.
PROBE_PATIENCE = 2.0
#: How long past its TTL a proof counts while the workspace cannot be reached (design section 9).
OFFLINE_GRACE_SECONDS = 8 * 3600.0

#: Tokens remembered at once. The oldest is forgotten, and asked about again when it is needed.
MAX_TOKENS = 1024


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


class SignInShelf(ProofShelf, Protocol):
    """Where whose token it is outlives the mount, too."""

    def load_principal(self, fingerprint: bytes) -> Principal | None:
        """Whose token has this fingerprint."""
        ...

    def post_principal(self, fingerprint: bytes, uid: int, principal: Principal) -> None:
        """Remember it."""
        ...


_Question = tuple[Token, Right, RemotePath]


class Access:
    """Resolves local users to viewers, and keeps the proofs of what they may read."""

    def __init__(
        self,
        *,
        tokens: TokenChain,
        identity: WhoAmI,
        probe: VolumeProbe,
        shelf: SignInShelf | None,
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
        self._refused: Standings[Token] = Standings(clock, max_proofs=MAX_TOKENS)
        self._proofs = Proofs(shelf, fingerprint_key=fingerprint_key, clock=clock, ttl=ttl)
        self._last_read: Bounded[tuple[Token, RemotePath], RemotePath] = Bounded(MAX_PROOFS)
        self._renewed_at: Bounded[tuple[Token, RemotePath], float] = Bounded(MAX_PROOFS)
        self._unheard_at: Bounded[Token, float] = Bounded(MAX_TOKENS)
        self._whoami_flights: Flights[Token, Principal] = Flights("whoami", supervisor)
        self._question_flights: Flights[_Question, None] = Flights("grant-probe", supervisor)

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
        offers = self._tokens.offers_to(uid)
        token, refusal = await offers.fetch_next(), None
        while token is not None:
            try:
                return Viewer(uid, await self._resolve_principal(uid, token), token)
            except InvalidToken as error:
                refusal = refusal or error
            token = await offers.fetch_next()
        if offers.outage is not None:
            raise offers.outage  # whoever issues another one cannot be asked: that is no denial
        raise refusal or NoToken(uid)

    async def has_valid_token(self, uid: int) -> bool:
        """Whether ``uid`` has a token that the service has not refused; an outage refuses nothing."""
        try:
            await self.resolve_viewer(uid)
        except (NoToken, InvalidToken):
            return False
        except RemoteError as error:
            logger.debug("uid %d: %s", uid, error)
        return True

    async def _resolve_principal(self, uid: int, token: Token) -> Principal:
        principal = self._principals.get(token)
        if principal is not None:
            return principal
        refusal = self._refused.get_refusal(token)
        if refusal is not None:
            raise refusal
        fingerprint = token.fingerprint(self._fingerprint_key)
        if self._shelf is not None and not self._refused.was_refused(token):
            # Known from an earlier run: what it may read still needs a proof made with this very token.
            principal = self._shelf.load_principal(fingerprint)
        if principal is None:
            with self._connectivity.reaching():
                principal = await self._whoami_flights.join(token, lambda: self._fetch_principal(token))
            if self._shelf is not None:
                self._shelf.post_principal(fingerprint, uid, principal)
                if token.credential is not None:
                    self._shelf.post_principal(
                        token.credential.fingerprint(self._fingerprint_key), uid, principal
                    )
        self._principals.put(token, principal)
        return principal

    async def _fetch_principal(self, token: Token) -> Principal:
        self._connectivity.raise_if_down()
        asked_at = self.get_second()
        try:
            principal = await self._identity.fetch_principal(token)
        except RemoteError as error:
            self._metrics.count("auth.resolved", outcome=type(error).__name__)
            self._note_weather(error)
            if isinstance(error, InvalidToken):
                self._refuse_token(token, error)
            raise
        self._connectivity.note_answer()
        self._refused.prove(token, self.get_second())
        self._proofs.prove(token, SEE, ROOT, asked_at)
        self._metrics.count("auth.resolved", outcome="ok")
        return principal

    # --- may he ----------------------------------------------------------------------------------

    def get_grant(self, viewer: Viewer, volume: RemotePath) -> bool:
        """Whether it was proved within the TTL that he may read the volume; renews that past half of it."""
        left = self.get_seconds_left(viewer, READ, volume)
        if 0 < left < self._ttl / 2:
            self._renew_ahead(viewer, volume)
        return left > 0

    def get_seconds_left(self, viewer: Viewer, right: Right, place: RemotePath) -> float:
        """Seconds for which the last proof of a right still counts; 0 when there is none, or it is too old."""
        proved_at = self._proofs.load(viewer.token, right, place)
        return 0.0 if proved_at is None else max(0.0, proved_at + self._ttl - self._clock.monotonic())

    async def require(
        self,
        viewer: Viewer,
        place: RemotePath,
        right: Right = READ,
        ask: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Return when ``viewer`` has a right to a place, after asking if the last proof is too old.

        Without ``ask`` the place is a volume, which is probed.

        Raises:
            PermissionDenied: the service said no, now or within the last few seconds.
            InvalidToken: the token is refused.
            NotFound: there is no such place, or a volume's root is empty on a store that has no empty folders.
            RemoteError: the workspace cannot say, and no proof is within the offline grace.
        """
        if right == READ:
            if self.get_grant(viewer, place):
                return
        elif self.get_seconds_left(viewer, right, place):
            return
        refusal = self._refused.get_refusal(viewer.token) or self._proofs.get_refusal(
            viewer.token, right, place
        )
        if refusal is not None:
            raise refusal
        question = (viewer.token, right, place)
        work = ask or partial(self._probe_volume, viewer, place)
        if not self._is_within_grace(viewer, right, place):
            with self._connectivity.reaching():
                await self._question_flights.join(question, partial(_done, work))
        elif self._connectivity.get_outage() is None:
            await self._ask_in_passing(question, partial(_done, work))

    async def renew(self, viewer: Viewer, volume: RemotePath) -> None:
        """Prove the grant anew, whatever its age; raises as :meth:`require` does, also for an outage."""
        self._connectivity.raise_if_down()
        await self._question_flights.join(
            (viewer.token, READ, volume), partial(self._probe_volume, viewer, volume)
        )

    async def renew_below(self, viewer: Viewer, place: RemotePath) -> bool:
        """Prove anew that he may see a catalog or schema by the volume of it that he read last.

        One question instead of one at each level. False when there is none, or it is no more.
        """
        volume = self._last_read.get((viewer.token, place))
        if volume is None:
            return False
        try:
            await self.renew(viewer, volume)
        except (NotFound, PermissionDenied):
            self._last_read.pop((viewer.token, place), None)
            return False
        return True

    async def _ask_in_passing(self, question: _Question, work: Callable[[], Awaitable[None]]) -> None:
        """Ask for who was let in before: he is not made to wait long for a workspace that does not answer.

        The question goes on without him, and its answer counts when it comes.
        """
        token = question[0]
        # One wait in vain is enough: a path has several places, and a program asks for many paths.
        if self._clock.monotonic() - self._unheard_at.get(token, float("-inf")) < HOLD_SECONDS:
            return
        if question not in self._question_flights:
            self._supervisor.start_soon("grant-renewal", self._ask_quietly, question, work)
        try:
            with trio.fail_after(min(PROBE_PATIENCE, self._connectivity.get_patience())):
                await self._question_flights.join(question, work)
        except trio.TooSlowError:
            self._connectivity.note_vain_wait()
            self._unheard_at.put(token, self._clock.monotonic())
        except RemoteError as error:
            if not is_outage(error):
                raise
            self._unheard_at.put(token, self._clock.monotonic())

    async def _probe_volume(self, viewer: Viewer, volume: RemotePath) -> None:
        asked_at = self.get_second()
        try:
            await self._probe.probe_volume(viewer.token, volume)
        except RemoteError as error:
            self._metrics.count("access.probes", outcome=type(error).__name__)
            self.note_error(viewer, volume, error, asked_at)
            raise
        self._metrics.count("access.probes", outcome="ok")
        self.note_proof(viewer, volume, asked_at)

    def _renew_ahead(self, viewer: Viewer, volume: RemotePath) -> None:
        """Start a probe in the background, unless one is under way or has just failed."""
        key, now = (viewer.token, volume), self._clock.monotonic()
        if now - self._renewed_at.get(key, float("-inf")) >= min(RENEWAL_PAUSE, self._ttl / 4):
            self._renewed_at.put(key, now)
            question = (viewer.token, READ, volume)
            work = partial(self._probe_volume, viewer, volume)
            self._supervisor.start_soon("grant-renewal", self._ask_quietly, question, work)

    async def _ask_quietly(self, question: _Question, work: Callable[[], Awaitable[None]]) -> None:
        if self._connectivity.get_outage() is not None:
            return
        try:
            await self._question_flights.join(question, work)
        except RemoteError as error:
            logger.debug("renewing the right to %s %s: %s", question[1], question[2], error)

    def _is_within_grace(self, viewer: Viewer, right: Right, place: RemotePath) -> bool:
        """Whether he was let in recently enough for an outage.

        What is known of catalogs and schemas is kept for each principal apart, so for those it is enough that his
        token was good and nothing was said against the place.
        """
        if right == READ:
            proved_at = self._proofs.load(viewer.token, READ, place)
        elif self._proofs.was_refused(viewer.token, right, place):
            return False
        else:
            proved_at = self._proofs.load(viewer.token, SEE, ROOT)
        return proved_at is not None and self._clock.monotonic() - proved_at < self._ttl + self._offline_grace

    # --- evidence --------------------------------------------------------------------------------

    def get_second(self) -> float:
        """Now, in monotonic seconds: to be taken before a question is sent, and given with its answer."""
        return self._clock.monotonic()

    def note_answer(self, viewer: Viewer, right: Right, place: RemotePath, asked_at: float) -> None:
        """Unity Catalog told the viewer's own token of something outside volumes."""
        self._connectivity.note_answer()
        self._proofs.prove(viewer.token, right, place, asked_at)

    def note_proof(self, viewer: Viewer, path: RemotePath, asked_at: float) -> None:
        """The Files API answered 200 or 206 to this viewer's own token on something in the volume."""
        self._connectivity.note_answer()
        volume = path.volume
        self._proofs.prove_read(viewer.token, volume, asked_at)
        for place in (volume.parent, volume.parent.parent):
            self._last_read.put((viewer.token, place), volume)

    def note_error(
        self, viewer: Viewer, path: RemotePath, error: RemoteError, asked_at: float | None = None
    ) -> None:
        """A call of this viewer's failed: a refusal ends proofs at once, an outage only says so."""
        self._note_weather(error)
        if isinstance(error, InvalidToken):
            self._refuse_token(viewer.token, error)
        elif isinstance(error, PermissionDenied) and path.depth:
            place = path.volume if path.in_volume else path
            self._proofs.refuse(viewer.token, place, error, asked_at)

    def _note_weather(self, error: RemoteError) -> None:
        if is_outage(error):
            self._connectivity.note_failure(error)
        elif not isinstance(error, ProtocolViolation):  # a login page of the hotel's network is no answer
            self._connectivity.note_answer()

    def note_refused(self, credential: Credential) -> None:
        """Whoever issues tokens refuses a credential: nothing that was proved with it counts any more."""
        self._proofs.refuse_token(credential.stand_in())
        self._principals.pop(credential.stand_in(), None)

    def _refuse_token(self, token: Token, error: InvalidToken) -> None:
        self._refused.refuse(token, error)
        self._proofs.refuse_token(token)
        principal = self._principals.pop(token, None)
        if principal is not None and self._shelf is not None:
            self._shelf.post_drop_principal(principal.id)


async def _done(work: Callable[[], Awaitable[object]]) -> None:
    """The same, for its effect."""
    await work()
