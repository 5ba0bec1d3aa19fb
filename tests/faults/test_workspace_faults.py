"""The real client against the local workspace, over real sockets, fault by fault (faults.md N1 to N11).

Each fault must have been played (``fired``), and its outcome is the right bytes or the error that the design names.
Time limits are short here, so that running into them costs tenths of a second; that they hold to the figure is
tested with a mock clock beside the client's unit tests.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from fuse4dbricks.clock import SystemClock
from fuse4dbricks.devworkspace import body_effects, effects
from fuse4dbricks.devworkspace.certificates import make_certificate
from fuse4dbricks.devworkspace.faults import Effect
from fuse4dbricks.devworkspace.gates import ConcurrencyGate, QpsGate
from fuse4dbricks.devworkspace.server import LocalWorkspace
from fuse4dbricks.entry import Kind, Version
from fuse4dbricks.errors import (
    DeadlineExceeded,
    InvalidToken,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    ServerFailure,
    Throttled,
    Unreachable,
    VersionChanged,
)
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace import Limits, Patience, Ticket, Urgency, Workspace
from tests.support.workspace import Served, serve

VOLUME = RemotePath(("main", "sales", "raw"))
FILE = VOLUME.child("a b?#%.bin")
CONTENT = random.Random(1).randbytes(300_000)
MODIFIED = 1_721_302_400
GET = "fs.files.get"
LIST = "fs.directories.list"
#: A thousandth of a person's patience; the minimum rate is what a drip of a byte per 50 ms is far below.
HASTY = Patience(connect=1.0, response=0.4, stall=0.3, total=2.0, min_rate=10_000, first_pause=0.01)


def put(server: Served, content: bytes = CONTENT, modified: float = MODIFIED) -> None:
    file = server.volume / FILE.name
    file.write_bytes(content)
    os.utime(file, (modified, modified))


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with serve(tmp_path / "tree") as running:
        put(running)
        yield running


@asynccontextmanager
async def client(
    server: LocalWorkspace, *, metrics: Metrics | None = None, patience: Patience = HASTY, **options: Any
) -> AsyncIterator[tuple[Workspace, Token]]:
    async with Workspace.at(
        server.url, clock=SystemClock(), metrics=metrics or Metrics(), patience=patience, **options
    ) as workspace:
        yield workspace, Token(server.token)


async def read(
    workspace: Workspace,
    token: Token,
    start: int = 0,
    stop: int = len(CONTENT),
    version: Version | None = None,
) -> bytes:
    version = version or Version(len(CONTENT), MODIFIED)
    async with workspace.files.stream_range(token, FILE, start, stop, version, Ticket()) as pieces:
        return b"".join([piece async for piece in pieces])


# --- the right way first -------------------------------------------------------------------------


async def test_every_call_against_a_server_that_is_well(server: Served) -> None:
    (server.volume / "folder").mkdir()
    async with client(server) as (workspace, token):
        principal = await workspace.identity.fetch_principal(token)
        assert principal.user_name == server.user
        for path, name, kind in ((ROOT, "main", Kind.CATALOG), (VOLUME.parent, "raw", Kind.VOLUME)):
            names = [
                (entry.name, entry.kind) for entry in await workspace.catalog.fetch_children(token, path)
            ]
            assert (name, kind) in names
        assert (await workspace.catalog.fetch_securable(token, RemotePath(("MAIN",)))).name == "main"
        await workspace.catalog.fetch_effective_permissions(token, VOLUME, principal)
        page = await workspace.files.fetch_page(token, VOLUME)
        listed = {entry.name: entry for entry in page.entries}
        assert listed["folder"].kind is Kind.DIRECTORY
        assert listed[FILE.name].version == Version(len(CONTENT), MODIFIED)
        assert await workspace.files.fetch_version(token, FILE) == listed[FILE.name].version
        assert await workspace.files.fetch_directory_exists(token, VOLUME.child("folder"))
        assert not await workspace.files.fetch_directory_exists(token, FILE)
        assert await read(workspace, token) == CONTENT
        assert await read(workspace, token, 1000, 2000) == CONTENT[1000:2000]
        assert (await workspace.files.fetch_download_url(token, FILE)).url
    assert server.counts[GET] == 2
    assert all(record.headers["accept-encoding"] == "identity" for record in server.journal.get_log(GET))


async def test_over_tls(tmp_path: Path) -> None:
    with serve(tmp_path, tls=True) as server:
        put(server)
        trust = ssl.create_default_context(cafile=str(server.authority_file))
        async with client(server, verify=trust) as (workspace, token):
            assert await read(workspace, token) == CONTENT


async def test_names_of_all_sorts_reach_the_file_they_name(server: Served) -> None:
    names = [
        "#",
        "?",
        "%",
        "%2e%2e%2f",
        "&=+;",
        "\u00fc",
        "e\u0301",
        "\U0001f600",
        " ",
        "\n",
        "-",
        "~",
        "\\",
        "'\"`",
        "x" * 255,
    ]
    for name in names:
        (server.volume / name).write_bytes(name.encode())
    async with client(server) as (workspace, token):
        page = await workspace.files.fetch_page(token, VOLUME)
        assert {entry.name for entry in page.entries} >= set(names)
        for name in names:
            version = await workspace.files.fetch_version(token, VOLUME.child(name))
            ticket = Ticket()
            async with workspace.files.stream_range(
                token, VOLUME.child(name), 0, version.size, version, ticket
            ) as pieces:
                assert b"".join([piece async for piece in pieces]) == name.encode()


async def test_local_names_cannot_leave_their_place(server: Served) -> None:
    async with client(server) as (workspace, token):
        for name in ("c?max_results=1", "main#x", "%2e%2e%2f%2e%2e", "main?", "ma%69n", "../../2.0"):
            with pytest.raises(NotFound):
                await workspace.catalog.fetch_securable(token, RemotePath((name,)))
    assert {record.kind for record in server.log} <= {"uc.catalogs.get"}


# --- what passes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "effect",
    [
        effects.Status(status=429, retry_after="0"),
        effects.Status(status=429, retry_after="1"),
        effects.Status(status=429, retry_delay=0.5),
        effects.Status(status=429, retry_after="nan"),
        effects.Status(status=503, error_code=None),
        effects.Status(status=500),
        effects.Status(status=502),
        effects.Status(status=504),
        effects.Page(),
        effects.Page(status=502),
        effects.Reset(),
        effects.Reset(after_bytes=0),
        effects.Reset(after_bytes=1000),
        effects.Reset(after_bytes=199_999),
        effects.Hang(),
        effects.Hang(after_bytes=1000),
        effects.IgnoreRange(),
        effects.OtherRange("bytes=0-9"),
        effects.OtherRange("bytes=5-200004"),
        effects.Headers({"content-range": "bytes 0-9/300000"}),
        effects.Headers({"content-range": None}),
        effects.Headers({"last-modified": None}),
        effects.Headers({"last-modified": "garbage"}),
        effects.Headers({"content-type": "multipart/byteranges; boundary=x"}),
        effects.Headers({}, status=200),
        body_effects.ShortBody(keep=1000),
        body_effects.ShortBody(keep=1000, framing="cut"),
        body_effects.ShortBody(keep=1000, framing="close"),
        body_effects.ShortBody(keep=0, framing="close"),
        body_effects.LongBody(extra=1),
        body_effects.LongBody(extra=10_000_000),
        body_effects.Gzip(),
        body_effects.Gzip(bomb=50_000_000),
        body_effects.Garbled(),
        body_effects.Drip(0.05),
        body_effects.DripHeaders(0.05),
    ],
    ids=repr,
)
async def test_a_fault_that_passes_costs_a_retry_and_no_wrong_byte(server: Served, effect: Effect) -> None:
    fault = server.faults.add(effect, kind=GET, times=1)
    async with client(server) as (workspace, token):
        assert await read(workspace, token, 7, 200_007) == CONTENT[7:200_007]
        assert fault.fired == 1
        assert server.counts[GET] == 2
        # The connection of the broken reply did not survive it.
        assert await read(workspace, token) == CONTENT


ANY_REPLY = [
    effects.Status(status=429, retry_after="0"),
    effects.Status(status=503),
    effects.Reset(),
    effects.Hang(),
    body_effects.DripHeaders(0.05),
]
WITH_BODY = [effects.Page(), effects.Reset(after_bytes=3), body_effects.ShortBody(keep=3, framing="cut")]


@pytest.mark.parametrize(
    "kind, effect",
    [
        *(("fs.files.head", effect) for effect in ANY_REPLY),
        *(
            (kind, effect)
            for kind in (LIST, "uc.catalogs.list", "scim.me")
            for effect in ANY_REPLY + WITH_BODY
        ),
    ],
    ids=repr,
)
async def test_metadata_calls_survive_too(server: Served, kind: str, effect: Effect) -> None:
    fault = server.faults.add(effect, kind=kind, times=1)
    async with client(server) as (workspace, token):
        await call(workspace, token, kind)
    assert fault.fired == 1
    assert server.counts[kind] == 2


async def call(workspace: Workspace, token: Token, kind: str) -> None:
    match kind:
        case "scim.me":
            await workspace.identity.fetch_principal(token)
        case "uc.catalogs.list":
            assert await workspace.catalog.fetch_children(token, ROOT)
        case "fs.files.head":
            await workspace.files.fetch_version(token, FILE)
        case _:
            assert (await workspace.files.fetch_page(token, VOLUME)).entries


# --- what does not pass --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "effect, kind",
    [
        (effects.Status(status=429, retry_after="3600"), Throttled),
        (effects.Status(status=429), Throttled),
        (effects.Status(status=503), Throttled),
        (effects.Status(status=500), ServerFailure),
        (effects.Status(status=404), NotFound),
        (effects.Status(status=412), VersionChanged),
        (effects.Status(status=403, error_code="PERMISSION_DENIED"), PermissionDenied),
        (effects.Status(status=403, error_code=403), InvalidToken),
        (effects.Page(), ProtocolViolation),
        (effects.Redirect(), ProtocolViolation),
        (effects.Redirect("http://169.254.169.254/"), ProtocolViolation),
        (effects.Redirect("file:///etc/passwd"), ProtocolViolation),
        (effects.Reset(), ServerFailure),
        (effects.Reset(after_bytes=10), ServerFailure),
        (effects.Hang(), DeadlineExceeded),
        (effects.Hang(after_bytes=10), DeadlineExceeded),
        (effects.IgnoreRange(), ProtocolViolation),
        (effects.Headers({"content-range": "bytes 7-200006/300001"}), VersionChanged),
        (effects.Headers({"last-modified": "Thu, 18 Jul 2024 11:33:21 GMT"}), VersionChanged),
        (body_effects.ShortBody(keep=1000), ProtocolViolation),
        (body_effects.Drip(0.05), DeadlineExceeded),
        (body_effects.DripHeaders(0.05), DeadlineExceeded),
    ],
    ids=repr,
)
async def test_a_fault_that_stays_is_the_error_that_it_is(
    server: Served, effect: Effect, kind: type[RemoteError]
) -> None:
    fault = server.faults.add(effect, kind=GET)
    async with client(server) as (workspace, token):
        with pytest.raises(kind) as caught:
            await read(workspace, token, 7, 200_007)
        assert type(caught.value) is kind
        assert fault.fired > 0
        # Others are not affected, and when it is over nothing is left of it.
        assert (await workspace.files.fetch_page(token, VOLUME)).entries
        fault.remove()
        assert await read(workspace, token) == CONTENT


async def test_a_redirect_takes_the_token_nowhere(server: Served, tmp_path: Path) -> None:
    with serve(tmp_path / "other") as other:
        server.faults.add(effects.Redirect(f"{other.url}/api/2.0/fs/files/x", status=307))
        async with client(server) as (workspace, token):
            with pytest.raises(ProtocolViolation):
                await workspace.files.fetch_page(token, VOLUME)
            with pytest.raises(ProtocolViolation):
                await workspace.files.fetch_version(token, FILE)
        assert other.log == []


# --- N1: files that change -----------------------------------------------------------------------


async def test_a_file_that_changes_between_two_replies_is_never_mixed(server: Served) -> None:
    other = bytes(len(CONTENT))
    server.faults.add(effects.Reset(after_bytes=100_000), kind=GET, times=1)
    got = bytearray()

    async def read_while_it_changes(workspace: Workspace, token: Token) -> None:
        version = Version(len(CONTENT), MODIFIED)
        async with workspace.files.stream_range(token, FILE, 0, len(CONTENT), version, Ticket()) as pieces:
            async for piece in pieces:
                got.extend(piece)
                put(server, other, MODIFIED + 60)

    async with client(server) as (workspace, token):
        with pytest.raises(VersionChanged):
            await read_while_it_changes(workspace, token)
        assert bytes(got) == CONTENT[: len(got)]
        assert len(got) <= 100_000
        assert await read(workspace, token, version=Version(len(CONTENT), MODIFIED + 60)) == other


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1], b""])
async def test_a_file_of_another_size_is_another_version(server: Served, content: bytes) -> None:
    put(server, content)
    async with client(server) as (workspace, token):
        with pytest.raises(VersionChanged):
            await read(workspace, token)


async def test_a_change_within_the_second_shows_where_there_are_etags(server: Served) -> None:
    server.behaviour.etag = True
    async with client(server) as (workspace, token):
        version = await workspace.files.fetch_version(token, FILE)
        assert version.etag
        put(server, bytes(len(CONTENT)), MODIFIED + 0.5)
        assert (await workspace.files.fetch_version(token, FILE)).last_modified == version.last_modified
        with pytest.raises(VersionChanged):
            await read(workspace, token, version=version)


# --- N4, N7: many at once ------------------------------------------------------------------------


async def test_the_services_limits_are_never_hit(server: Served) -> None:
    gate = server.faults.add(ConcurrencyGate(10), kind="fs.*")
    rate = server.faults.add(QpsGate(100), kind="fs.*")
    server.faults.add(effects.Latency(0.01), kind="fs.*")
    metrics = Metrics()
    async with (
        client(server, metrics=metrics, patience=Patience()) as (workspace, token),
        trio.open_nursery() as nursery,
    ):
        for number in range(250):
            if number % 3:
                nursery.start_soon(read, workspace, token, number, number + 1000)
            else:
                nursery.start_soon(workspace.files.fetch_page, token, VOLUME)
    assert gate.fired == rate.fired == 250
    assert metrics.get("remote.throttled") == 0
    assert metrics.get("remote.calls") == 250
    assert server.journal.get_peaks()[GET] <= 8


async def test_a_stuck_download_does_not_hold_up_listings(server: Served) -> None:
    hang = server.faults.add(effects.Hang(), kind=GET)
    async with client(server, patience=Patience()) as (workspace, token), trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read, workspace, token)
        await until_in_flight(server, 8)
        assert (await workspace.files.fetch_page(token, VOLUME)).entries
        hang.remove()


async def until_in_flight(server: Served, count: int) -> None:
    def is_so() -> bool:
        return server.journal.wait_until(lambda journal: journal.get_in_flight()[GET] == count)

    assert await trio.to_thread.run_sync(is_so)


async def test_leaving_a_download_ends_it_for_the_server_too(server: Served) -> None:
    server.faults.add(body_effects.Bandwidth(200_000), kind=GET)
    async with client(server, limits=Limits(files_in_flight=1, data_in_flight=1)) as (workspace, token):
        version = Version(len(CONTENT), MODIFIED)
        for _ in range(3):
            async with workspace.files.stream_range(
                token, FILE, 0, len(CONTENT), version, Ticket()
            ) as pieces:
                assert CONTENT.startswith(await anext(pieces))
            await until_in_flight(server, 0)
    assert server.journal.get_bytes()[GET] < len(CONTENT)


async def test_cancelling_at_random_loses_no_slot_and_no_connection(server: Served) -> None:
    server.faults.add(body_effects.Bandwidth(5_000_000), kind=GET)
    dice = random.Random(3)
    limits = Limits(files_in_flight=4, data_in_flight=3)

    async def impatient(workspace: Workspace, token: Token, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await read(workspace, token)

    async with client(server, limits=limits, patience=Patience()) as (workspace, token):
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(impatient, workspace, token, dice.uniform(0, 0.3))
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(read, workspace, token)
                nursery.start_soon(workspace.files.fetch_page, token, VOLUME)


# --- N5, N8: no way there ------------------------------------------------------------------------


async def test_a_refused_connection(server: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with Workspace.at(
        f"http://127.0.0.1:{port}", clock=SystemClock(), metrics=Metrics(), patience=HASTY
    ) as workspace:
        with pytest.raises(Unreachable):
            await workspace.identity.fetch_principal(Token(server.token))


async def test_a_black_hole() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        url = f"https://127.0.0.1:{hole.getsockname()[1]}"
        patience = Patience(connect=0.1, response=0.5, total=1.5, first_pause=0.01)
        async with Workspace.at(url, clock=SystemClock(), metrics=Metrics(), patience=patience) as workspace:
            with pytest.raises(Unreachable):
                await workspace.identity.fetch_principal(Token("dapi0"))


async def test_a_name_that_does_not_resolve() -> None:
    url = "https://does-not-exist.invalid"
    async with Workspace.at(url, clock=SystemClock(), metrics=Metrics(), patience=HASTY) as workspace:
        with pytest.raises(Unreachable):
            await workspace.identity.fetch_principal(Token("dapi0"))


NOW = dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    "names, not_after, trusts",
    [
        (("127.0.0.1",), None, False),
        (("other.example",), None, True),
        (("127.0.0.1",), NOW - dt.timedelta(days=1), True),
    ],
    ids=["unknown authority", "another name", "expired"],
)
async def test_a_certificate_that_is_not_good_never_sees_the_token(
    tmp_path: Path, names: tuple[str, ...], not_after: dt.datetime | None, trusts: bool
) -> None:
    not_before = None if not_after is None else not_after - dt.timedelta(days=1)
    certificate = make_certificate(tmp_path / "pki", names, not_before=not_before, not_after=not_after)
    with serve(tmp_path / "tree", certificate=certificate) as server:
        trust = ssl.create_default_context()
        if trusts:
            trust.load_verify_locations(certificate.authority)
        async with client(server, verify=trust) as (workspace, token):
            with pytest.raises(Unreachable, match="certificate"):
                await workspace.identity.fetch_principal(token)
        assert server.log == []


async def test_ssl_cert_file_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path, tls=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority_file))
        async with client(server) as (workspace, token):
            assert (await workspace.identity.fetch_principal(token)).user_name == server.user


async def test_the_server_goes_away_and_comes_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with serve(tmp_path, port=port) as server:
        put(server)
        async with client(server) as (workspace, token):
            assert await read(workspace, token) == CONTENT
            server.stop()
            with pytest.raises(Unreachable):
                await read(workspace, token)
            with serve(tmp_path, port=port, token=server.token):
                assert await read(workspace, token) == CONTENT


# --- N10: hostile listings -----------------------------------------------------------------------


async def test_hostile_entries_are_left_out_and_the_rest_is_served(server: Served) -> None:
    good = {"name": "good", "is_directory": False, "file_size": 1, "last_modified": MODIFIED * 1000}
    bad: list[dict[str, Any]] = [
        *({**good, "name": name} for name in ("..", ".", "a/b", "", "a\0b", "x" * 256, "\ud800", None, 7)),
        *({**good, "name": f"s{size}", "file_size": size} for size in (-1, 2**63, True, "1")),
        *({**good, "name": f"t{time}", "last_modified": time} for time in (-1, 2**70, "now", True)),
    ]
    server.state.hostile.add(str(VOLUME), *bad, good, {**good, "path": "/Volumes/main/secret/x"})
    metrics = Metrics()
    async with client(server, metrics=metrics) as (workspace, token):
        page = await workspace.files.fetch_page(token, VOLUME)
    assert sorted(entry.name for entry in page.entries) == sorted([FILE.name, "good"])
    assert metrics.get("remote.rejected_names") == len(bad)


@pytest.mark.parametrize(
    "document", [[], None, "x", {"contents": {}}, {"contents": None}, {"error_code": "X"}]
)
async def test_json_of_the_wrong_shape_is_never_an_empty_folder(server: Served, document: object) -> None:
    server.faults.add(effects.Json(document), kind=LIST)
    async with client(server) as (workspace, token):
        with pytest.raises(ProtocolViolation):
            await workspace.files.fetch_page(token, VOLUME)
    assert server.counts[LIST] == 1


@pytest.mark.parametrize("fresh_tokens", [False, True])
async def test_catalog_pages_without_end(server: Served, fresh_tokens: bool) -> None:
    fault = server.faults.add(effects.EndlessPages(fresh_tokens=fresh_tokens), kind="uc.volumes.list")
    async with client(server, limits=Limits(catalog_per_second=10_000)) as (workspace, token):
        with pytest.raises(ProtocolViolation):
            await workspace.catalog.fetch_children(token, VOLUME.parent)
    assert 1 < fault.fired < 2000


async def test_an_empty_page_is_not_the_last_one(server: Served) -> None:
    server.behaviour.empty_pages = True
    server.behaviour.catalog_page_size = 1
    for name in ("x", "y", "z"):
        (server.volume.parent / name).mkdir()
    async with client(server) as (workspace, token):
        entries = await workspace.catalog.fetch_children(token, VOLUME.parent)
    assert sorted(entry.name for entry in entries) == ["raw", "x", "y", "z"]


# --- who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_both_signatures_of_a_bad_token(server: Served, status: Any) -> None:
    server.behaviour.bad_token = status
    bad = Token("dapi-not-good")
    async with client(server) as (workspace, _):
        for attempt in (
            workspace.identity.fetch_principal(bad),
            workspace.catalog.fetch_children(bad, ROOT),
            workspace.files.fetch_page(bad, VOLUME),
            workspace.files.fetch_version(bad, FILE),
            workspace.files.fetch_directory_exists(bad, VOLUME),
            read(workspace, bad),
        ):
            with pytest.raises(InvalidToken):
                await attempt


async def test_who_may_not_is_told_so_by_every_call(tmp_path: Path) -> None:
    with serve(tmp_path, open_to_all=False) as server:
        put(server)
        bob = Token(server.people.add_user("bob@example.com"))
        async with client(server) as (workspace, _):
            for attempt in (
                workspace.files.fetch_page(bob, VOLUME),
                workspace.files.fetch_version(bob, FILE),
                workspace.files.fetch_directory_exists(bob, VOLUME),
                read(workspace, bob),
            ):
                with pytest.raises(PermissionDenied):
                    await attempt
            server.grants.let_read("main.sales.raw", "bob@example.com")
            assert await read(workspace, bob) == CONTENT


async def test_what_is_fetched_ahead_is_served_too(server: Served) -> None:
    async with client(server) as (workspace, token):
        version = Version(len(CONTENT), MODIFIED)
        ticket = Ticket(Urgency.AHEAD)
        async with workspace.files.stream_range(token, FILE, 0, 10, version, ticket) as pieces:
            assert b"".join([piece async for piece in pieces]) == CONTENT[:10]
        page = await workspace.files.fetch_page(token, VOLUME, urgency=Urgency.AHEAD)
        assert page.entries
