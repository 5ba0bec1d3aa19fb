"""One call: how often it is sent, how long it may take, how it ends, and what it never says."""

from __future__ import annotations

import logging
import ssl
import traceback
from collections.abc import Callable

import httpx
import pytest
import trio
import trio.testing

from fuse4dbricks.errors import (
    ConnectionLost,
    InvalidToken,
    NotFound,
    NotTheService,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    RequestRejected,
    ServerFailure,
    Throttled,
    Unreachable,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace import Patience
from tests.support.scripted import (
    EMPTY,
    FOLDER,
    NOW,
    TOKEN,
    Answer,
    Played,
    http_date,
    page,
    refusal,
    reply,
    scripted,
    throttled,
)

Clock = trio.testing.MockClock


async def test_a_call_is_sent_once_with_what_it_needs() -> None:
    async with scripted([reply(EMPTY)]) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, FOLDER)
    (request,) = sent.requests
    assert str(request.url) == "https://adb-1.azuredatabricks.net/api/2.0/fs/directories/Volumes/c/s/v"
    assert request.headers["authorization"] == f"Bearer {TOKEN.reveal()}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("fuse4dbricks/")
    assert sent.is_closed


async def test_who_debugs_sees_each_call_and_no_token(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="fuse4dbricks")
    async with scripted([refusal(503, "TEMPORARILY_UNAVAILABLE"), reply(EMPTY)]) as (workspace, _):
        await workspace.files.fetch_page(TOKEN, FOLDER)
    what = "GET /api/2.0/fs/directories/Volumes/c/s/v"
    lines = [row.getMessage() for row in caplog.records if row.getMessage().startswith(what)]
    assert [line.partition(" after ")[0] for line in lines] == [f"{what}: 503", f"{what}: 200"]
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "first",
    [
        refusal(429, "RESOURCE_EXHAUSTED"),
        refusal(503, "TEMPORARILY_UNAVAILABLE"),
        refusal(500, "INTERNAL_ERROR"),
        httpx.Response(502, html="<html>"),
        httpx.Response(504),
        page(),
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.RemoteProtocolError("illegal status line"),
        httpx.Response(200, stream=Played(b'{"contents"', httpx.ReadError("reset"))),
        httpx.Response(200, stream=Played(b'{"contents"', httpx.RemoteProtocolError("peer closed"))),
        ConnectionResetError(104, "reset"),
    ],
    ids=repr,
)
async def test_what_passes_is_tried_again(first: Answer, autojump_clock: Clock) -> None:
    metrics = Metrics()
    async with scripted([first, reply(EMPTY)], metrics=metrics) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, FOLDER)
    assert len(sent.requests) == 2
    assert metrics.get("remote.calls", kind="listing") == 2
    assert metrics.get("remote.retries") == 1


@pytest.mark.parametrize(
    "answer, kind",
    [
        (refusal(404, "NOT_FOUND"), NotFound),
        (refusal(403, "PERMISSION_DENIED"), PermissionDenied),
        (refusal(403, 403, "Invalid access token."), InvalidToken),
        (refusal(401, 401), InvalidToken),
        (refusal(400, "INVALID_PARAMETER_VALUE"), RequestRejected),
        (refusal(501, "NOT_IMPLEMENTED"), ServerFailure),
        (httpx.Response(302, headers={"location": "https://evil.example/"}), NotTheService),
        (httpx.Response(307, headers={"location": "http://169.254.169.254/"}), NotTheService),
        (httpx.Response(302, headers={"location": "file:///etc/passwd"}), NotTheService),
        (reply([]), ProtocolViolation),
        (reply({"hello": 1}), ProtocolViolation),
        (httpx.Response(200, content=b"not json"), ProtocolViolation),
        (httpx.LocalProtocolError("Illegal header value b'Bearer dapi…'"), RequestRejected),
    ],
    ids=repr,
)
async def test_what_does_not_pass_is_not_tried_again(answer: Answer, kind: type[RemoteError]) -> None:
    async with scripted([answer]) as (workspace, sent):
        with pytest.raises(kind) as caught:
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert type(caught.value) is kind
    assert len(sent.requests) == 1


@pytest.mark.parametrize(
    "answer, kind, tries",
    [
        (lambda: refusal(500, "INTERNAL_ERROR"), ServerFailure, 3),
        (lambda: httpx.Response(502), ServerFailure, 5),
        (page, NotTheService, 3),
        (lambda: httpx.ConnectError("refused"), Unreachable, 5),
        (lambda: httpx.ProxyError("407"), Unreachable, 5),
        (lambda: httpx.ReadError("reset"), ConnectionLost, 4),
        (lambda: refusal(503, "TEMPORARILY_UNAVAILABLE"), Throttled, None),
        (throttled, Throttled, None),
        (lambda: throttled("1"), Throttled, None),
    ],
)
async def test_in_the_end_it_is_an_error_within_the_budget(
    answer: Callable[[], Answer], kind: type[RemoteError], tries: int | None, autojump_clock: Clock
) -> None:
    metrics = Metrics()
    async with scripted(lambda _: answer(), metrics=metrics) as (workspace, sent):
        with pytest.raises(kind) as caught:
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert type(caught.value) is kind
    assert trio.current_time() <= Patience().total
    assert tries is None or len(sent.requests) == tries
    assert 3 <= len(sent.requests) <= 20
    assert metrics.get("remote.gave_up", error=kind.__name__) == 1


# --- Retry-After ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers, details, least",
    [
        ({"retry-after": "7"}, [], 7.0),
        ({"retry-after": http_date(NOW + 7), "date": http_date(NOW)}, [], 7.0),
        ({"retry-after": http_date(NOW + 507), "date": http_date(NOW + 500)}, [], 7.0),
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "7.5s"}], 7.5),
    ],
)
async def test_retry_after_is_honoured_in_each_of_its_forms(
    status: int,
    headers: dict[str, str],
    details: list[dict[str, str]],
    least: float,
    autojump_clock: Clock,
) -> None:
    first = refusal(status, "REQUEST_LIMIT_EXCEEDED", headers=headers, details=details)
    async with scripted([first, reply(EMPTY)]) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, FOLDER)
    assert least <= sent.times[1] - sent.times[0] <= least + 1


@pytest.mark.parametrize("value", ["-5", "nan", "inf", "-inf", "1e308", "soon", "", "0", "\u0663", "0x10"])
async def test_a_retry_after_that_says_nothing_leaves_our_own_pause(
    value: str, autojump_clock: Clock
) -> None:
    first = httpx.Response(429, headers=[(b"retry-after", value.encode())])
    async with scripted([first, reply(EMPTY)]) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, FOLDER)
    assert 0 < sent.times[1] - sent.times[0] <= 1


@pytest.mark.parametrize("value", ["25", "3600", "9" * 30, "9" * 300, http_date(NOW + 86400)])
async def test_a_retry_after_beyond_the_budget_is_reported_at_once(value: str, autojump_clock: Clock) -> None:
    async with scripted(lambda _: throttled(value)) as (workspace, sent):
        with pytest.raises(Throttled):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert len(sent.requests) == 1
    assert trio.current_time() == 0


async def test_a_retry_after_that_just_fits_is_waited_for(autojump_clock: Clock) -> None:
    async with scripted([throttled("24"), reply(EMPTY)]) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, FOLDER)
    assert 24 <= sent.times[1] <= 25


async def test_half_the_calls_throttled_costs_time_not_errors(autojump_clock: Clock) -> None:
    count = 0

    def script(_request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return throttled() if count % 2 else reply(EMPTY)

    async with scripted(script) as (workspace, sent), trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(workspace.files.fetch_page, TOKEN, FOLDER)
    assert len(sent.requests) <= 2 * 50 + 10


# --- bodies --------------------------------------------------------------------------------------


async def test_the_length_of_a_page_is_not_taken_for_a_files() -> None:
    """A portal answers a HEAD, too. A page that is a file comes with its time."""
    shown = {"content-type": "text/html", "content-length": "512"}
    async with scripted(lambda _: httpx.Response(200, headers=shown)) as (workspace, _):
        with pytest.raises(NotTheService):
            await workspace.files.fetch_version(TOKEN, FOLDER.child("f"))
    dated = {**shown, "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT"}
    async with scripted(lambda _: httpx.Response(200, headers=dated)) as (workspace, _):
        assert (await workspace.files.fetch_version(TOKEN, FOLDER.child("f"))).size == 512


async def test_an_endless_listing_body_is_cut_off() -> None:
    body = Played(b" " * 2**20, repeat=True)
    async with scripted(lambda _: httpx.Response(200, stream=body)) as (workspace, sent):
        with pytest.raises(ProtocolViolation):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert len(sent.requests) == 1
    assert body.sent <= 33 * 2**20
    assert body.is_closed


async def test_an_endless_error_body_is_cut_off() -> None:
    body = Played(b"x" * 2**16, repeat=True)
    async with scripted(lambda _: httpx.Response(404, stream=body)) as (workspace, _sent):
        with pytest.raises(NotFound):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert body.sent <= 2**18
    assert body.is_closed


async def test_a_compressed_body_is_not_unpacked() -> None:
    answer = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Played(b"\x1f\x8b\x08junk"))
    async with scripted([answer]) as (workspace, _):
        with pytest.raises(ProtocolViolation):
            await workspace.files.fetch_page(TOKEN, FOLDER)


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN.reveal()}'"),
        httpx.ConnectError(f"proxy said {TOKEN.reveal()}"),
        refusal(400, "BAD_REQUEST", f"you sent Bearer {TOKEN.reveal()}"),
        refusal(403, "PERMISSION_DENIED", f"you sent Bearer {TOKEN.reveal()}"),
        refusal(400, TOKEN.reveal(), "…"),
        httpx.Response(403, headers={"x-databricks-reason-phrase": TOKEN.reveal()}),
        httpx.Response(418, text=f"TEAPOT: {TOKEN.reveal()}"),
        refusal(500, "INTERNAL_ERROR", TOKEN.reveal()),
        httpx.Response(302, headers={"location": f"/?t={TOKEN.reveal()}"}),
    ],
    ids=range(9),
)
async def test_no_error_shows_the_token(
    answer: Answer, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with scripted(lambda _: answer) as (workspace, _):
        with pytest.raises(RemoteError) as caught:
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert TOKEN.reveal() not in str(caught.value)
    assert TOKEN.reveal() not in caplog.text
    for frame in locals_of_ours(caught.value):
        assert TOKEN.reveal() not in frame
    # Theirs hold the request.
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, RemoteError | None)


def locals_of_ours(error: BaseException) -> list[str]:
    """What a traceback that shows local variables would show of the driver's frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in shown.stack if "/fuse4dbricks/workspace/" in frame.filename]
    assert ours
    return [str(frame.locals) for frame in ours]


async def test_cookies_do_not_pass_from_one_user_to_the_next() -> None:
    first = reply(EMPTY, headers={"set-cookie": "session=alice; Path=/"})
    async with scripted([first, reply(EMPTY)]) as (workspace, sent):
        for _ in range(2):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert "cookie" not in sent.requests[1].headers


# --- what the network says -----------------------------------------------------------------------


async def test_an_untrusted_certificate_is_said_and_not_tried_again() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("…")
    error.__cause__ = cause
    async with scripted([error]) as (workspace, sent):
        with pytest.raises(Unreachable, match="self-signed certificate"):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert len(sent.requests) == 1


async def test_a_path_too_long_for_a_url_is_not_sent() -> None:
    deep = RemotePath(("c", "s", "v", *["\u00e9" * 127] * 100))
    async with scripted([reply(EMPTY)]) as (workspace, sent):
        with pytest.raises(RequestRejected):
            await workspace.files.fetch_page(TOKEN, deep)
    assert sent.requests == []


@pytest.mark.parametrize(
    "date, expected",
    [
        (http_date(NOW + 3600), NOW + 3600),
        (http_date(NOW - 3600), NOW - 3600),
        (http_date(NOW + 10 * 86400), NOW),
        ("garbage", NOW),
        (None, NOW),
    ],
)
async def test_the_servers_clock_counts_while_it_is_sane(
    date: str | None, expected: float, autojump_clock: Clock
) -> None:
    headers = {} if date is None else {"date": date}
    async with scripted([reply(EMPTY, headers=headers)]) as (workspace, _):
        observed = (await workspace.files.fetch_page(TOKEN, FOLDER)).observed_at
    assert observed == pytest.approx(expected, abs=1)
