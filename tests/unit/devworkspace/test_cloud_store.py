"""Presigned URLs, and the store behind them."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.support.wire import Got, ask, connected
from tests.support.workspace import VOLUME, Served

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def a_file(workspace: Served) -> None:
    (workspace.volume / "f").write_bytes(CONTENT)


def presigned(workspace: Served) -> str:
    got = ask(workspace, f"/api/2.0/fs/create-download-url?path={quote(VOLUME + '/f')}", "POST")
    return str(got.json()["url"])


def cloud(url: str, method: str = "GET", **headers: str) -> Got:
    with connected(url) as connection:
        target = url.partition("//")[2].partition("/")[2]
        connection.request(
            method, f"/{target}", headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return Got(connection.getresponse())


def test_the_cloud_store(workspace: Served) -> None:
    url = presigned(workspace)
    whole = cloud(url)
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]

    assert (whole.status, whole.body) == (200, CONTENT)
    assert cloud(url, Range="bytes=1-3").body == CONTENT[1:4]
    assert cloud(url, Range=f"bytes={len(CONTENT)}-").status == 416
    assert cloud(url, If_Match=etag).status == 200
    assert cloud(url, If_Match='"x"').status == 412
    assert cloud(url, If_None_Match=etag).status == 304
    assert cloud(url, If_Modified_Since=modified).status == 304
    assert cloud(url, If_Unmodified_Since="Tue, 14 Nov 2000 22:13:20 GMT").status == 412
    assert cloud(url, "HEAD").status == 403
    assert cloud(url.replace("Signature=", "Signature=0")).status == 403
    assert cloud(url, "PUT").status == 404
    (workspace.volume / "f").unlink()
    assert cloud(url).status == 404


def test_the_cloud_store_refuses_the_token_and_counts_it(workspace: Served) -> None:
    url = presigned(workspace)

    assert cloud(url, Authorization=f"Bearer {workspace.token}").status == 400
    assert workspace.journal.leaked_authorization == 1


def test_a_url_for_what_one_may_not_read(workspace: Served) -> None:
    workspace.grants.open_to_all = False
    path = f"/api/2.0/fs/create-download-url?path={quote(VOLUME + '/f')}"

    assert ask(workspace, path, "POST").status == 403
    workspace.behaviour.presigned = "not_enabled"
    assert ask(workspace, path, "POST").json()["details"][0]["reason"] == "FILES_API_API_IS_NOT_ENABLED"


@pytest.mark.parametrize("body", ["", "[1]", "{", "{}", '{"path": 1}'])
def test_a_request_without_a_path(workspace: Served, body: str) -> None:
    with connected(workspace.url) as connection:
        headers = {"Authorization": f"Bearer {workspace.token}"}
        connection.request("POST", "/api/2.0/fs/create-download-url", body=body, headers=headers)
        assert connection.getresponse().status == 400


def test_a_url_ends_at_its_time(workspace: Served) -> None:
    path = f"/api/2.0/fs/create-download-url?path={quote(VOLUME + '/f')}&expire_time="

    assert cloud(ask(workspace, f"{path}2999-01-01T00:00:00Z", "POST").json()["url"]).status == 200
    expired = cloud(ask(workspace, f"{path}2001-01-01T00:00:00Z", "POST").json()["url"])
    assert (expired.status, b"Request has expired" in expired.body) == (403, True)
    assert ask(workspace, f"{path}tomorrow", "POST").status == 400
    assert ask(workspace, f"{path}2999-01-01T00:00:00Z&x=1", "POST").status == 400
