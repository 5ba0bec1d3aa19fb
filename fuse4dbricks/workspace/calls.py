"""One remote call: admitted, sent, judged, repeated.

The difficulty: each of these is simple alone, and their order is where the bugs are: a slot leaked when a reader is
cancelled between admission and reply, a connection returned with half a body on it, a deadline that starts after
the queue. :class:`Caller` is that order, for all callers. The token goes into one header of one request to one
host, and is cut out of whatever comes back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx
import trio

from fuse4dbricks import __version__
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import (
    DeadlineExceeded,
    NotTheService,
    ProtocolViolation,
    RemoteError,
    RequestRejected,
)
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.units import KIB, MIB
from fuse4dbricks.workspace.body import Body
from fuse4dbricks.workspace.dates import parse_http_date
from fuse4dbricks.workspace.exchange import Call, Reply, log_reply
from fuse4dbricks.workspace.limits import CallLimiter, Lane, Lease, Limits, Ticket, Urgency
from fuse4dbricks.workspace.network import TRANSPORT_ERRORS, before_reply, timed_out
from fuse4dbricks.workspace.replies import VIOLATION_TRIES, failure_of, is_page
from fuse4dbricks.workspace.retry import Budget, Patience, Setback, persist
from fuse4dbricks.workspace.wire import decode_json

#: A page of 1,000 files with the longest names has about 2 MB, one of 10,000 volumes 10 MB.
MAX_JSON = 32 * MIB
MAX_ERROR_BODY = 64 * KIB
#: A Date header further than this from our clock is not believed.
SANE_SKEW = 86400.0
#: Replies that metrics tell apart from their class.
_TELLING = frozenset({401, 403, 404, 412, 416, 429, 500, 503})

T = TypeVar("T")


class Caller:
    """Sends calls to one workspace, within its limits and ours.

    Attributes:
        patience: the time limits of every call.
        metrics: where calls are counted.
    """

    def __init__(
        self,
        *,
        base: str,
        transport: httpx.AsyncBaseTransport,
        limits: Limits,
        patience: Patience,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        files = CallLimiter(
            in_flight=limits.files_in_flight, data=limits.data_in_flight, per_second=limits.files_per_second
        )
        catalog = CallLimiter(
            in_flight=limits.catalog_in_flight, data=1, per_second=limits.catalog_per_second
        )
        self.patience = patience
        self.metrics = metrics
        self._limiters = {Lane.CATALOG: catalog, Lane.METADATA: files, Lane.DATA: files}
        self._base = base
        self._transport = transport
        self._clock = clock

    async def fetch_json(
        self,
        call: Call,
        token: Token,
        parse: Callable[[Any, float], T],
        ticket: Ticket | None = None,
    ) -> T:
        """What ``parse(payload, observed_at)`` makes of the JSON of a 200.

        Raises:
            ProtocolViolation: it is not JSON, or ``parse`` says that it is not what was due.
            RemoteError: any other, after the retries it deserves.
        """

        async def read(reply: Reply, budget: Budget) -> T:
            body = await reply.body.read_all(MAX_JSON, budget.deadline)
            return _parse(call, reply, body, parse)

        return await self._fetch(call, token, ticket or Ticket(), read)

    async def fetch_head(self, call: Call, token: Token, parse: Callable[[Mapping[str, str], float], T]) -> T:
        """What ``parse(headers, observed_at)`` makes of the headers of a 200.

        Raises:
            ProtocolViolation: ``parse`` says that they are not what was due.
            RemoteError: any other, after the retries it deserves.
        """

        async def read(reply: Reply, budget: Budget) -> T:
            await reply.body.read_all(MAX_ERROR_BODY, budget.deadline)
            if is_page(reply.headers, b"") and "last-modified" not in reply.headers:
                # Its length would pass for the file's. Of a page that is a file, the service tells the time.
                page = _page_in(call, reply, "an HTML page where a file was due")
                raise Setback(page, reason="violation", tries=VIOLATION_TRIES)
            return _attributed(call, reply, lambda: parse(reply.headers, reply.observed_at))

        return await self._fetch(call, token, Ticket(), read)

    async def _fetch(
        self, call: Call, token: Token, ticket: Ticket, read: Callable[[Reply, Budget], Awaitable[T]]
    ) -> T:
        budget = self.budget()

        async def attempt() -> T:
            async with await self.open(call, token, ticket, budget) as reply:
                return await read(reply, budget)

        return await persist(budget, attempt)

    def budget(self) -> Budget:
        """The attempts and time of a call that begins now."""
        return Budget(self.patience, self.metrics)

    async def open(
        self,
        call: Call,
        token: Token,
        ticket: Ticket,
        budget: Budget,
        accept: frozenset[int] = frozenset({200}),
    ) -> Reply:
        """One attempt, up to the headers of a reply with a status in ``accept``.

        Raises:
            Setback: it failed, another attempt may not.
            RemoteError: it failed for good.
        """
        limiter = self._limiters[call.lane]
        lease = await self._queue(limiter, call, token, ticket, budget)
        async with AsyncExitStack() as undo:
            undo.callback(limiter.release, lease)
            response = await self._send(self._build(call, token, budget), call, budget)
            body = Body(response, self.patience, budget.remaining, call.what)
            reply = Reply(response, body, self._observe_time(response.headers), limiter, lease)
            undo.push_async_callback(reply.aclose)
            self.metrics.count("remote.replies", status=_status_class(reply.status))
            if reply.status not in accept:
                raise await self._judge(call, token, reply, budget)
            limiter.note_answered(lease)
            undo.pop_all()
        return reply

    async def _queue(
        self, limiter: CallLimiter, call: Call, token: Token, ticket: Ticket, budget: Budget
    ) -> Lease:
        """Wait for a slot; the time in the queue counts for those who waited in it."""
        while True:
            with trio.move_on_at(budget.deadline):
                lease = await limiter.acquire(ticket, call.lane, token)
                if ticket.urgency is Urgency.AHEAD:
                    budget.renew()
                else:
                    _count_from_promotion(ticket, budget)
                return lease
            if not _count_from_promotion(ticket, budget):
                raise DeadlineExceeded(f"{call.what}: no free slot within {self.patience.total:g} s")

    def _build(self, call: Call, token: Token, budget: Budget) -> httpx.Request:
        query = f"?{urlencode(call.query, quote_via=quote)}" if call.query else ""
        timeout = {"connect": min(self.patience.connect, budget.remaining), "write": self.patience.stall}
        return httpx.Request(
            call.method,
            _url(f"{self._base}{call.path}{query}", call.what),
            headers={
                "Authorization": f"Bearer {token.reveal()}",
                "User-Agent": f"fuse4dbricks/{__version__}",
                "Accept": "*/*",
                # Ranges and lengths stay byte-exact, and there is no bomb to unpack.
                "Accept-Encoding": "identity",
                **call.headers,
            },
            extensions={"timeout": timeout},
        )

    async def _send(self, request: httpx.Request, call: Call, budget: Budget) -> httpx.Response:
        self.metrics.count("remote.calls", kind=call.kind)
        failure: RemoteError | Setback = timed_out(call.what, "the reply")
        began = trio.current_time()
        with trio.move_on_at(min(budget.deadline, began + self.patience.response)):
            try:
                response = await self._transport.handle_async_request(request)
                log_reply(call.what, response.status_code, began, call.headers.get("Range"))
                return response
            except TRANSPORT_ERRORS as error:
                failure = before_reply(call.what, error)
        # Outside the except block: the context of theirs would hold the request's headers.
        raise failure

    async def _judge(self, call: Call, token: Token, reply: Reply, budget: Budget) -> RemoteError | Setback:
        """Read what the service says about its refusal, and tell the limiter."""
        text = await _read_complaint(reply.body, budget)
        failure = failure_of(
            call.what,
            reply.status,
            reply.headers,
            b"" if call.method == "HEAD" else text,
            now=reply.observed_at,
            secret=token.reveal(),
        )
        if reply.status == 429:
            self.metrics.count("remote.throttled")
            reply.limiter.note_throttled(
                reply.lease, failure.retry_after if isinstance(failure, Setback) else None
            )
        elif reply.status < 500:
            reply.limiter.note_answered(reply.lease)
        return failure

    def _observe_time(self, headers: Mapping[str, str]) -> float:
        wall = self._clock.wall()
        date = parse_http_date(headers.get("date"))
        return float(date) if date is not None and abs(date - wall) < SANE_SKEW else wall


def _count_from_promotion(ticket: Ticket, budget: Budget) -> bool:
    """Give whoever promoted the call all of the time; he has only waited since then. Whether that adds any."""
    if ticket.promoted_at is None:
        return False
    deadline = ticket.promoted_at + budget.patience.total
    is_later = deadline > budget.deadline
    budget.deadline = max(budget.deadline, deadline)
    return is_later


def _url(text: str, what: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL:
        reason = f"{what}: the path is too long for a URL"
    raise RequestRejected(reason)


def _status_class(status: int) -> str:
    return str(status) if status in _TELLING else f"{status // 100}xx"


async def _read_complaint(body: Body, budget: Budget) -> bytes:
    """As much of an error body as says what is wrong."""
    pieces: list[bytes] = []
    length = 0
    while length < MAX_ERROR_BODY and (piece := await body.next_piece(budget.deadline)) is not None:
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)[:MAX_ERROR_BODY]


def _parse(call: Call, reply: Reply, body: bytes, parse: Callable[[Any, float], T]) -> T:
    if is_page(reply.headers, body):
        # A gateway's; the next attempt may reach the service.
        page = _page_in(call, reply, "an HTML page where JSON was due")
        raise Setback(page, reason="violation", tries=VIOLATION_TRIES)
    return _attributed(call, reply, lambda: parse(decode_json(body), reply.observed_at))


def _attributed(call: Call, reply: Reply, parse: Callable[[], T]) -> T:
    """The result of ``parse``, whose violations learn here which reply they are about."""
    try:
        return parse()
    except ProtocolViolation as error:
        text = str(error)
    raise violation_in(call, reply, text)


def _page_in(call: Call, reply: Reply, text: str) -> NotTheService:
    request_id = reply.headers.get("x-request-id")
    return NotTheService(f"{call.what}: {text}", status=reply.status, request_id=request_id)


def violation_in(call: Call, reply: Reply, text: str) -> ProtocolViolation:
    """A violation with what support needs to find it."""
    request_id = reply.headers.get("x-request-id")
    return ProtocolViolation(f"{call.what}: {text}", status=reply.status, request_id=request_id)
