"""The real client against the local workspace, over real sockets, fault by fault (faults.md N2 to N6, N9, N11).

Each fault must have been played (``fired``), and its outcome is the right bytes or the error that the design names.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace import body_effects, effects
from fuse4dbricks.devworkspace.faults import Effect
from fuse4dbricks.entry import Kind, Version
from fuse4dbricks.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidToken,
    NotFound,
    NotTheService,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    ServerFailure,
    Throttled,
    VersionChanged,
)
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace import Ticket, Workspace
from tests.support.wire_client import (
    CONTENT,
    FILE,
    GET,
    LIST,
    MODIFIED,
    VOLUME,
    client,
    put,
    read,
    server,
)
from tests.support.workspace import Served, serve

__all__ = ["server"]

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
        (effects.Redirect(), NotTheService),
        (effects.Redirect("http://169.254.169.254/"), NotTheService),
        (effects.Redirect("file:///etc/passwd"), NotTheService),
        (effects.Reset(), ConnectionLost),
        (effects.Reset(after_bytes=10), ConnectionLost),
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
