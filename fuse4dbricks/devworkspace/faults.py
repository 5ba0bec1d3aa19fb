"""The fault plan: what goes wrong, for which calls, how often; set while the workspace runs.

The difficulty: a test of a fault that never happened passes for the wrong reason, and one fault must often hit one
call in many (the third range read of one file by one user). So a fault says what it matches, which of the matches
it hits, and counts how often it was played; the plan is changed from the test's thread while requests are answered
in another.
"""

from __future__ import annotations

import asyncio
import fnmatch
import random
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from starlette.types import Receive, Scope, Send

from fuse4dbricks.devworkspace.connection import Connection
from fuse4dbricks.devworkspace.journal import Record
from fuse4dbricks.devworkspace.people import fingerprint


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the ways to answer it; effects hand an altered one down."""

    scope: Scope
    receive: Receive
    send: Send
    connection: Connection
    record: Record

    def sending(self, send: Send) -> Exchange:
        """The same with another way out."""
        return replace(self, send=send)


Proceed = Callable[[Exchange], Awaitable[None]]


class Effect(Protocol):
    """What a fault does to a call."""

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Answer in the service's stead, or let it ``proceed`` with an altered exchange."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An effect and the calls it is for. What is left out matches everything.

    Attributes:
        kind: glob of the call's kind, such as ``files.get`` or ``uc.*``.
        method: of HTTP.
        path: glob of the decoded path; ``*`` crosses slashes.
        path_regex: searched in the decoded path.
        range: searched, as a regular expression, in the Range header (calls without one do not match).
        user: whose token was shown (only calls with a good token match).
        token: that was shown, good or bad.
        skip: so many matches are let through first: 2 hits the third.
        every: of the matches after that, each n-th is hit, beginning with the first.
        times: so many are hit, then no more.
        probability: of being hit, for each of these.
    """

    effect: Effect
    kind: str = "*"
    method: str | None = None
    path: str | None = None
    path_regex: str | None = None
    range: str | None = None
    user: str | None = None
    token: str | None = field(default=None, repr=False)
    skip: int = 0
    every: int = 1
    times: int | None = None
    probability: float = 1.0

    def matches(self, record: Record, user: str | None) -> bool:
        """Whether a call is one that this fault is for."""
        return (
            fnmatch.fnmatchcase(record.kind, self.kind)
            and self.method in (None, record.method)
            and (self.path is None or fnmatch.fnmatchcase(record.path, self.path))
            and (self.path_regex is None or re.search(self.path_regex, record.path) is not None)
            and (self.range is None or re.search(self.range, record.range or "\0") is not None)
            and self.user in (None, user)
            and (self.token is None or fingerprint(self.token) == record.token)
        )


@dataclass(slots=True, eq=False)
class ActiveFault:
    """A fault in the plan, and how often it has happened."""

    fault: Fault
    number: int
    plan: FaultPlan
    matched: int = 0
    fired: int = 0
    is_over: bool = False
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=list)

    def remove(self) -> None:
        """Take it out of the plan; calls that hang in it go on."""
        self.plan.remove(self)

    async def until_removed(self) -> None:
        """Wait until it is taken out of the plan."""
        event = asyncio.Event()
        with self.plan.lock:
            if self.is_over:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()

    def end(self) -> None:
        """Let go of what waits; the plan calls it."""
        self.is_over = True
        for loop, event in self._waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        self._waiting.clear()

    def hits(self, chance: Callable[[], float]) -> bool:
        """Whether this match is one to play it on; the plan calls it for each match, in order."""
        self.matched += 1
        beyond = self.matched - self.fault.skip - 1
        if beyond < 0 or beyond % self.fault.every:
            return False
        if self.fault.times is not None and self.fired >= self.fault.times:
            return False
        if chance() >= self.fault.probability:
            return False
        self.fired += 1
        return True


class FaultPlan:
    """The faults now in force, in the order they were added. Safe to use from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self.lock = threading.RLock()
        self._active: list[ActiveFault] = []
        self._added = 0
        self._chance = random.Random(seed)  # noqa: S311 - reproducible faults, no secrets
        #: Who a call's token belongs to; set by the application that knows.
        self.user_of: Callable[[Scope], str | None] = lambda _scope: None

    def add(self, effect: Effect | Fault, **match: object) -> ActiveFault:
        """Put a fault in force: ``add(Latency(0.1), kind="files.get", times=3)``."""
        fault = effect if isinstance(effect, Fault) else Fault(effect=effect, **match)  # type: ignore[arg-type]
        with self.lock:
            self._added += 1
            active = ActiveFault(fault, self._added, self)
            self._active.append(active)
        return active

    def remove(self, active: ActiveFault) -> None:
        """Take one out."""
        with self.lock:
            if active in self._active:
                self._active.remove(active)
            active.end()

    def clear(self) -> None:
        """Take all out."""
        for active in self.get_active():
            self.remove(active)

    def get_active(self) -> list[ActiveFault]:
        """Those in force."""
        with self.lock:
            return list(self._active)

    def _hit(self, exchange: Exchange) -> list[ActiveFault]:
        with self.lock:
            if not self._active:
                return []
            user = self.user_of(exchange.scope)
            return [
                active
                for active in self._active
                if active.fault.matches(exchange.record, user) and active.hits(self._chance.random)
            ]

    async def play(self, exchange: Exchange, proceed: Proceed) -> None:
        """Answer a call with every fault that hits it, the first added outermost."""
        hit = self._hit(exchange)
        exchange.record.faults = tuple(type(active.fault.effect).__name__ for active in hit)
        await _nested(hit, proceed)(exchange)


def _nested(hit: list[ActiveFault], proceed: Proceed) -> Proceed:
    if not hit:
        return proceed
    first, rest = hit[0], _nested(hit[1:], proceed)

    async def play(exchange: Exchange) -> None:
        await first.fault.effect.play(exchange, rest, first)

    return play
