"""Listings, HEADs and download URLs: call by call."""

from __future__ import annotations

import httpx
import pytest
import trio.testing

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import NotFound, ProtocolViolation, RequestRejected, ServerFailure
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace import PageTrail, Ticket, Urgency
from tests.support.scripted import MODIFIED, NOW, TOKEN, http_date, refusal, reply, scripted

VOLUME = RemotePath(("c", "s", "v"))
FILE = VOLUME.child("a b")
URL = "/api/2.0/fs"


def file(name: str) -> dict[str, object]:
    return {"name": name, "is_directory": False, "file_size": 5, "last_modified": MODIFIED * 1000}


async def test_a_page() -> None:
    answer = reply(
        {"contents": [file("a")], "next_page_token": "n+1/="}, headers={"date": http_date(NOW + 9)}
    )
    async with scripted([answer]) as (workspace, sent):
        found = await workspace.files.fetch_page(TOKEN, VOLUME.child("d#?"))
    assert found.entries == (Entry("a", Kind.FILE, Version(5, MODIFIED)),)
    assert found.next_token == "n+1/="
    assert found.observed_at == NOW + 9
    assert sent.paths == [f"{URL}/directories/Volumes/c/s/v/d%23%3F"]


async def test_the_next_page_is_asked_for_with_the_token_as_it_came() -> None:
    metrics = Metrics()
    async with scripted([reply({})], metrics=metrics) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, VOLUME, "n+1/=&x", 1, ticket=Ticket(Urgency.AHEAD))
    assert dict(sent.requests[0].url.params) == {"page_size": "1", "page_token": "n+1/=&x"}
    assert sent.paths[0].endswith("?page_size=1&page_token=n%2B1%2F%3D%26x")
    assert metrics.get("remote.calls", kind="listing") == 1


async def test_a_page_that_is_its_own_next_page() -> None:
    async with scripted([reply({"contents": [], "next_page_token": "t"})]) as (workspace, _):
        with pytest.raises(ProtocolViolation):
            await workspace.files.fetch_page(TOKEN, VOLUME, "t")


def test_a_trail_ends_loops_of_any_length() -> None:
    trail = PageTrail("x")
    for token in ("a", "b", "c"):
        assert trail.follow(token, 1) == token
    assert trail.follow(None, 0) is None
    with pytest.raises(ProtocolViolation):
        trail.follow("a", 1)


def test_a_trail_bears_some_empty_pages_but_not_for_ever() -> None:
    trail = PageTrail("x")
    for number in range(100):
        trail.follow(f"a{number}", 0)
    trail.follow("full", 7)
    for number in range(100):
        trail.follow(f"b{number}", 0)
    with pytest.raises(ProtocolViolation):
        trail.follow("last straw", 0)


@pytest.mark.parametrize("parts", [("c", "s", "v", ".."), ("c", "s", "v", "a", ".", "b"), ("..", "s", "v")])
async def test_a_path_that_a_url_library_would_resolve_is_not_asked_for(parts: tuple[str, ...]) -> None:
    async with scripted([reply({})]) as (workspace, sent):
        with pytest.raises(NotFound):
            await workspace.files.fetch_page(TOKEN, RemotePath(parts))
    assert sent.requests == []


async def test_the_files_api_begins_at_volumes() -> None:
    async with scripted([reply({})]) as (workspace, _):
        with pytest.raises(ValueError, match="volume"):
            await workspace.files.fetch_page(TOKEN, ROOT)


async def test_the_version_of_a_file() -> None:
    headers = {"content-length": "1234", "last-modified": http_date(MODIFIED)}
    metrics = Metrics()
    async with scripted([httpx.Response(200, headers=headers)], metrics=metrics) as (workspace, sent):
        assert await workspace.files.fetch_version(TOKEN, FILE) == Version(1234, MODIFIED)
    assert [(request.method, request.url.raw_path) for request in sent.requests] == [
        ("HEAD", b"/api/2.0/fs/files/Volumes/c/s/v/a%20b")
    ]
    assert metrics.get("remote.calls", kind="head") == 1


async def test_listing_and_head_agree_on_a_version() -> None:
    headers = {"content-length": "5", "last-modified": http_date(MODIFIED)}
    async with scripted([reply({"contents": [file("a b")]}), httpx.Response(200, headers=headers)]) as (
        workspace,
        _,
    ):
        listed = (await workspace.files.fetch_page(TOKEN, VOLUME)).entries[0].version
        assert await workspace.files.fetch_version(TOKEN, FILE) == listed


async def test_a_version_seen_right_after_the_change_is_unsettled_by_the_servers_clock() -> None:
    headers = {"content-length": "5", "last-modified": http_date(NOW + 100), "date": http_date(NOW + 101)}
    async with scripted([httpx.Response(200, headers=headers)]) as (workspace, _):
        version = await workspace.files.fetch_version(TOKEN, FILE)
    assert version == Version(5, int(NOW) + 100, None, int(NOW) + 101)


@pytest.mark.parametrize("headers", [{}, {"content-length": "5", "last-modified": "soon"}])
async def test_a_head_that_tells_nothing(headers: dict[str, str]) -> None:
    async with scripted([httpx.Response(200, headers=headers | {"x-request-id": "r-1"})]) as (
        workspace,
        sent,
    ):
        with pytest.raises(ProtocolViolation) as caught:
            await workspace.files.fetch_version(TOKEN, FILE)
    assert (caught.value.status, caught.value.request_id) == (200, "r-1")
    assert len(sent.requests) == 1


async def test_a_file_that_is_not_there_costs_one_call() -> None:
    async with scripted([httpx.Response(404)]) as (workspace, sent):
        with pytest.raises(NotFound):
            await workspace.files.fetch_version(TOKEN, FILE)
    assert len(sent.requests) == 1


async def test_whether_there_is_a_folder(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted([httpx.Response(200), httpx.Response(404), httpx.Response(502)]) as (workspace, sent):
        assert await workspace.files.fetch_directory_exists(TOKEN, FILE)
        assert not await workspace.files.fetch_directory_exists(TOKEN, FILE)
        with pytest.raises(ServerFailure):
            await workspace.files.fetch_directory_exists(TOKEN, FILE)
    assert sent.requests[0].method == "HEAD"
    assert sent.paths[0] == f"{URL}/directories/Volumes/c/s/v/a%20b"


async def test_a_download_url() -> None:
    metrics = Metrics()
    answer = reply({"url": "https://store/x?sig=1", "headers": [{"name": "a", "value": "b"}]})
    async with scripted([answer], metrics=metrics) as (workspace, sent):
        found = await workspace.files.fetch_download_url(TOKEN, FILE)
    assert (found.url, found.headers) == ("https://store/x?sig=1", (("a", "b"),))
    assert sent.requests[0].method == "POST"
    assert sent.paths == [f"{URL}/create-download-url?path=%2FVolumes%2Fc%2Fs%2Fv%2Fa%20b"]
    assert metrics.get("remote.calls", kind="download_url") == 1


async def test_no_download_url() -> None:
    async with scripted([refusal(404, "ENDPOINT_NOT_FOUND")]) as (workspace, _):
        with pytest.raises(RequestRejected):
            await workspace.files.fetch_download_url(TOKEN, FILE)
