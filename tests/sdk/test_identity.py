"""Who a token belongs to, and how one is had: SDK and msal against the workspace and its fake Entra."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msal
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.errors.base import DatabricksError

from fuse4dbricks.devworkspace.settings import AZURE_DATABRICKS_APP
from tests.support.sdk import sdk_client
from tests.support.workspace import Served, serve

SCOPE = f"{AZURE_DATABRICKS_APP}/.default"


class SteppedTime:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.value = 1_800_000_000.0

    def __call__(self) -> float:
        return self.value


def test_me(workspace: Served) -> None:
    token = workspace.people.add_user("alice@example.com", groups=["readers"])
    client = sdk_client(workspace, token)

    me = client.current_user.me()

    assert (me.user_name, me.display_name, me.active) == ("alice@example.com", "Alice", True)
    assert me.id is not None
    assert me.id.isdecimal()
    assert [group.display for group in me.groups or ()] == ["users", "readers"]
    assert [email.value for email in me.emails or ()] == ["alice@example.com"]
    assert client.get_workspace_id() == workspace.settings.workspace_id


def test_me_in_part(client: WorkspaceClient) -> None:
    path = "/api/2.0/preview/scim/v2/Me"
    wanted = client.api_client.do("GET", path, query={"attributes": "userName"})
    unwanted = client.api_client.do("GET", path, query={"excludedAttributes": "groups,entitlements"})

    assert isinstance(wanted, dict)
    assert isinstance(unwanted, dict)
    assert set(wanted) == {"id", "schemas", "userName"}
    assert "groups" not in unwanted
    assert "userName" in unwanted


def test_a_revoked_token_is_bad_at_once(workspace: Served) -> None:
    token = workspace.people.issue_token(workspace.user)
    client = sdk_client(workspace, token)
    assert client.current_user.me().user_name == workspace.user

    workspace.people.revoke_token(token)

    with pytest.raises(PermissionDenied, match="Invalid access token"):
        client.current_user.me()


def test_a_token_ends_at_its_time(tmp_path: Path) -> None:
    now = SteppedTime()
    with serve(tmp_path, now=now) as workspace:
        client = sdk_client(workspace, workspace.people.issue_token(workspace.user, lifetime=10))
        now.value += 9
        assert client.current_user.me().user_name == workspace.user
        now.value += 1
        with pytest.raises(PermissionDenied, match="Invalid access token"):
            client.current_user.me()


def test_no_credential_at_all(workspace: Served) -> None:
    reply = requests.get(f"{workspace.url}/api/2.0/preview/scim/v2/Me", timeout=5)

    assert reply.status_code == 401
    assert reply.json()["error_code"] == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="DatabricksRealm"'


def test_a_service_principal_signs_in(workspace: Served) -> None:
    client_id, secret = workspace.people.add_service_principal("robot")
    client = sdk_client(workspace, client_id=client_id, client_secret=secret, auth_type="oauth-m2m")

    assert client.current_user.me().user_name == client_id
    assert workspace.counts["oidc.token"] == 1
    assert workspace.counts["oidc.discovery"] >= 1


def test_a_wrong_secret(workspace: Served) -> None:
    client_id, _ = workspace.people.add_service_principal("robot")
    client = sdk_client(workspace, client_id=client_id, client_secret="wrong", auth_type="oauth-m2m")

    with pytest.raises((ValueError, DatabricksError), match="invalid_client"):
        client.current_user.me()


def test_the_tenant_is_found_through_the_login_page(workspace: Served) -> None:
    config = Config(host=workspace.url, token=workspace.token)

    config.load_azure_tenant_id()  # type: ignore[no-untyped-call]  # the SDK has none

    assert config.azure_tenant_id == workspace.settings.tenant


# --- Entra through msal ----------------------------------------------------------------------------


@pytest.fixture
def tls_workspace(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path, tls=True) as running:
        yield running


@pytest.fixture
def session(tls_workspace: Served) -> Iterator[requests.Session]:
    with requests.Session() as made:
        # Or REQUESTS_CA_BUNDLE of the machine would win over the next line.
        made.trust_env = False
        made.verify = str(tls_workspace.authority_file)
        yield made


def application(workspace: Served, session: requests.Session) -> Any:
    return msal.PublicClientApplication(
        "a-client", authority=workspace.authority, instance_discovery=False, http_client=session
    )


def test_a_device_login(tls_workspace: Served, session: requests.Session) -> None:
    app = application(tls_workspace, session)
    flow = app.initiate_device_flow([SCOPE])
    assert flow["user_code"] in flow["message"]

    def poll() -> Any:
        # As if the interval had passed: msal warns when it has not.
        flow["latest_attempt_at"] = 0
        return app.acquire_token_by_device_flow(flow, exit_condition=lambda _flow: True)

    assert poll()["error"] == "authorization_pending"
    tls_workspace.entra.answer_next_with("slow_down")
    assert poll()["error"] == "slow_down"
    tls_workspace.entra.approve(flow["user_code"], tls_workspace.user)
    result = poll()

    assert "error" not in result
    assert tls_workspace.people.authenticate(result["access_token"]) is not None
    (account,) = app.get_accounts()
    assert account["username"] == tls_workspace.user
    silent = app.acquire_token_silent([SCOPE], account)
    assert silent["access_token"] == result["access_token"], "the requested scope was not echoed"
    refreshed = app.acquire_token_silent([SCOPE], account, force_refresh=True)
    assert refreshed["access_token"] != result["access_token"]
    assert tls_workspace.people.authenticate(refreshed["access_token"]) is not None


def test_a_declined_device_login(tls_workspace: Served, session: requests.Session) -> None:
    app = application(tls_workspace, session)
    flow = app.initiate_device_flow([SCOPE])
    tls_workspace.entra.decline(flow["user_code"])

    result = app.acquire_token_by_device_flow(flow, exit_condition=lambda _flow: True)

    assert result["error"] == "authorization_declined"


def test_an_expired_device_login(tls_workspace: Served, session: requests.Session) -> None:
    tls_workspace.behaviour.device_lifetime = 0
    app = application(tls_workspace, session)
    flow = app.initiate_device_flow([SCOPE])
    flow["expires_at"] += 60

    result = app.acquire_token_by_device_flow(flow, exit_condition=lambda _flow: True)

    assert result["error"] == "expired_token"


def test_revoked_refresh_tokens(tls_workspace: Served, session: requests.Session) -> None:
    app = application(tls_workspace, session)
    flow = app.initiate_device_flow([SCOPE])
    tls_workspace.entra.approve(flow["user_code"], tls_workspace.user)
    result = app.acquire_token_by_device_flow(flow, exit_condition=lambda _flow: True)
    tls_workspace.entra.revoke_refresh_tokens()

    refused = app.acquire_token_by_refresh_token(result["refresh_token"], [SCOPE])

    assert refused["error"] == "invalid_grant"


def test_the_device_page_approves(tls_workspace: Served, session: requests.Session) -> None:
    flow = application(tls_workspace, session).initiate_device_flow([SCOPE])
    page = session.get(flow["verification_uri"], timeout=5)
    assert tls_workspace.user in page.text

    unknown = session.post(
        flow["verification_uri"], data={"user_code": "NOPE", "user": tls_workspace.user}, timeout=5
    )
    known = session.post(
        flow["verification_uri"], data={"user_code": flow["user_code"], "user": tls_workspace.user}, timeout=5
    )

    assert (unknown.status_code, known.status_code) == (404, 200)
    assert tls_workspace.entra.get_logins()[0].user == tls_workspace.user


def test_a_service_principal_of_entra(tls_workspace: Served, session: requests.Session) -> None:
    client_id, secret = tls_workspace.people.add_service_principal("robot")
    app = msal.ConfidentialClientApplication(
        client_id, secret, authority=tls_workspace.authority, instance_discovery=False, http_client=session
    )

    result = app.acquire_token_for_client([SCOPE])

    known = tls_workspace.people.authenticate(result["access_token"])
    assert known is not None
    assert known.user_name == client_id


def test_an_untrusted_certificate_is_refused(tls_workspace: Served) -> None:
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        requests.get(tls_workspace.url, timeout=5)
