"""The detour past the workspace: taken where it pays, left at the first sign of trouble, and never with the token."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import trio
import trio.testing

from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.units import MIB
from fuse4dbricks.workspace.calls import Caller
from fuse4dbricks.workspace.cloud import OFF_SECONDS, SMALLEST_FILE, URL_PATIENCE, CloudStore
from fuse4dbricks.workspace.files_api import FilesApi
from fuse4dbricks.workspace.identity import Identity
from fuse4dbricks.workspace.limits import Limits, Ticket, Urgency
from fuse4dbricks.workspace.retry import Patience
from tests.support.scripted import (
    MODIFIED,
    NOW,
    TOKEN,
    Answer,
    Played,
    Script,
    ScriptedTransport,
    TrioClock,
    never,
    refusal,
    reply,
    serve_range,
)

FILE = RemotePath(("c", "s", "v", "big"))
CONTENT = bytes(range(256)) * (SMALLEST_FILE // 256)
VERSION = Version(len(CONTENT), MODIFIED)
URL = "https://bucket.store.example.com/big?X-Amz-Signature=canary"
GIVEN = {"url": URL, "headers": [{"name": "x-ms-version", "value": "2024-05-04"}]}


@dataclass
class Bench:
    """A Files API whose detour leads to a scripted store."""

    files: FilesApi
    workspace: ScriptedTransport
    store: ScriptedTransport
    metrics: Metrics

    async def read(
        self,
        start: int = 0,
        stop: int = MIB,
        *,
        urgency: Urgency = Urgency.AHEAD,
        token: Token = TOKEN,
        version: Version = VERSION,
    ) -> bytes:
        """A range, which must come back right wherever it comes from."""
        ticket = Ticket(urgency)
        async with self.files.stream_range(token, FILE, start, stop, version, ticket) as stream:
            got = b"".join([bytes(piece) async for piece in stream])
            assert stream.version == version
        return got

    def kinds(self) -> list[str]:
        """What the workspace was asked for, in order."""
        return ["url" if "create-download-url" in path else "range" for path in self.workspace.paths]


@asynccontextmanager
async def bench(
    store: Script | Iterable[Answer],
    url: Callable[[], Answer | Awaitable[Answer]] = lambda: reply(GIVEN),
    *,
    content: bytes = CONTENT,
) -> AsyncIterator[Bench]:
    def workspace(request: httpx.Request) -> Answer | Awaitable[Answer]:
        return url() if request.method == "POST" else serve_range(request, content)

    front, back, metrics, clock = (
        ScriptedTransport(workspace),
        ScriptedTransport(store),
        Metrics(),
        TrioClock(),
    )
    caller = Caller(
        base="https://w.example.com", transport=front, limits=Limits(), patience=Patience(), metrics=metrics, clock=clock
    )  # fmt: skip
    cloud = CloudStore(
        open_transport=lambda _origin: back, is_local=False, patience=Patience(), clock=clock, metrics=metrics
    )
    yield Bench(FilesApi(caller, Identity(caller), metrics, cloud), front, back, metrics)
    await cloud.aclose()
    assert back.is_closed or not back.requests


def from_store(request: httpx.Request) -> Answer:
    return serve_range(request, CONTENT, etag='"of-the-store"')


async def test_one_url_serves_all_ranges_of_a_file() -> None:
    async with bench(from_store) as at:
        for number in range(3):
            assert await at.read(number * MIB, (number + 1) * MIB) == CONTENT[:MIB]
        # Once there is a URL, what somebody waits for comes by it, too.
        assert await at.read(5, 10, urgency=Urgency.WAITED) == CONTENT[5:10]
    assert at.kinds() == ["url"]
    assert len(at.store.requests) == 4
    for request in at.store.requests:
        assert "authorization" not in request.headers
        assert request.headers["x-ms-version"] == "2024-05-04"
        assert TOKEN.reveal() not in str(request.headers)
    assert at.metrics.get("remote.calls", kind="cloud") == 4
    assert at.metrics.get("remote.bytes") == 3 * MIB + 5


async def test_nobody_waits_for_a_url() -> None:
    async with bench(from_store) as at:
        assert await at.read(urgency=Urgency.WAITED) == CONTENT[:MIB]
    assert at.kinds() == ["range"]


async def test_small_files_have_none() -> None:
    small = CONTENT[:-1]
    async with bench(from_store, content=small) as at:
        await at.read(version=Version(len(small), MODIFIED))
    assert at.kinds() == ["range"]


async def test_a_url_is_for_the_token_that_asked() -> None:
    async with bench(from_store) as at:
        await at.read()
        await at.read(token=Token("dapi-another"))
    assert at.kinds() == ["url", "url"]


NOT_ENABLED = refusal(403, "PERMISSION_DENIED", "Presigned URLs are not enabled.")


@pytest.mark.parametrize(
    ("answer", "comes_back"),
    [
        (lambda: NOT_ENABLED, False),
        (lambda: refusal(404, "ENDPOINT_NOT_FOUND"), False),
        (lambda: refusal(400, "INVALID_PARAMETER_VALUE"), False),
        (lambda: refusal(500, "INTERNAL_ERROR", "Can't infer requester network zone."), True),
        (lambda: reply({"url": "http://bucket.example.com/clear"}), True),
        (lambda: reply({"nothing": 1}), True),
        (lambda: never(httpx.Request("GET", URL)), True),
    ],
    ids=["not-enabled", "no-endpoint", "rejected", "network-zone", "clear-text", "malformed", "hang"],
)
async def test_no_url_costs_one_question(
    answer: Callable[[], Answer], autojump_clock: trio.testing.MockClock, *, comes_back: bool
) -> None:
    async with bench(from_store, answer) as at:
        began = trio.current_time()
        for _ in range(3):
            assert await at.read() == CONTENT[:MIB]
        assert trio.current_time() - began <= URL_PATIENCE + 0.5
        asked = at.kinds().count("url")
        await trio.sleep(OFF_SECONDS + 5)
        assert await at.read() == CONTENT[:MIB]
        assert (at.kinds().count("url") > asked) is comes_back
    assert not at.store.requests


@pytest.mark.parametrize(
    "no",
    [
        refusal(403, "PERMISSION_DENIED", "User does not have READ VOLUME on Volume 'c.s.v'."),
        refusal(403, 403, "Invalid access token."),
        refusal(404, "NOT_FOUND"),
    ],
    ids=["permission", "token", "absence"],
)
async def test_who_is_refused_a_url_takes_the_detour_from_nobody_else(
    no: httpx.Response, autojump_clock: trio.testing.MockClock
) -> None:
    answers = iter([no])
    async with bench(from_store, lambda: next(answers, None) or reply(GIVEN)) as at:
        for _ in range(3):
            assert await at.read() == CONTENT[:MIB]
        assert not at.store.requests
        assert at.kinds().count("url") == 1, "he is not asked for again at each range"
        assert await at.read(token=Token("dapi-another")) == CONTENT[:MIB]
        assert len(at.store.requests) == 1
        await trio.sleep(OFF_SECONDS + 5)
        assert await at.read() == CONTENT[:MIB]
        assert len(at.store.requests) == 2


def _breaking(request: httpx.Request) -> Answer:
    return serve_range(request, CONTENT, body=Played(CONTENT[:1000], httpx.ReadError("gone")))


def _stalling(request: httpx.Request) -> Answer:
    return serve_range(request, CONTENT, body=Played(CONTENT[:1000], 3600.0))


def _too_long(request: httpx.Request) -> Answer:
    return serve_range(request, CONTENT, body=Played(CONTENT[:MIB], b"x"))


TROUBLE: dict[str, Script] = {
    "no connection": lambda _: httpx.ConnectTimeout("timed out"),
    "hang": never,
    "refused": lambda _: httpx.Response(403, content=b"<Error><Code>AuthorizationFailure</Code></Error>"),
    "gone": lambda _: httpx.Response(404, content=b"<Error><Code>NoSuchKey</Code></Error>"),
    "busy": lambda _: httpx.Response(503, headers={"retry-after": "3600"}),
    "redirect": lambda _: httpx.Response(302, headers={"location": "https://elsewhere.example.com"}),
    "another file": lambda request: serve_range(request, CONTENT, modified=MODIFIED + 1),
    "another size": lambda request: serve_range(request, CONTENT + b"x"),
    "another range": lambda request: serve_range(request, CONTENT, content_range=f"bytes 1-{MIB}/{len(CONTENT)}"),
    "no time": lambda request: serve_range(request, CONTENT, last_modified=None),
    "all of it": lambda request: serve_range(request, CONTENT, status=200),
    "a page": lambda _: httpx.Response(200, html="<html>Sign in</html>"),
    "breaks off": _breaking,
    "stalls": _stalling,
    "too long": _too_long,
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_whatever_the_store_does_the_bytes_are_right(
    trouble: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench(TROUBLE[trouble]) as at:
        for _ in range(3):
            assert await at.read() == CONTENT[:MIB]
        # Left alone after the first time.
        assert len(at.store.requests) == 1
        assert at.kinds() == ["url", "range", "range", "range"]
    assert at.metrics.get("remote.cloud_failures") == 1
    assert "canary" not in caplog.text


EXPIRED = {
    "azure": (
        403,
        b"<Error><Code>AuthenticationFailed</Code><AuthenticationErrorDetail>"  # noqa: ISC004 - one document
        b"Signature not valid in the specified time frame</AuthenticationErrorDetail></Error>",
    ),
    "aws": (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
    "gcp": (400, b"<Error><Code>ExpiredToken</Code></Error>"),
}


@pytest.mark.parametrize("cloud", EXPIRED)
async def test_a_url_that_has_ended_is_replaced(cloud: str) -> None:
    status, body = EXPIRED[cloud]
    ranges = itertools.count()

    def store(request: httpx.Request) -> Answer:
        return httpx.Response(status, content=body) if next(ranges) == 1 else from_store(request)

    async with bench(store) as at:
        for _ in range(3):
            assert await at.read() == CONTENT[:MIB]
    assert at.kinds() == ["url", "range", "url"]
    assert at.metrics.get("remote.cloud_failures") == 0


async def test_a_url_is_not_used_up_to_its_end(autojump_clock: trio.testing.MockClock) -> None:
    ends = {"url": f"https://b.example.com/big?Expires={int(NOW) + 600}&Signature=s"}
    async with bench(from_store, lambda: reply(ends)) as at:
        await at.read()
        await trio.sleep(530)
        await at.read()
        await trio.sleep(20)
        await at.read()
    assert at.kinds() == ["url", "url"]


async def test_only_one_range_asks_and_the_others_go_on() -> None:
    gate = trio.Event()

    async def slowly() -> Answer:
        await gate.wait()
        return reply(GIVEN)

    async with bench(from_store, slowly) as at, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(at.read, number * MIB, (number + 1) * MIB)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(at.kinds()) == ["range", "range", "range", "url"]
        gate.set()
    assert len(at.store.requests) == 1


async def test_a_reader_who_goes_away_leaves_nothing_behind() -> None:
    async with bench(never) as at:
        with trio.move_on_after(0) as scope:
            scope.cancel()
            await at.read()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.read)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert at.store.in_flight == 0
