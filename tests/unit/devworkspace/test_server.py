"""Starting, stopping, TLS, and what is reached from outside."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fuse4dbricks.devworkspace.certificates import make_certificate
from fuse4dbricks.devworkspace.effects import Hang
from fuse4dbricks.devworkspace.server import LocalWorkspace
from fuse4dbricks.devworkspace.settings import Settings
from fuse4dbricks.devworkspace.synthetic import SyntheticTree, expected_bytes
from tests.support.workspace import VOLUME, Served, serve

ME = "/api/2.0/preview/scim/v2/Me"


def connection_to(
    workspace: LocalWorkspace, context: ssl.SSLContext | None = None
) -> http.client.HTTPConnection:
    parts = urlsplit(workspace.url)
    host, port = str(parts.hostname), parts.port
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=10, context=context)
    return http.client.HTTPConnection(host, port, timeout=10)


def call(workspace: LocalWorkspace, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    connection = connection_to(workspace, more.get("context"))
    try:
        headers = {"Authorization": f"Bearer {workspace.token}", "Content-Type": "application/json"}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        reply = connection.getresponse()
        raw = reply.read()
        return reply.status, json.loads(raw) if raw else None
    finally:
        connection.close()


def test_it_listens_when_start_returns_and_the_port_is_free_after(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        port = urlsplit(workspace.url).port
        assert call(workspace, "GET", ME)[0] == 200
    with serve(tmp_path, port=port) as again:
        assert urlsplit(again.url).port == port
        assert call(again, "GET", ME)[0] == 200


def test_stopping_does_not_wait_for_hung_calls(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        workspace.faults.add(Hang(), kind="scim.me")
        (workspace.volume / "big").write_bytes(bytes(8 << 20))
        workspace.faults.add(Hang(after_bytes=100), kind="fs.files.get")
        connections = [connection_to(workspace) for _ in range(3)]
        for connection, path in zip(connections, (ME, f"/api/2.0/fs/files{VOLUME}/big", ME), strict=True):
            connection.request("GET", path, headers={"Authorization": f"Bearer {workspace.token}"})
        assert workspace.journal.wait_until(lambda told: told.get_in_flight()["workspace"] == 3)
    for connection in connections:
        connection.close()
    assert not workspace.journal.get_in_flight()
    workspace.stop()


def test_an_outage_and_its_end(tmp_path: Path) -> None:
    with serve(tmp_path, tls=True) as workspace:
        context = ssl.create_default_context(cafile=workspace.authority_file)
        url = workspace.url
        token = workspace.people.add_user("bob@example.com")
        workspace.go_down()
        with pytest.raises(ConnectionRefusedError):
            call(workspace, "GET", ME, context=context)
        workspace.come_back()
        assert workspace.url == url
        assert call(workspace, "GET", ME, context=context)[0] == 200
        assert workspace.people.authenticate(token) is not None


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        connection = connection_to(workspace)
        connection.putrequest("PUT", f"/api/2.0/fs/files{VOLUME}/f")
        connection.putheader("Authorization", f"Bearer {workspace.token}")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"some of it")
        assert workspace.journal.wait_until(lambda told: told.get_in_flight()["fs.files.put"] == 1)
        connection.close()
        assert workspace.journal.wait_until(lambda told: not told.get_in_flight()["fs.files.put"])
        assert [path.name for path in tmp_path.rglob("*")] == ["main", "sales", "raw"]
        assert list(workspace.volume.iterdir()) == []


def test_requests_that_are_malformed(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        workspace.grants.metastore_admins.add(workspace.user)
        permissions = "/api/2.1/unity-catalog/permissions/catalog/main"
        for body in ([1], {"changes": [{"add": ["BROWSE"]}]}):
            assert call(workspace, "PATCH", permissions, body)[0] == 400
        status, answer = call(workspace, "GET", "/nobody/v2.0/.well-known/openid-configuration")
        assert (status, answer["error"]) == (400, "invalid_tenant")
        status, answer = call(workspace, "POST", "/oidc/v1/token")
        assert (status, answer["error"]) == (400, "unsupported_grant_type")
        for path in ("page_size=x", "page_size=-1", "page_token=x"):
            assert call(workspace, "GET", f"/api/2.0/fs/directories{VOLUME}?{path}")[0] == 400
        assert call(workspace, "GET", "/api/2.1/unity-catalog/schemas")[0] == 400
        assert call(workspace, "GET", "/api/2.1/unity-catalog/catalogs?include_browse=yes")[0] == 400


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name in ("port", "cloud_port"):
            workspace = Served(tmp_path, **{name: taken.getsockname()[1]})
            with pytest.raises(OSError, match="in use"):
                workspace.start()
            workspace.stop()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    threads = threading.active_count()
    with serve(tmp_path, tls=True) as workspace:
        authority = workspace.authority_file
        assert authority is not None
        assert authority.exists()
        assert (authority.parent / "server.key").stat().st_mode & 0o077 == 0
    assert not authority.parent.exists()
    assert threading.active_count() == threads
    assert [path.name for path in tmp_path.iterdir()] == ["main"]


def test_tls_with_our_authority_and_with_a_given_certificate(tmp_path: Path) -> None:
    made = make_certificate(tmp_path / "pki")
    with serve(tmp_path / "tree", certificate=made) as workspace:
        context = ssl.create_default_context(cafile=workspace.authority_file)
        assert workspace.url.startswith("https://")
        assert workspace.cloud_url.startswith("https://")
        assert call(workspace, "GET", ME, context=context)[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            call(workspace, "GET", ME, context=ssl.create_default_context())
    settings = Settings(root=tmp_path / "tree", certificate=made.chain, private_key=made.key)
    with LocalWorkspace(settings=settings) as workspace:
        assert call(workspace, "GET", ME, context=ssl.create_default_context(cafile=made.authority))[0] == 200


@pytest.mark.parametrize("flaw", ["expired", "wrong name"])
def test_certificates_that_a_client_must_refuse(tmp_path: Path, flaw: str) -> None:
    now = dt.datetime.now(dt.UTC)
    if flaw == "expired":
        made = make_certificate(
            tmp_path / "pki", not_before=now - dt.timedelta(days=2), not_after=now - dt.timedelta(days=1)
        )
    else:
        made = make_certificate(tmp_path / "pki", ("other.example",))
    with serve(tmp_path / "tree", certificate=made) as workspace:
        context = ssl.create_default_context(cafile=made.authority)
        with pytest.raises(
            ssl.SSLCertVerificationError, match="expired" if flaw == "expired" else "not valid for"
        ):
            call(workspace, "GET", ME, context=context)
        assert workspace.log == []


def test_the_token_is_in_no_log_and_no_repr(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        call(workspace, "GET", ME)
        shown = call(workspace, "GET", "/_local/log")[1]

        assert workspace.token not in json.dumps(shown)
        assert workspace.token not in repr(workspace.log) + repr(workspace.settings)
        assert shown["log"][0]["user"] == workspace.user


def test_the_admin_door(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        fault = {"effect": "Status", "with": {"status": 503}, "kind": "scim.*", "times": 1}
        assert call(workspace, "PUT", "/_local/faults", fault)[0] == 200
        assert [call(workspace, "GET", ME)[0] for _ in range(2)] == [503, 200]
        (told,) = call(workspace, "GET", "/_local/faults")[1]["faults"]
        assert (told["matched"], told["fired"]) == (2, 1)
        assert call(workspace, "DELETE", "/_local/faults")[1] == {"faults": []}
        assert call(workspace, "PUT", "/_local/faults", {"effect": "Nope"})[0] == 400
        assert call(workspace, "GET", "/_local/counts")[1]["calls"]["scim.me"] == 2

        assert call(workspace, "PUT", "/_local/behaviour", {"bad_token": 401})[1]["bad_token"] == 401
        assert workspace.behaviour.bad_token == 401
        for wrong in ({"nope": 1}, {"page_size": "many"}, {"etag": 1}):
            assert call(workspace, "PUT", "/_local/behaviour", wrong)[0] == 400

        token = call(workspace, "PUT", "/_local/people", {"user_name": "bob@example.com"})[1]["token"]
        assert workspace.people.authenticate(token) is not None
        more = call(workspace, "PUT", "/_local/tokens", {"user_name": "bob@example.com", "lifetime": 60})[1][
            "token"
        ]
        assert call(workspace, "DELETE", "/_local/tokens", {"token": more})[0] == 200
        assert workspace.people.authenticate(more) is None
        grant = {"securable": "main", "principal": "bob@example.com", "privileges": ["USE_CATALOG"]}
        call(workspace, "PUT", "/_local/grants", grant)
        assert workspace.grants.direct("main")["bob@example.com"] == ("USE_CATALOG",)
        call(workspace, "DELETE", "/_local/grants", grant)
        call(workspace, "PUT", "/_local/grants", {"open_to_all": False})
        assert workspace.grants.direct("main") == {}
        login = workspace.entra.start_device_login("client", "scope")
        approval = {"user_code": login.user_code, "user_name": "bob@example.com"}
        assert call(workspace, "PUT", "/_local/device_logins", approval)[0] == 200
        assert login.user == "bob@example.com"
        call(workspace, "DELETE", "/_local/log")
        assert workspace.log == []


def test_a_large_folder_in_pages(tmp_path: Path) -> None:
    tree = SyntheticTree({"main/sales/raw/big": 1 << 40})
    tree.put_flock("main/sales/raw/many", 1_000_000, size=3)
    with serve(tree=tree) as workspace:
        names: list[str] = []
        query = ""
        for _ in range(3):
            page = call(workspace, "GET", f"/api/2.0/fs/directories{VOLUME}/many{query}")[1]
            names += [entry["name"] for entry in page["contents"]]
            query = f"?page_token={page['next_page_token']}"
        assert names == [f"{number:09d}.bin" for number in range(3000)]
        status, _ = call(workspace, "PUT", f"/api/2.0/fs/directories{VOLUME}/new")
        assert status == 400

        connection = connection_to(workspace)
        offset = (1 << 40) - 10
        headers = {"Authorization": f"Bearer {workspace.token}", "Range": f"bytes={offset}-"}
        connection.request("GET", f"/api/2.0/fs/files{VOLUME}/big", headers=headers)
        assert connection.getresponse().read() == expected_bytes("main/sales/raw/big", 1, offset, 10)
        connection.close()


def test_listing_goes_on_where_it_was_while_entries_come_and_go(tmp_path: Path) -> None:
    with serve(tmp_path) as workspace:
        for number in range(0, 20, 2):
            (workspace.volume / f"f{number:02d}").touch()
        path = f"/api/2.0/fs/directories{VOLUME}?page_size=3"
        page = call(workspace, "GET", path)[1]
        names = [entry["name"] for entry in page["contents"]]
        (workspace.volume / "f04").unlink()
        (workspace.volume / "f01").touch()
        (workspace.volume / "f05").touch()
        while token := page.get("next_page_token"):
            page = call(workspace, "GET", f"{path}&page_token={token}")[1]
            names += [entry["name"] for entry in page["contents"]]

        assert names == ["f00", "f02", "f04", "f05", "f06", "f08", "f10", "f12", "f14", "f16", "f18"]
        assert (
            call(workspace, "GET", f"/api/2.0/fs/directories{VOLUME}?page_size=4&page_token={token or 'x'}")[
                0
            ]
            == 400
        )


RUN = """
import sys
from pathlib import Path
from fuse4dbricks.devworkspace.server import run
from fuse4dbricks.devworkspace.settings import Settings

def ready(workspace):
    print(workspace.url, workspace.token, flush=True)

sys.exit(run(Settings(root=Path(sys.argv[1]), tls=True), ready))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_a_signal(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with process:
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        assert url.startswith("https://127.0.0.1:")
        assert token.startswith("dapi")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.iterdir()) == []
