"""Whose token, and what a 403 without a word refuses."""

from __future__ import annotations

import httpx
import pytest

from fuse4dbricks.errors import (
    InvalidToken,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    RequestRejected,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal
from tests.support.scripted import TOKEN, Script, page, refusal, reply, scripted

FILE = RemotePath(("c", "s", "v", "f"))
ME = {"id": "1234", "userName": "user@example.com", "groups": []}


async def test_the_principal_of_a_token() -> None:
    metrics = Metrics()
    async with scripted([reply(ME)], metrics=metrics) as (workspace, sent):
        assert await workspace.identity.fetch_principal(TOKEN) == Principal("1234", "user@example.com")
    assert sent.paths == ["/api/2.0/preview/scim/v2/Me"]
    assert metrics.get("remote.calls", kind="identity") == 1


@pytest.mark.parametrize(
    "answer, kind",
    [
        (refusal(403, 403, "Invalid access token. [ReqId: 1]"), InvalidToken),
        (refusal(401, 401), InvalidToken),
        (httpx.Response(403), PermissionDenied),
        (refusal(404, "NOT_FOUND"), ProtocolViolation),
        (reply({"userName": "a"}), ProtocolViolation),
        (reply({}), ProtocolViolation),
    ],
)
async def test_no_principal(answer: httpx.Response, kind: type[RemoteError]) -> None:
    async with scripted([answer]) as (workspace, sent):
        with pytest.raises(kind):
            await workspace.identity.fetch_principal(TOKEN)
    assert len(sent.requests) == 1


def silent_403(me: httpx.Response, reason: str | None = None) -> Script:
    headers = {} if reason is None else {"x-databricks-reason-phrase": reason}
    return lambda request: me if request.url.path.endswith("/Me") else httpx.Response(403, headers=headers)


@pytest.mark.parametrize(
    "me, kind",
    [
        (reply(ME), PermissionDenied),
        (refusal(403, 403, "Invalid access token."), InvalidToken),
        (refusal(401, 401), InvalidToken),
        (httpx.Response(403), PermissionDenied),
        (refusal(400, "BAD_REQUEST"), RequestRejected),
    ],
)
async def test_a_head_that_is_forbidden_is_settled_by_scim_me(
    me: httpx.Response, kind: type[RemoteError]
) -> None:
    async with scripted(silent_403(me)) as (workspace, sent):
        with pytest.raises(kind):
            await workspace.files.fetch_version(TOKEN, FILE)
    assert [request.method for request in sent.requests] == ["HEAD", "GET"]


async def test_a_reason_phrase_saves_the_question() -> None:
    async with scripted(silent_403(reply(ME), "Invalid access token.")) as (workspace, sent):
        with pytest.raises(InvalidToken):
            await workspace.files.fetch_version(TOKEN, FILE)
    assert len(sent.requests) == 1


async def test_a_forbidding_page_is_settled_too() -> None:
    def script(request: httpx.Request) -> httpx.Response:
        return reply(ME) if request.url.path.endswith("/Me") else page(403)

    async with scripted(script) as (workspace, _):
        with pytest.raises(PermissionDenied):
            await workspace.catalog.fetch_children(TOKEN, RemotePath())
