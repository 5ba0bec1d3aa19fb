"""Logins through Microsoft Entra's device flow, one for each local user.

The difficulty: a login takes minutes and three parties, and whoever started it may close his terminal meanwhile. So it
belongs to a service task, and its state can be asked for at any time. While the person is away the service
is polled at the pace that it asks for; an outage in between ends nothing, only the code's own end does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import trio

from fuse4dbricks.auth.bounded_threads import BoundedThreads
from fuse4dbricks.auth.entra import Account, account_of
from fuse4dbricks.auth.kept_logins import KeptLogins
from fuse4dbricks.auth.renewing import Renewing
from fuse4dbricks.auth.source import Issued, Outcome, Refusals, Report, SourceFailure
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import Unreachable
from fuse4dbricks.tokens import Credential, Token
from fuse4dbricks.weather import FAIR, Weather

logger = logging.getLogger("fuse4dbricks.auth")

V = TypeVar("V")

#: For one question to Entra.
ASK_SECONDS = 20.0
#: Logins under way at once, and people signed in at once: each holds an msal application with its connections.
MAX_UNDER_WAY = 64
MAX_SIGNED_IN = 1024


class Phase(StrEnum):
    """Where a login stands."""

    NONE = "none"
    STARTING = "starting"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LoginState:
    """A login as its user may see it.

    Attributes:
        phase: where it stands.
        message: what happened, in a line.
        url, code: what he needs while it is ``WAITING``.
        ends_at: Unix time at which the code ends.
    """

    phase: Phase = Phase.NONE
    message: str = ""
    url: str = ""
    code: str = ""
    ends_at: float | None = None


@dataclass(slots=True, eq=False)
class _SignedIn:
    account: Account
    renewing: Renewing


#: A new login: for a user's first, and for each that comes after it.
MakeAccount = Callable[[str | None], Account]


class DeviceLogins:
    """Starts logins, and serves the tokens of those who have signed in.

    ``account_of`` makes an empty login, or takes up a kept one; it runs in a thread.
    """

    name = "device login"

    def __init__(
        self,
        account_of: MakeAccount,
        *,
        supervisor: Supervisor,
        clock: Clock,
        kept: KeptLogins | None = None,
        weather: Weather = FAIR,
        refusals: Refusals | None = None,
    ) -> None:
        self._weather = weather
        self._refusals = refusals
        self._account_of = account_of
        self._supervisor = supervisor
        self._clock = clock
        self._kept = kept
        self._threads: BoundedThreads[Account] = BoundedThreads(seconds=ASK_SECONDS)
        self._states: dict[int, LoginState] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._signed_in: dict[int, _SignedIn] = {}
        self._keeping = trio.Lock()

    # --- as a token source -----------------------------------------------------------------------

    def get_token(self, uid: int) -> Token | None:
        """The token of his login."""
        signed_in = self._signed_in.get(uid)
        return None if signed_in is None else signed_in.renewing.get()

    def is_due(self, uid: int) -> bool:
        """Whether a kept login was not taken up yet, or has expired unseen."""
        return uid in self._signed_in and self._signed_in[uid].renewing.is_untried

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The token of his login, renewed if need be.

        Raises:
            Unreachable: Entra does not answer.
        """
        signed_in = self._signed_in.get(uid)
        return None if signed_in is None else await signed_in.renewing.fetch(rejected)

    def get_report(self, uid: int) -> Report:
        """How his login stands."""
        if uid in self._signed_in:
            return self._signed_in[uid].renewing.get_report()
        state = self.get_state(uid)
        if uid in self._scopes:
            return Report(self.name, Outcome.WAITING, state.message)
        outcome = Outcome.FAILED if state.phase is Phase.FAILED else Outcome.NOTHING
        return Report(self.name, outcome, state.message)

    # --- logging in ------------------------------------------------------------------------------

    def get_state(self, uid: int) -> LoginState:
        """Where his login stands."""
        return self._states.get(uid, LoginState())

    def start(self, uid: int) -> None:
        """Begin a login for ``uid``; one that is under way goes on, with its code."""
        if uid in self._scopes:
            return
        if len(self._scopes) >= MAX_UNDER_WAY:
            self._note(uid, LoginState(Phase.FAILED, "too many logins are under way; try again later"))
            return
        self._note(uid, LoginState(Phase.STARTING, "asking Entra for a code"))
        scope = self._scopes[uid] = trio.CancelScope()
        self._supervisor.start_soon("device-login", self._run, uid, scope)

    def cancel(self, uid: int) -> None:
        """Stop a login that is under way."""
        scope = self._scopes.pop(uid, None)
        if scope is not None:
            scope.cancel()
            self._note(uid, LoginState(Phase.FAILED, "the login was cancelled"))

    def log_out(self, uid: int) -> None:
        """Forget his login; a kept one soon after."""
        self.cancel(uid)
        self._signed_in.pop(uid, None)
        self._states.pop(uid, None)
        if self._kept is not None:
            self._supervisor.start_soon("forget-login", self._forget, self._kept, uid)

    async def take_up_kept(self) -> None:
        """Take up the logins of earlier runs; nothing is asked of Entra before somebody needs a token."""
        kept = self._kept
        if kept is None:
            return
        for uid, login in await trio.to_thread.run_sync(lambda: list(kept.load())):
            if len(self._signed_in) < MAX_SIGNED_IN:
                self._sign_in(uid, self._account_of(login), None, self._credential_of(uid, login))

    async def _run(self, uid: int, scope: trio.CancelScope) -> None:
        state = LoginState(Phase.FAILED, "the login could not be made; the log of the mount says why")
        try:
            with scope:
                state = await self._log_in(uid)
        except SourceFailure as failure:
            state = LoginState(Phase.FAILED, str(failure))
        finally:
            # Cancelled by its user: that has its own state, and perhaps a successor already.
            if self._scopes.get(uid) is scope:
                del self._scopes[uid]
                self._note(uid, state)
                logger.info("device login of uid %d: %s", uid, state.phase)

    async def _log_in(self, uid: int) -> LoginState:
        if len(self._signed_in) >= MAX_SIGNED_IN and uid not in self._signed_in:
            raise SourceFailure(f"{MAX_SIGNED_IN} users are signed in; there is no room for another")
        account = self._account_of(None)
        code = await self._ask(account, account.start)
        self._note(
            uid,
            LoginState(
                Phase.WAITING,
                f"open {code.url} and enter the code {code.code}",
                code.url,
                code.code,
                self._clock.wall() + code.lifetime,
            ),
        )
        with trio.move_on_after(code.lifetime):
            issued = await self._wait_for_person(uid, account)
            self._sign_in(uid, account, issued, self._credential_of(uid, account.serialize()))
            await self._keep(uid, account)
            return LoginState(Phase.DONE, issued.origin or "signed in")
        raise SourceFailure("the code has expired before anybody signed in")

    async def _wait_for_person(self, uid: int, account: Account) -> Issued:
        while True:
            await trio.sleep(account.interval)
            try:
                issued = await self._ask(account, account.poll)
            except SourceFailure as failure:
                if not failure.is_outage:
                    raise
                logger.debug("device login of uid %d: %s", uid, failure)
                continue
            if issued is not None:
                return issued

    def _credential_of(self, uid: int, login: str) -> Credential | None:
        """A login that is kept can be known again after a restart, by whose it is."""
        account = account_of(login) if self._kept is not None else None
        return None if account is None else Credential("login", str(uid), account)

    def _sign_in(
        self, uid: int, account: Account, issued: Issued | None, credential: Credential | None
    ) -> None:
        # Whatever msal has cached is stale when a renewal is wanted, except in a login just taken up.
        may_be_cached = issued is None

        async def renew(forced: bool) -> Issued:
            nonlocal may_be_cached
            is_forced = forced or not may_be_cached
            may_be_cached = False
            try:
                renewed = await self._ask(account, lambda: account.renew(forced=is_forced))
            except SourceFailure as failure:
                failure.credential = credential
                raise
            await self._keep(uid, account)
            return replace(renewed, credential=credential)

        renewing = Renewing(
            self.name,
            renew,
            supervisor=self._supervisor,
            clock=self._clock,
            weather=self._weather,
            refusals=self._refusals,
        )
        if issued is not None:
            renewing.accept(replace(issued, credential=credential))
        self._signed_in[uid] = _SignedIn(account, renewing)

    async def _keep(self, uid: int, account: Account) -> None:
        kept = self._kept
        if kept is None:
            return
        async with self._keeping:
            now = self._signed_in.get(uid)
            if now is None or now.account is not account:
                return  # he has logged out, or in anew, while this one was being renewed
            try:
                await trio.to_thread.run_sync(lambda: kept.save(uid, account.serialize()))
            except OSError as error:
                logger.warning("the login of uid %d cannot be kept: %s", uid, error.strerror)

    async def _forget(self, kept: KeptLogins, uid: int) -> None:
        async with self._keeping:
            if uid not in self._signed_in:
                await trio.to_thread.run_sync(kept.forget, uid)

    async def _ask(self, account: Account, question: Callable[[], V]) -> V:
        # By account, not by user: a login that was just cancelled may still have a question out.
        try:
            with self._weather.reaching():
                return await self._threads.run(account, question)
        except Unreachable as error:
            raise SourceFailure(str(error), is_outage=True) from None

    def _note(self, uid: int, state: LoginState) -> None:
        self._states.pop(uid, None)
        self._states[uid] = state
        while len(self._states) > 2 * MAX_SIGNED_IN:
            self._states.pop(next(iter(self._states)))
