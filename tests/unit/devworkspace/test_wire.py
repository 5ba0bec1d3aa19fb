"""Each fault as bytes on a socket: what a client really meets."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from fuse4dbricks.devworkspace.body_effects import (
    Bandwidth,
    Drip,
    DripHeaders,
    Garbled,
    Gzip,
    LongBody,
    ShortBody,
)
from fuse4dbricks.devworkspace.effects import (
    EndlessPages,
    Hang,
    Headers,
    IgnoreRange,
    Json,
    OtherRange,
    Page,
    Redirect,
    Reset,
    Status,
)
from fuse4dbricks.devworkspace.faults import Effect
from fuse4dbricks.devworkspace.gates import FILES_API_KINDS, ConcurrencyGate
from tests.support.wire import Got, connected
from tests.support.wire import ask as ask_for
from tests.support.workspace import VOLUME, Served

CONTENT = bytes(range(256)) * 400
FILE = f"/api/2.0/fs/files{VOLUME}/f"
FOLDER = f"/api/2.0/fs/directories{VOLUME}"


@pytest.fixture(autouse=True)
def a_file(workspace: Served) -> None:
    (workspace.volume / "f").write_bytes(CONTENT)


def ask(
    workspace: Served, path: str = FILE, method: str = "GET", *, token: str | None = None, **headers: str
) -> Got:
    return ask_for(workspace, path, method, token=token, **headers)


def test_a_plain_answer_has_the_recorded_headers(workspace: Served) -> None:
    got = ask(workspace)

    assert (got.status, got.body) == (200, CONTENT)
    assert got.headers["x-databricks-org-id"] == str(workspace.settings.workspace_id)
    assert got.headers["x-request-id"] == workspace.log[-1].request_id
    assert parsedate_to_datetime(got.headers["date"]).tzinfo is not None
    assert "etag" not in got.headers
    assert "content-encoding" not in ask(workspace, Accept_Encoding="gzip").headers
    workspace.behaviour.etag = True
    assert ask(workspace).headers["etag"].startswith('"')


@pytest.mark.parametrize(
    "path", [FILE, FOLDER, f"{FILE}x", f"{FOLDER}x", "/api/2.0/fs/files/Workspace/x", "/nope"]
)
def test_a_head_has_no_body(workspace: Served, path: str) -> None:
    with connected(workspace.url) as connection:
        for _ in range(2):
            connection.request("HEAD", path, headers={"Authorization": f"Bearer {workspace.token}"})
            assert connection.getresponse().read() == b""


def test_a_bad_token_on_a_head_is_told_in_a_header(workspace: Served) -> None:
    got = ask(workspace, method="HEAD", token="nope")

    assert (got.status, got.headers["X-Databricks-Reason-Phrase"]) == (403, "Invalid access token.")


def test_an_error_has_the_documented_shape(workspace: Served) -> None:
    got = ask(workspace, f"{FILE}x")

    assert (got.status, got.headers["content-type"]) == (404, "application/json")
    error = got.json()
    assert error["error_code"] == "NOT_FOUND"
    assert [detail["@type"].rpartition(".")[2] for detail in error["details"]] == ["ErrorInfo", "RequestInfo"]
    assert error["details"][1]["request_id"] == workspace.log[-1].request_id


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "%2e%2e/%2e%2e/x"])
def test_relative_paths_are_refused(workspace: Served, name: str) -> None:
    got = ask(workspace, f"{FOLDER}/{name}")

    assert (got.status, got.json()["details"][0]["reason"]) == (400, "FILES_API_INVALID_PATH")


def test_names_in_unity_catalog_paths_do_not_leave_them(workspace: Served) -> None:
    for name in ("%2e%2e%2f%2e%2e%2f2.0/preview/scim/v2/Me", "..", "main?max_results=1%23", "main%2Fsales"):
        got = ask(workspace, f"/api/2.1/unity-catalog/catalogs/{name}")
        assert got.status in (400, 404) or got.json()["name"] == "main"
        assert "userName" not in got.body.decode()


@pytest.mark.parametrize(
    "retry_after", ["3", "Wed, 21 Oct 2015 07:28:00 GMT", "nan", "inf", "-5", "1e308", None]
)
def test_status_with_any_retry_after(workspace: Served, retry_after: str | None) -> None:
    workspace.faults.add(
        Status(status=429, error_code="RESOURCE_EXHAUSTED", retry_after=retry_after, retry_delay=3.5)
    )

    got = ask(workspace)

    assert (got.status, got.headers.get("retry-after")) == (429, retry_after)
    assert got.json()["error_code"] == "RESOURCE_EXHAUSTED"
    assert got.json()["details"][-1]["retry_delay"] == "3.5s"
    assert ask(workspace, method="HEAD").body == b""


def test_pages_and_redirects(workspace: Served) -> None:
    workspace.faults.add(Page(), times=1)
    workspace.faults.add(Redirect(), skip=1, times=1)
    workspace.faults.add(Redirect("https://elsewhere.example/x", status=307), skip=2, times=1)
    workspace.faults.add(Json(None), skip=3, times=1)

    page, login, elsewhere, nothing = (ask(workspace) for _ in range(4))

    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (login.status, login.headers["location"].partition("?")[0]) == (302, "/login.html")
    assert (elsewhere.status, elsewhere.headers["location"]) == (307, "https://elsewhere.example/x")
    assert (nothing.status, nothing.body) == (200, b"null")


def test_a_reset_before_the_headers(workspace: Served) -> None:
    fault = workspace.faults.add(Reset())

    with pytest.raises(ConnectionResetError):
        ask(workspace)
    assert fault.fired == 1
    assert workspace.log[-1].status is None
    assert workspace.log[-1].faults == ("Reset",)


@pytest.mark.parametrize("after", [1, 1000, len(CONTENT) - 1])
def test_a_reset_in_the_body(workspace: Served, after: int) -> None:
    workspace.faults.add(Reset(after_bytes=after))

    got = ask(workspace)

    assert isinstance(got.error, ConnectionResetError)
    assert got.status == 200
    assert CONTENT.startswith(got.body)
    assert len(got.body) <= after
    assert workspace.log[-1].bytes_sent == after


def test_short_bodies(workspace: Served) -> None:
    workspace.faults.add(ShortBody(keep=10), times=1)
    workspace.faults.add(ShortBody(keep=10, framing="cut"), skip=1, times=1)
    workspace.faults.add(ShortBody(keep=10, framing="close"), skip=2, times=1)

    consistent, cut, close = (ask(workspace, Range="bytes=0-99") for _ in range(3))

    assert [got.body for got in (consistent, cut, close)] == [CONTENT[:10]] * 3
    assert {got.headers["content-range"] for got in (consistent, cut, close)} == {
        f"bytes 0-99/{len(CONTENT)}"
    }
    assert [got.status for got in (consistent, cut, close)] == [206] * 3
    assert (consistent.headers["content-length"], cut.headers["content-length"]) == ("10", "100")
    assert "content-length" not in close.headers
    assert "transfer-encoding" not in close.headers
    assert (consistent.is_cut, cut.is_cut, close.is_cut) == (False, True, False)
    assert [record.bytes_sent for record in workspace.log] == [10, 10, 10]


def test_a_longer_body_than_asked(workspace: Served) -> None:
    workspace.faults.add(LongBody(extra=7))

    got = ask(workspace, Range="bytes=0-2")

    assert got.body == CONTENT[:3] + bytes(7)
    assert got.headers["content-length"] == "10"


def test_wrong_ranges(workspace: Served) -> None:
    workspace.faults.add(IgnoreRange(), times=1)
    workspace.faults.add(OtherRange("bytes=5-9"), skip=1, times=1)
    workspace.faults.add(Headers({"Content-Range": "bytes 7-11/999"}), skip=2, times=1)
    workspace.faults.add(Headers({}, status=200), skip=3, times=1)

    whole, other, mislabelled, relabelled = (ask(workspace, Range="bytes=0-4") for _ in range(4))

    assert (whole.status, whole.body) == (200, CONTENT)
    assert (other.status, other.body) == (206, CONTENT[5:10])
    assert other.headers["content-range"] == f"bytes 5-9/{len(CONTENT)}"
    assert (mislabelled.body, mislabelled.headers["content-range"]) == (CONTENT[:5], "bytes 7-11/999")
    assert (relabelled.status, relabelled.body) == (200, CONTENT[:5])


def test_a_header_left_out(workspace: Served) -> None:
    workspace.faults.add(Headers({"last-modified": None, "etag": '"x"'}))

    got = ask(workspace)

    assert "last-modified" not in got.headers
    assert got.headers["etag"] == '"x"'


def test_gzip_and_garbled(workspace: Served) -> None:
    workspace.faults.add(Gzip(bomb=1 << 20), kind="fs.files.get")
    workspace.faults.add(Garbled(), kind="fs.directories.list")

    zipped, cut = ask(workspace), ask(workspace, FOLDER)

    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == CONTENT + bytes(1 << 20)
    assert not cut.is_cut
    with pytest.raises(json.JSONDecodeError):
        cut.json()


@pytest.mark.parametrize("fresh", [False, True])
def test_endless_pages(workspace: Served, fresh: bool) -> None:
    workspace.faults.add(EndlessPages(fresh_tokens=fresh))

    pages = [ask(workspace, f"{FOLDER}?page_token={number}").json() for number in range(3)]

    assert len({page["next_page_token"] for page in pages}) == (3 if fresh else 1)
    assert {page["contents"][0]["name"] for page in pages} == {"f"}


def test_a_hang_lasts_until_the_fault_is_removed(workspace: Served) -> None:
    before = workspace.faults.add(Hang(), kind="fs.files.head")
    inside = workspace.faults.add(Hang(after_bytes=100), kind="fs.files.get")
    with ThreadPoolExecutor(2) as threads:
        head = threads.submit(ask, workspace, FILE, "HEAD")
        body = threads.submit(ask, workspace)
        assert workspace.journal.wait_until(lambda told: told.get_bytes()["fs.files.get"] == 100)
        assert workspace.journal.wait_until(lambda told: told.get_in_flight()["workspace"] == 2)
        assert not head.done()
        assert not body.done()
        before.remove()
        assert head.result(10).status == 200
        inside.remove()
        assert body.result(10).body == CONTENT


def test_slow_bodies_are_whole(workspace: Served) -> None:
    drip = workspace.faults.add(Drip(pause_seconds=0, bytes_at_a_time=7), times=1)
    paced = workspace.faults.add(Bandwidth(bytes_per_second=1e9), skip=1)

    assert ask(workspace).body == CONTENT
    assert ask(workspace).body == CONTENT
    assert (drip.fired, paced.fired) == (1, 1)


def test_the_rate_is_the_connections(workspace: Served) -> None:
    workspace.faults.add(Bandwidth(bytes_per_second=len(CONTENT) * 5))
    begun = time.monotonic()
    ask(workspace)

    assert time.monotonic() - begun >= 0.14, "a fifth of a second's worth came sooner"


def test_headers_that_drip_are_no_reply(workspace: Served) -> None:
    workspace.faults.add(DripHeaders(pause_seconds=0))

    assert ask(workspace).is_cut


def test_the_concurrency_gate_lets_ten_in(workspace: Served) -> None:
    gate = ConcurrencyGate(retry_after="1")
    workspace.faults.add(gate, kind=FILES_API_KINDS)
    hang = workspace.faults.add(Hang(), kind="fs.files.get", times=10)
    with ThreadPoolExecutor(10) as threads:
        inside = [threads.submit(ask, workspace) for _ in range(10)]
        assert workspace.journal.wait_until(lambda _: hang.fired == 10)
        refused = ask(workspace)
        other = ask(workspace, "/api/2.1/unity-catalog/catalogs")
        hang.remove()
        assert {done.result(10).status for done in inside} == {200}

    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert other.status == 200
    assert ask(workspace).status == 200
    assert workspace.journal.get_peaks()["fs.files.get"] == 11


def test_hostile_entries_leave_as_they_are(workspace: Served) -> None:
    entries: list[Any] = [
        {"name": "..", "path": f"{VOLUME}/..", "is_directory": True},
        {"name": "a/b", "is_directory": False, "file_size": -1},
        {"name": "\ud800"},
        {"name": "a\0b"},
        {},
        17,
    ]
    workspace.state.hostile.add(VOLUME, *entries)
    workspace.state.hostile.add("catalogs", {"name": "a/b"})

    assert ask(workspace, FOLDER).json()["contents"][1:] == entries
    assert b"\\ud800" in ask(workspace, FOLDER).body
    assert ask(workspace, "/api/2.1/unity-catalog/catalogs").json()["catalogs"][1:] == [{"name": "a/b"}]


def test_effects_nest_in_the_order_they_were_added(workspace: Served) -> None:
    effects: list[Effect] = [Headers({"x-first": "1"}), LongBody(extra=1), Headers({"x-first": "2"})]
    for effect in effects:
        workspace.faults.add(effect)

    got = ask(workspace)

    assert (got.headers["x-first"], len(got.body)) == ("1", len(CONTENT) + 1)
    assert workspace.log[-1].faults == ("Headers", "LongBody", "Headers")


def test_a_fault_of_one_token(workspace: Served) -> None:
    workspace.faults.add(Status(status=500), token="nope")

    assert (ask(workspace).status, ask(workspace, token="nope").status) == (200, 500)
    assert "nope" not in repr(workspace.faults.get_active())


def test_a_fault_of_one_user(workspace: Served) -> None:
    bob = workspace.people.add_user("bob@example.com")
    fault = workspace.faults.add(Status(status=500), user="bob@example.com")

    assert ask(workspace).status == 200
    assert ask(workspace, token=bob).status == 500
    assert fault.fired == 1
    assert [record.user for record in workspace.log] == [workspace.user, None]


@pytest.mark.parametrize("effect", [Bandwidth(bytes_per_second=1000), Hang(after_bytes=1)])
def test_a_client_that_goes_away_ends_its_call(workspace: Served, effect: Effect) -> None:
    workspace.faults.add(effect)
    with connected(workspace.url) as connection:
        connection.request("GET", FILE, headers={"Authorization": f"Bearer {workspace.token}"})
        connection.getresponse()
        assert workspace.journal.get_in_flight()["fs.files.get"] == 1
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
    assert workspace.journal.wait_until(lambda told: not told.get_in_flight()["fs.files.get"], timeout=30)


def test_many_clients_at_once(workspace: Served) -> None:
    together = threading.Barrier(16)

    def one(_: int) -> bytes:
        together.wait(10)
        return ask(workspace).body

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(one, range(16))) == {CONTENT}
    assert workspace.counts["fs.files.get"] == 16
