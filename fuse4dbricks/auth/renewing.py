"""A token that ends, kept good.

The difficulty: fifty readers find at the same moment that their token is over, or is refused, and must cause one
call to whoever issues tokens, not fifty; the one whose token is about to end must not wait at all; and an issuer that
refuses or is down must not be asked again by every ``stat``. So a token is *fresh*, then *stale* (still good, renewed
behind the reader's back), then *expired*; one renewal is in flight; and a failure is remembered, with its reason, for
a pause that doubles.

The figures are those of Databricks' own SDK: stale for the last min(lifetime / 2, 20 min), and expired 40 s early,
because Azure Databricks refuses tokens with 30 s left (databricks-api 5.2).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import trio

from fuse4dbricks.auth.source import Issued, Outcome, Refusals, Report, SourceFailure
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import Flights
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import Unreachable
from fuse4dbricks.tokens import Credential, StandIn, Token
from fuse4dbricks.weather import FAIR, Weather

logger = logging.getLogger("fuse4dbricks.auth")

STALE_SECONDS = 20 * 60.0
EXPIRED_EARLY_SECONDS = 40.0

#: Between attempts after a failure; doubles up to the second figure.
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
#: A token that was asked for because the last one was refused, and is itself refused this soon, is not the issuer's
#: to mend.
REFUSED_AT_ONCE = 10.0

#: Less than the kernel's request is given, so that its caller hears the reason.
ISSUE_SECONDS = 20.0

#: ``issue(forced)``: a new token; ``forced`` when the one that a cache may hold was refused.
Issue = Callable[[bool], Awaitable[Issued]]

_ONLY: Final = "renewal"


@dataclass(frozen=True, slots=True)
class _Held:
    """Seconds of the monotonic clock, but for ``ends_at``, which is Unix time for people."""

    issued: Issued
    stale_at: float
    expires_at: float
    ends_at: float | None

    @property
    def token(self) -> Token:
        return self.issued.token


def hold(issued: Issued, clock: Clock) -> _Held:
    """When a token just issued turns stale and expired."""
    now, lifetime = clock.monotonic(), issued.lifetime
    if lifetime is None:
        never = float("inf")
        return _Held(issued, never, never, None)
    # A token of a minute or two, as tests use, still has a time in which it is good.
    usable = lifetime - min(EXPIRED_EARLY_SECONDS, lifetime / 2)
    stale_after = min(lifetime - min(lifetime / 2, STALE_SECONDS), 0.75 * usable)
    return _Held(issued, now + stale_after, now + usable, clock.wall() + lifetime)


class Renewing:
    """One token and the way to the next one."""

    def __init__(
        self,
        name: str,
        issue: Issue,
        *,
        supervisor: Supervisor,
        clock: Clock,
        weather: Weather = FAIR,
        refusals: Refusals | None = None,
    ) -> None:
        self.name = name
        self._weather = weather
        self._refusals = refusals or Refusals()
        self._stand_in: StandIn | None = None
        self._was_refused = self._failed_offline = False
        self._issue = issue
        self._supervisor = supervisor
        self._clock = clock
        self._flights: Flights[str, Token] = Flights(f"token-renewal of {name}", supervisor)
        self._held: _Held | None = None
        self._failure: SourceFailure | None = None
        self._pause = FIRST_PAUSE
        self._retry_at = self._ahead_at = float("-inf")
        self._forced_at = float("-inf")

    @property
    def is_untried(self) -> bool:
        """Whether nobody has asked yet, or what was there has expired while nobody looked."""
        if self._failure is not None:
            return self._is_back
        return self._held is None or self._clock.monotonic() >= self._held.expires_at

    def accept(self, issued: Issued) -> Token:
        """Hold a token that came by another way, such as a login, and give it back as it is held."""
        token = issued.token.made_from(issued.credential)
        self._held = hold(replace(issued, token=token), self._clock)
        self._stand_in, self._was_refused, self._failed_offline = None, False, False
        self._failure, self._pause, self._retry_at = None, FIRST_PAUSE, float("-inf")
        return token

    def get(self) -> Token | None:
        """The token, fresh or stale; while the issuer is out of reach, the expired one: it still says who asks."""
        now, held = self._clock.monotonic(), self._held
        if self._failure is not None if held is None else now >= held.stale_at:
            self._renew_ahead(now)
        return self._usable(now)

    async def fetch(self, rejected: Token | None) -> Token | None:
        """The token, renewed if need be; not ``rejected``.

        Raises:
            Unreachable: the issuer does not answer, and no token is held.
        """
        now = self._clock.monotonic()
        token = self._usable(now)
        if token is not None and token != rejected and not self._is_due(now):
            return token
        if self._was_refused_at_once(rejected):
            return None
        is_too_soon = now < self._retry_at and not self._is_back
        if self._failure is not None and is_too_soon and _ONLY not in self._flights:
            return self._fall_back(rejected, self._failure)
        try:
            token = await self._flights.join(_ONLY, lambda: self._renew(forced=rejected is not None))
        except SourceFailure as failure:
            return self._fall_back(rejected, failure)
        return None if token == rejected else token

    def get_report(self) -> Report:
        """How it stands."""
        now, held, failure = self._clock.monotonic(), self._held, self._failure
        if held is not None and now < held.expires_at:
            detail = held.issued.origin
            if failure is not None:
                detail = "; ".join(filter(None, (detail, f"renewing it failed: {failure}")))
            return Report(self.name, Outcome.ANSWERED, detail, held.ends_at)
        if failure is not None:
            return Report(self.name, failure.outcome, str(failure))
        return Report(self.name, Outcome.NOT_ASKED)

    def _usable(self, now: float) -> Token | None:
        held = self._held
        if held is None:
            return self._stand_in if self._weather.is_down else None
        if now < held.expires_at or self._weather.is_down:
            return held.token
        return held.token if self._failure is not None and self._failure.is_outage else None

    @property
    def _is_back(self) -> bool:
        """Whether the last attempt failed for want of a network, which is there now."""
        return self._failed_offline and not self._weather.is_down

    def _is_due(self, now: float) -> bool:
        """Whether the token is over and it is time to try again."""
        return self._held is not None and now >= max(self._held.expires_at, self._retry_at)

    def _was_refused_at_once(self, rejected: Token | None) -> bool:
        held = self._held
        if rejected is None or held is None or held.token != rejected:
            return False
        if self._clock.monotonic() - self._forced_at >= REFUSED_AT_ONCE:
            return False
        self._note_failure(SourceFailure("the workspace refuses the token that it gave"), forced=True)
        return True

    def _fall_back(self, rejected: Token | None, failure: SourceFailure) -> Token | None:
        if not failure.is_outage:
            return None
        if self._held is None and self._stand_in is not None and self._weather.is_down:
            return self._stand_in
        if self._held is not None and self._held.token != rejected:
            return self._held.token
        raise Unreachable(f"{self.name}: {failure}")

    def _renew_ahead(self, now: float) -> None:
        if now < max(self._retry_at, self._ahead_at) or not self._supervisor.is_open:
            return
        # Each further reader would start one more task, if only to join the flight.
        self._ahead_at = now + FIRST_PAUSE
        self._supervisor.start_soon("token-renewal", self._renew_quietly)

    async def _renew_quietly(self) -> None:
        try:
            await self._flights.join(_ONLY, lambda: self._renew(forced=False))
        except SourceFailure as failure:
            logger.debug("%s: %s", self.name, failure)

    async def _renew(self, *, forced: bool) -> Token:
        try:
            with trio.fail_after(ISSUE_SECONDS):
                issued = await self._issue(forced)
        except trio.TooSlowError:
            failure = SourceFailure(f"no answer in {ISSUE_SECONDS:.0f} s", is_outage=True)
            self._note_failure(failure, forced=forced)
            raise failure from None
        except SourceFailure as failure:
            self._note_failure(failure, forced=forced)
            raise
        token = self.accept(issued)
        if forced:
            self._forced_at = self._clock.monotonic()
        logger.info("%s: a new token", self.name)
        return token

    def _note_failure(self, failure: SourceFailure, *, forced: bool) -> None:
        self._failure = failure
        self._failed_offline = failure.is_outage and self._weather.is_down
        self._retry_at = self._clock.monotonic() + self._pause
        if failure.credential is not None:
            self._note_standing(failure.credential, is_refused=not failure.is_outage)
        if failure.outcome is Outcome.FAILED and not self._failed_offline:
            # What is not set up costs a look at a file, and its user is waiting to see that he has set it up.
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if forced and not failure.is_outage:
            self._held = None
        if self._failed_offline:
            logger.debug("%s: %s", self.name, failure)
            return
        if failure.outcome is Outcome.FAILED:
            logger.warning("%s: %s", self.name, failure, extra={"rate_limit": 60})

    def _note_standing(self, credential: Credential, *, is_refused: bool) -> None:
        """Its tokens may be stood in for, until its issuer refuses it."""
        if is_refused:
            self._stand_in = None
            self._refusals.note(credential)
        elif not self._was_refused:
            self._stand_in = credential.stand_in()
        self._was_refused = self._was_refused or is_refused
