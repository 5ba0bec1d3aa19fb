"""Catalogs, schemas, volumes: all pages, canonical names, and URLs that cannot alias."""

from __future__ import annotations

import logging
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import NotFound, PermissionDenied, ProtocolViolation
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal
from tests.support.scripted import TOKEN, Script, refusal, reply, scripted

UC = "/api/2.1/unity-catalog"


def pages(key: str, *names: list[str]) -> Script:
    """Lists of ``names``, one page each; the token of page n is ``t&n``."""

    def script(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("page_token", "t&0").removeprefix("t&"))
        answer: dict[str, object] = {key: [{"name": name} for name in names[number]]} if names[number] else {}
        if number + 1 < len(names):
            answer["next_page_token"] = f"t&{number + 1}"
        return reply(answer)

    return script


def query(sent: httpx.Request) -> dict[str, str]:
    return dict(sent.url.params)


async def test_all_pages_of_catalogs() -> None:
    metrics = Metrics()
    script = pages("catalogs", ["main", "samples"], [], ["system"], ["main"])
    async with scripted(script, metrics=metrics) as (workspace, sent):
        entries = await workspace.catalog.fetch_children(TOKEN, ROOT)
    assert entries == [Entry(name, Kind.CATALOG) for name in ("main", "samples", "system")]
    assert metrics.get("remote.calls", kind="catalog") == 4
    assert [query(request) for request in sent.requests[:2]] == [
        {"max_results": "0"},
        {"max_results": "0", "page_token": "t&1"},
    ]


@pytest.mark.parametrize(
    "parts, collection, expected",
    [
        (("main",), "schemas", {"catalog_name": "main"}),
        (("main", "a b"), "volumes", {"catalog_name": "main", "schema_name": "a b"}),
        (("c&x=1", "s"), "volumes", {"catalog_name": "c&x=1", "schema_name": "s"}),
    ],
)
async def test_children_of_catalogs_and_schemas(
    parts: tuple[str, ...], collection: str, expected: dict[str, str]
) -> None:
    async with scripted(pages(collection, ["one"])) as (workspace, sent):
        entries = await workspace.catalog.fetch_children(TOKEN, RemotePath(parts))
    assert [(entry.name, int(entry.kind)) for entry in entries] == [("one", len(parts) + 1)]
    assert sent.requests[0].url.path == f"{UC}/{collection}"
    assert query(sent.requests[0]) == {"max_results": "0", **expected}


async def test_a_volume_has_no_securables() -> None:
    async with scripted(pages("volumes")) as (workspace, _):
        with pytest.raises(ValueError, match="securables"):
            await workspace.catalog.fetch_children(TOKEN, RemotePath(("c", "s", "v")))


async def test_pages_that_repeat_end() -> None:
    def script(request: httpx.Request) -> httpx.Response:
        last = request.url.params.get("page_token", "b")
        return reply({"catalogs": [{"name": "x"}], "next_page_token": "b" if last == "a" else "a"})

    async with scripted(script) as (workspace, sent):
        with pytest.raises(ProtocolViolation):
            await workspace.catalog.fetch_children(TOKEN, ROOT)
    assert len(sent.requests) == 3


async def test_empty_pages_without_end_end(autojump_clock: trio.testing.MockClock) -> None:
    count = 0

    def script(_request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return reply({"next_page_token": str(count)})

    async with scripted(script) as (workspace, sent):
        with pytest.raises(ProtocolViolation):
            await workspace.catalog.fetch_children(TOKEN, ROOT)
    assert len(sent.requests) <= 150


async def test_names_that_cannot_be_shown_are_left_out_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    bad = ["..", "a/b", "\ud800\x1b[31m", "x" * 300]
    async with scripted(
        lambda _: reply({"catalogs": [{"name": name} for name in ["ok", *bad]]}), metrics=metrics
    ) as (
        workspace,
        _,
    ):
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                entries = await workspace.catalog.fetch_children(TOKEN, ROOT)
    assert [entry.name for entry in entries] == ["ok"]
    assert metrics.get("remote.rejected_names") == 12
    assert len(caplog.records) == 1
    assert "4 of its names" in caplog.text
    assert "\x1b" not in caplog.text


async def test_a_securable_answers_under_its_own_name() -> None:
    async with scripted([reply({"name": "main", "updated_at": 5000})]) as (workspace, sent):
        entry = await workspace.catalog.fetch_securable(TOKEN, RemotePath(("MAIN",)))
    assert entry == Entry("main", Kind.CATALOG, None, 5.0)
    assert sent.paths == [f"{UC}/catalogs/MAIN"]


@pytest.mark.parametrize(
    "parts, path",
    [
        (("c?x=1",), "catalogs/c%3Fx%3D1"),
        (("c#x",), "catalogs/c%23x"),
        (("%2e%2e%2f",), "catalogs/%252e%252e%252f"),
        (("c", "s s"), "schemas/c.s%20s"),
        (("c", "s", "v%"), "volumes/c.s.v%25"),
        (("c\n",), "catalogs/c%0A"),
        (("\u00fc",), "catalogs/%C3%BC"),
    ],
)
async def test_no_name_can_be_anything_but_a_name(parts: tuple[str, ...], path: str) -> None:
    async with scripted([refusal(404, "NOT_FOUND")]) as (workspace, sent):
        with pytest.raises(NotFound):
            await workspace.catalog.fetch_securable(TOKEN, RemotePath(parts))
    assert sent.paths == [f"{UC}/{path}"]


@pytest.mark.parametrize("parts", [("..",), (".",), ("a.b",), ("a", "b.c"), ("a/b",), ("a", "b", "..")])
async def test_names_that_cannot_exist_are_not_asked_for(parts: tuple[str, ...]) -> None:
    async with scripted([refusal(404, "NOT_FOUND")]) as (workspace, sent):
        with pytest.raises(NotFound):
            await workspace.catalog.fetch_securable(TOKEN, RemotePath(parts))
    assert sent.requests == []


@given(st.text(min_size=1, max_size=20).filter(lambda name: not set(name) & set("./") and name.isprintable()))
def test_any_name_reaches_the_endpoint_as_itself(name: str) -> None:
    async def run() -> str:
        async with scripted([refusal(404, "NOT_FOUND")]) as (workspace, sent):
            with pytest.raises(NotFound):
                await workspace.catalog.fetch_securable(TOKEN, RemotePath((name,)))
        return str(sent.requests[0].url)

    split = urlsplit(trio.run(run))
    assert split.query == split.fragment == ""
    assert httpx.URL(split.geturl()).path == f"{UC}/catalogs/{name}"
    assert parse_qs(split.query) == {}


async def test_refusals_keep_their_meaning() -> None:
    denied = refusal(403, "PERMISSION_DENIED", "User does not have USE CATALOG on Catalog 'x'.")
    async with scripted([denied]) as (workspace, _):
        with pytest.raises(PermissionDenied):
            await workspace.catalog.fetch_children(TOKEN, RemotePath(("x",)))


async def test_effective_permissions_of_all_pages() -> None:
    def script(request: httpx.Request) -> httpx.Response:
        if "page_token" not in request.url.params:
            return reply({"next_page_token": "2"})
        privileges = [
            {"privilege": "USE_CATALOG"},
            {"privilege": "READ_VOLUME"},
            {"privilege": "USE_CATALOG"},
        ]
        return reply({"privilege_assignments": [{"principal": "a@b", "privileges": privileges}]})

    volume = RemotePath(("c", "s", "v"))
    async with scripted(script) as (workspace, sent):
        privileges = await workspace.catalog.fetch_effective_permissions(
            TOKEN, volume, Principal("1", "a+b@c")
        )
    assert privileges == ["READ_VOLUME", "USE_CATALOG"]
    assert sent.requests[0].url.path == f"{UC}/effective-permissions/volume/c.s.v"
    assert query(sent.requests[0]) == {"max_results": "0", "principal": "a+b@c"}
