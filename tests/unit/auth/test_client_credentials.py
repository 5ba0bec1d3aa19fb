"""OAuth of a service principal, against the local workspace."""

from __future__ import annotations

import pytest
import trio

from fuse4dbricks.auth.client_credentials import fetch_client_token
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Issued, Outcome, SourceFailure
from fuse4dbricks.devworkspace.effects import Json, Page, Redirect, Reset, Status
from fuse4dbricks.devworkspace.faults import Effect
from tests.support.workspace import Served


async def fetch(url: str, client_id: str, secret: Secret, origin: str = "") -> Issued:
    return await trio.to_thread.run_sync(
        lambda: fetch_client_token(url, client_id, secret, None, origin=origin)
    )


async def failure_of(url: str, client_id: str = "c", secret: str = "canary-secret") -> SourceFailure:
    with pytest.raises(SourceFailure) as info:
        await fetch(url, client_id, Secret(secret))
    assert "canary" not in str(info.value)
    return info.value


async def test_a_token_of_an_hour(workspace: Served) -> None:
    client_id, secret = workspace.people.add_service_principal("robot")
    issued = await fetch(workspace.url, client_id, Secret(secret), origin="here")
    known = workspace.people.authenticate(issued.token.reveal())
    assert known is not None
    assert known.user_name == client_id
    assert (issued.lifetime, issued.origin) == (3600, "here")
    assert workspace.counts["oidc.token"] == sum(workspace.counts.values()) == 1


async def test_a_wrong_secret(workspace: Served) -> None:
    client_id, _ = workspace.people.add_service_principal("robot")
    failure = await failure_of(workspace.url, client_id)
    assert (failure.outcome, failure.is_outage) == (Outcome.FAILED, False)
    assert "invalid_client" in str(failure)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_is_not_well(workspace: Served, status: int) -> None:
    workspace.faults.add(Status(status=status), kind="oidc.token")
    failure = await failure_of(workspace.url)
    assert failure.is_outage
    assert str(status) in str(failure)


@pytest.mark.parametrize("effect", [Page(status=200), Page(status=403), Page(status=404), Redirect()])
async def test_a_login_page_is_no_denial(workspace: Served, effect: Effect) -> None:
    """Taken for one, it ended what the secret's own tokens had proved."""
    workspace.faults.add(effect, kind="oidc.token")
    assert (await failure_of(workspace.url)).is_outage


async def test_the_secret_follows_no_redirect(workspace: Served) -> None:
    workspace.faults.add(
        Redirect(location=f"{workspace.url}/oidc/v1/token?again"), kind="oidc.token", times=1
    )
    await failure_of(workspace.url)
    assert workspace.counts["oidc.token"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"expires_in": 3600},
        {"access_token": "two words", "expires_in": 3600},
        {"access_token": 5, "expires_in": 3600},
        {"access_token": "canary\r\nX: y", "expires_in": 3600},
        {"access_token": "canary", "expires_in": "soon"},
        {"access_token": "canary", "expires_in": -1},
        {"access_token": "canary", "expires_in": float("inf")},
        ["canary"],
    ],
)
async def test_an_answer_that_holds_no_token(workspace: Served, answer: object) -> None:
    workspace.faults.add(Json(answer), kind="oidc.token")
    await failure_of(workspace.url)


async def test_nobody_there(workspace: Served) -> None:
    workspace.faults.add(Reset(), kind="oidc.token")
    assert (await failure_of(workspace.url)).is_outage
    workspace.go_down()
    failure = await failure_of(workspace.url)
    assert failure.is_outage
    assert "refused" in str(failure)
