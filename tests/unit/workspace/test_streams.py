"""A range as one stream: the right bytes, over as many replies as it takes, or one error."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidToken,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    Throttled,
    VersionChanged,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace import Limits, Ticket, Workspace
from tests.support.scripted import (
    MODIFIED,
    TOKEN,
    Answer,
    Played,
    Script,
    ScriptedTransport,
    http_date,
    page,
    refusal,
    reply,
    scripted,
    serve_range,
)
from tests.support.ways import pieces_of

FILE = RemotePath(("c", "s", "v", "dir", "a b?#%\u00fc"))
CONTENT = bytes(index * 7 % 251 for index in range(100_000))
VERSION = Version(len(CONTENT), MODIFIED)
Clock = trio.testing.MockClock

#: Bytes that the reader has room for at a time; 0: he takes what comes.
rooms = [0]


@pytest.fixture(autouse=True, scope="module", params=[0, 999, 2 * len(CONTENT)])
def room(request: pytest.FixtureRequest) -> int:
    rooms[0] = request.param
    return rooms[0]


RESET = httpx.ReadError("reset")


def replies(*answers: Callable[[httpx.Request], Answer]) -> Script:
    """One answer after another; the last for ever."""
    left = list(answers)

    def script(request: httpx.Request) -> Answer:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer(request)

    return script


def right(request: httpx.Request) -> httpx.Response:
    return serve_range(request, CONTENT)


def cut(after: int, end: Exception | None) -> Callable[[httpx.Request], Answer]:
    """A right reply whose body ends after ``after`` bytes, if it is longer, with an error or without one."""

    def answer(request: httpx.Request) -> httpx.Response:
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        part = CONTENT[first : last + 1]
        is_cut = len(part) > after
        return serve_range(request, CONTENT, body=Played(part[:after], *([end] if end and is_cut else [])))

    return answer


def stalled_after(count: int) -> Callable[[httpx.Request], Answer]:
    """A right reply whose body falls silent after ``count`` bytes."""

    def answer(request: httpx.Request) -> httpx.Response:
        first = int(request.headers["range"].removeprefix("bytes=").split("-")[0])
        return serve_range(request, CONTENT, body=Played(CONTENT[first : first + count], 1e9))

    return answer


def wrong(**headers: str | None) -> Callable[[httpx.Request], Answer]:
    return lambda request: serve_range(request, CONTENT, **headers)  # type: ignore[arg-type]


async def read(
    workspace: Workspace, start: int = 0, stop: int = len(CONTENT), version: Version = VERSION
) -> bytes:
    async with workspace.files.stream_range(TOKEN, FILE, start, stop, version, Ticket()) as pieces:
        return b"".join([piece async for piece in pieces_of(pieces, rooms[0])])


async def read_into(got: list[bytes], workspace: Workspace, stop: int) -> None:
    async with workspace.files.stream_range(TOKEN, FILE, 0, stop, VERSION, Ticket()) as pieces:
        async for piece in pieces_of(pieces, rooms[0]):
            got.append(piece)  # noqa: PERF401 - what came before an error counts


def asked(sent: ScriptedTransport) -> list[str]:
    return [request.headers["range"].removeprefix("bytes=") for request in sent.requests]


async def test_one_call_for_the_bytes_of_one_version() -> None:
    metrics = Metrics()
    async with scripted(right, metrics=metrics) as (workspace, sent):
        assert await read(workspace, 1000, 5000) == CONTENT[1000:5000]
    (request,) = sent.requests
    assert request.url.raw_path == b"/api/2.0/fs/files/Volumes/c/s/v/dir/a%20b%3F%23%25%C3%BC"
    assert request.headers["range"] == "bytes=1000-4999"
    assert request.headers["if-unmodified-since"] == http_date(MODIFIED)
    assert request.headers["accept-encoding"] == "identity"
    assert metrics.get("remote.calls", kind="range") == 1
    assert metrics.get("remote.bytes") == 4000


async def test_without_a_time_no_condition_is_made_up() -> None:
    async with scripted(right) as (workspace, sent):
        await read(workspace, version=Version(len(CONTENT), None))
    assert "if-unmodified-since" not in sent.requests[0].headers


async def test_an_empty_range_is_not_asked_for() -> None:
    async with scripted(right) as (workspace, sent):
        assert await read(workspace, 0, 0, Version(0, MODIFIED)) == b""
        assert await read(workspace, 7, 7) == b""
    assert sent.requests == []


@pytest.mark.parametrize("start, stop", [(-1, 5), (5, 4), (0, len(CONTENT) + 1)])
async def test_a_range_that_the_version_does_not_have(start: int, stop: int) -> None:
    async with scripted(right) as (workspace, _):
        with pytest.raises(ValueError, match="bytes"):
            await read(workspace, start, stop)


@pytest.mark.parametrize(
    "end", [RESET, httpx.RemoteProtocolError("peer closed"), None], ids=["reset", "incomplete", "short"]
)
async def test_a_broken_body_goes_on_where_it_broke(end: Exception | None, autojump_clock: Clock) -> None:
    async with scripted(replies(cut(30_000, end), cut(30_000, end), right)) as (workspace, sent):
        assert await read(workspace, 100) == CONTENT[100:]
    assert asked(sent) == ["100-99999", "30100-99999", "60100-99999"]


async def test_a_stalled_body_goes_on_where_it_stalled(autojump_clock: Clock) -> None:
    async with scripted(replies(stalled_after(500), right)) as (workspace, sent):
        assert await read(workspace) == CONTENT
    assert asked(sent) == ["0-99999", "500-99999"]
    assert 10 <= trio.current_time() <= 11


async def test_a_stream_that_keeps_breaking_goes_on_while_there_is_progress(autojump_clock: Clock) -> None:
    async with scripted(cut(30_000, RESET)) as (workspace, sent):
        for _ in range(10):
            assert await read(workspace) == CONTENT
    assert len(sent.requests) == 40


async def test_a_byte_per_reply_is_no_progress(autojump_clock: Clock) -> None:
    async with scripted(cut(1, RESET)) as (workspace, sent):
        with pytest.raises(ConnectionLost):
            await read(workspace)
    assert len(sent.requests) <= 5


@pytest.mark.parametrize("pace", [(0.5, b"x"), (5.0, b"x" * 100)])
async def test_a_slow_loris_ends_within_the_budget(pace: tuple[float, bytes], autojump_clock: Clock) -> None:
    async with scripted(lambda r: serve_range(r, CONTENT, body=Played(*pace, repeat=True))) as (workspace, _):
        with pytest.raises(DeadlineExceeded):
            await read(workspace)
    # Each byte that came bought the millisecond that it takes at the least tolerable rate.
    assert trio.current_time() <= 25.1


async def test_a_slow_but_steady_body_may_take_minutes(autojump_clock: Clock) -> None:
    slow = Played(*(item for at in range(0, len(CONTENT), 2000) for item in (1.5, CONTENT[at : at + 2000])))
    async with scripted(lambda r: serve_range(r, CONTENT, body=slow)) as (workspace, sent):
        assert await read(workspace) == CONTENT
    assert len(sent.requests) == 1
    assert trio.current_time() > 60


async def test_a_slow_reader_is_not_a_slow_server(autojump_clock: Clock) -> None:
    body = Played(*(CONTENT[at : at + 1000] for at in range(0, len(CONTENT), 1000)))
    got = b""
    async with (
        scripted(lambda r: serve_range(r, CONTENT, body=body)) as (workspace, sent),
        workspace.files.stream_range(TOKEN, FILE, 0, len(CONTENT), VERSION, Ticket()) as pieces,
    ):
        async for piece in pieces:
            got += piece
            await trio.sleep(60)
    assert got == CONTENT
    assert len(sent.requests) == 1


# --- what is not the range that was asked for ----------------------------------------------------


def whole_file(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Played(CONTENT), headers={"last-modified": http_date(MODIFIED)})


@pytest.mark.parametrize(
    "first",
    [
        whole_file,
        lambda _: page(),
        wrong(content_range="bytes 0-99/100000", content_length="100"),
        wrong(content_range="bytes 0-998/100000"),
        wrong(content_range=None),
        wrong(content_length="999"),
        wrong(content_encoding="gzip"),
        wrong(content_type="multipart/byteranges; boundary=b"),
        wrong(last_modified="garbage"),
        wrong(last_modified=None),
        lambda _: httpx.Response(204),
        lambda r: serve_range(r, CONTENT, body=Played(b"x" * 1001)),
        lambda r: serve_range(r, CONTENT, body=Played(b"x" * 900, b"x" * 900)),
        lambda r: serve_range(r, CONTENT, body=Played()),
    ],
    ids=range(14),
)
async def test_a_wrong_reply_is_tried_again_and_none_of_it_is_kept(
    first: Callable[[httpx.Request], Answer], autojump_clock: Clock
) -> None:
    async with scripted(replies(first, right)) as (workspace, sent):
        got = await read(workspace, 1000, 2000)
    assert got[-100:] == CONTENT[1900:2000]
    assert len(got) == 1000
    assert len(sent.requests) == 2
    async with scripted(first) as (workspace, sent):
        with pytest.raises(ProtocolViolation):
            await read(workspace, 1000, 2000)
    assert 2 <= len(sent.requests) <= 4


async def test_surplus_bytes_are_never_handed_on(autojump_clock: Clock) -> None:
    def surplus(request: httpx.Request) -> httpx.Response:
        return serve_range(request, CONTENT, body=Played(CONTENT[:600], CONTENT[600:1000], b"surplus"))

    got: list[bytes] = []
    async with scripted(surplus) as (workspace, _):
        with pytest.raises(ProtocolViolation):
            await read_into(got, workspace, 1000)
    # Not even the piece before: a body that is too long is not known to be right.
    assert b"".join(got) == CONTENT[:600]


async def test_a_whole_file_by_200_is_fine_when_the_whole_file_was_asked_for() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        headers = {"content-length": str(len(CONTENT)), "last-modified": http_date(MODIFIED)}
        return httpx.Response(200, stream=Played(CONTENT), headers=headers)

    async with scripted(answer) as (workspace, sent):
        assert await read(workspace) == CONTENT
    assert asked(sent) == ["0-99999"]


async def test_a_redirect_is_not_followed() -> None:
    async with scripted([httpx.Response(302, headers={"location": "/login.html"})]) as (workspace, sent):
        with pytest.raises(ProtocolViolation):
            await read(workspace)
    assert len(sent.requests) == 1


# --- another version -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(412),
        lambda _: httpx.Response(416, headers={"content-range": "bytes */10"}),
        lambda r: serve_range(r, CONTENT, modified=MODIFIED + 1),
        lambda r: serve_range(r, CONTENT + b"more"),
        lambda r: serve_range(r, CONTENT[:50_000]),
    ],
    ids=["412", "416", "later", "longer", "shorter"],
)
async def test_a_changed_file_is_said_at_once(answer: Callable[[httpx.Request], Answer]) -> None:
    async with scripted(answer) as (workspace, sent):
        with pytest.raises(VersionChanged):
            await read(workspace)
    assert len(sent.requests) == 1


async def test_a_file_that_changes_in_the_middle_gives_bytes_of_one_version(autojump_clock: Clock) -> None:
    other = bytes(len(CONTENT))

    def changed(request: httpx.Request) -> httpx.Response:
        return serve_range(request, other, modified=MODIFIED + 60)

    got: list[bytes] = []
    async with scripted(replies(cut(30_000, RESET), changed)) as (workspace, _):
        with pytest.raises(VersionChanged):
            await read_into(got, workspace, len(CONTENT))
    assert b"".join(got) == CONTENT[:30_000]


async def test_a_change_within_the_second_shows_by_the_etag(autojump_clock: Clock) -> None:
    def tagged(request: httpx.Request) -> httpx.Response:
        return serve_range(request, CONTENT, body=Played(CONTENT[:30_000], RESET), etag='"1"')

    async with scripted(replies(tagged, wrong(etag='"2"'))) as (workspace, _):
        with pytest.raises(VersionChanged):
            await read(workspace)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer, kind",
    [
        (lambda _: refusal(404, "NOT_FOUND"), NotFound),
        (lambda _: refusal(403, "PERMISSION_DENIED"), PermissionDenied),
        (lambda _: refusal(403, 403, "Invalid access token."), InvalidToken),
        (lambda _: refusal(429, "X", headers={"retry-after": "3600"}), Throttled),
    ],
)
async def test_refusals(answer: Callable[[httpx.Request], Answer], kind: type[RemoteError]) -> None:
    async with scripted(answer) as (workspace, sent):
        with pytest.raises(kind):
            await read(workspace)
    assert len(sent.requests) == 1


async def test_a_403_without_a_word_is_settled_by_asking_who_we_are() -> None:
    def script(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Me"):
            return reply({"id": "1", "userName": "a@b"})
        return httpx.Response(403)

    async with scripted(script) as (workspace, sent):
        with pytest.raises(PermissionDenied):
            await read(workspace)
    assert len(sent.requests) == 2


# --- leaving early -------------------------------------------------------------------------------


async def test_leaving_closes_the_reply_and_frees_the_slot(autojump_clock: Clock) -> None:
    body = Played(CONTENT[:10], 1.0, repeat=True)
    limits = Limits(files_in_flight=1, data_in_flight=1)
    async with scripted(replies(lambda r: serve_range(r, CONTENT, body=body), right), limits=limits) as (
        workspace,
        _sent,
    ):
        async with workspace.files.stream_range(TOKEN, FILE, 0, len(CONTENT), VERSION, Ticket()) as pieces:
            assert await anext(pieces) == CONTENT[:10]
        assert body.is_closed
        assert await read(workspace) == CONTENT
    assert trio.current_time() < 1


@pytest.mark.parametrize("seconds", [0, 0.5, 1.5, 2.5])
async def test_cancelling_at_any_point_frees_the_slot(seconds: float, autojump_clock: Clock) -> None:
    async def slow(request: httpx.Request) -> httpx.Response:
        await trio.sleep(1)
        return serve_range(request, CONTENT, body=Played(1.0, CONTENT[:1000], 1.0, CONTENT[1000:]))

    limits = Limits(files_in_flight=1, data_in_flight=1)
    async with scripted(slow, limits=limits) as (workspace, _sent):
        with trio.move_on_after(seconds) as scope:
            await read(workspace)
        assert scope.cancelled_caught
        assert await read(workspace) == CONTENT


async def test_the_last_piece_comes_with_the_slot_already_free(autojump_clock: Clock) -> None:
    limits = Limits(files_in_flight=1, data_in_flight=1)
    async with (
        scripted(right, limits=limits) as (workspace, _sent),
        workspace.files.stream_range(TOKEN, FILE, 0, 10, VERSION, Ticket()) as pieces,
    ):
        assert await anext(pieces) == CONTENT[:10]
        assert await read(workspace) == CONTENT


# --- whatever the server does --------------------------------------------------------------------


faults = st.sampled_from(
    [
        right,
        cut(30_000, RESET),
        cut(50_000, None),
        cut(0, RESET),
        whole_file,
        lambda _: page(),
        lambda _: refusal(503, "TEMPORARILY_UNAVAILABLE"),
        lambda _: refusal(429, "X", headers={"retry-after": "1"}),
        lambda _: refusal(500, "INTERNAL_ERROR"),
        lambda _: httpx.ConnectError("refused"),
        wrong(content_range="bytes 0-9/100000"),
        lambda r: serve_range(r, CONTENT, modified=MODIFIED + 9),
        stalled_after(1),
    ]
)


@given(st.lists(faults, max_size=8), st.integers(0, 99_000), st.integers(1, 1000))
def test_whatever_the_server_does_it_is_the_right_bytes_or_an_error(
    plan: list[Callable[[httpx.Request], Answer]], start: int, length: int
) -> None:
    async def run() -> None:
        async with scripted(replies(*plan, right)) as (workspace, _sent):
            try:
                got = await read(workspace, start, start + length)
            except RemoteError:
                return
            assert got == CONTENT[start : start + length]

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
