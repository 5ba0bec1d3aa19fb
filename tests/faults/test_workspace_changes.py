"""Files that change, listings that lie, principals who may not (faults.md N1, N10, databricks-api 5.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.devworkspace import effects
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    InvalidToken,
    PermissionDenied,
    ProtocolViolation,
    VersionChanged,
)
from fuse4dbricks.paths import ROOT
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace import Limits, Ticket, Urgency, Workspace
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
        page = await workspace.files.fetch_page(token, VOLUME, ticket=Ticket(Urgency.AHEAD))
        assert page.entries
