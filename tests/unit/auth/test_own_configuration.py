"""What the user who mounts has configured: which of it is looked at, and in which order."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.auth.own_configuration import OwnConfiguration
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Outcome
from fuse4dbricks.auth.variables import PLAIN, SECRETS, Variables, read_variables
from fuse4dbricks.concurrency.supervise import supervised
from fuse4dbricks.errors import ConfigError, InvalidWrite, NoToken
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from tests.support.signing import site_for, write_private
from tests.support.workspace import Served

ME, OTHER = os.getuid(), 65533
PAT = Variables(token=Token("t1"))
CLIENT = Variables(client_id="c", client_secret=Secret("s"))
ARM = Variables(arm_client_id="c", arm_secret=Secret("s"), arm_tenant="t")


@asynccontextmanager
async def chain_of(
    workspace: Served, variables: Variables, *, host: str | None = None
) -> AsyncIterator[TokenChain]:
    site = site_for(workspace)
    if host is not None:
        site = replace(site, host=host)
    async with supervised(Metrics()) as supervisor:
        yield TokenChain(OwnConfiguration(variables, site, ME, lambda _: False, supervisor).sources())


def asked(chain: TokenChain) -> list[str]:
    return [report.source.split()[0] for report in chain.get_reports(ME)]


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        (PAT, ["DATABRICKS_TOKEN"]),
        (CLIENT, ["DATABRICKS_CLIENT_ID"]),
        (ARM, ["ARM_CLIENT_ID,"]),
        (
            replace(ARM, token=Token("t1"), client_id="c", client_secret=Secret("s")),
            ["DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "ARM_CLIENT_ID,"],
        ),
        (Variables(), ["~/.databrickscfg"]),
        (replace(PAT, profile="p"), ["DATABRICKS_TOKEN", "~/.databrickscfg"]),
        (replace(PAT, auth_type="oauth-m2m"), ["~/.databrickscfg"]),
        (replace(CLIENT, token=Token("t1"), auth_type="oauth-m2m"), ["DATABRICKS_CLIENT_ID"]),
    ],
)
async def test_order(workspace: Served, variables: Variables, names: list[str]) -> None:
    async with chain_of(workspace, variables) as chain:
        assert asked(chain) == names
        assert not chain.get_reports(OTHER)
        with pytest.raises(NoToken):
            await chain.resolve_token(OTHER)


async def test_programs_come_last_and_only_when_installed(workspace: Served, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("databricks", "az"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    async with chain_of(workspace, Variables()) as chain:
        assert asked(chain) == ["~/.databrickscfg", "databricks", "az"]
    async with chain_of(workspace, Variables(), host="dbc-1.cloud.databricks.com") as chain:
        assert asked(chain) == ["~/.databrickscfg", "databricks"]
    async with chain_of(workspace, PAT) as chain:
        assert asked(chain) == ["DATABRICKS_TOKEN"]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (replace(PAT, host="https://other.example"), "DATABRICKS_HOST is other.example"),
        (replace(CLIENT, host="https://other.example"), "DATABRICKS_HOST is other.example"),
        (replace(PAT, host="http://nonsense"), "not usable"),
        (Variables(client_id="c"), "DATABRICKS_CLIENT_SECRET is not set"),
        (Variables(client_secret=Secret("s")), "DATABRICKS_CLIENT_ID is not set"),
        (Variables(arm_secret=Secret("s"), arm_client_id="c"), "ARM_TENANT_ID is not set"),
    ],
)
async def test_what_is_set_and_not_used_is_told(workspace: Served, variables: Variables, reason: str) -> None:
    async with chain_of(workspace, variables) as chain:
        first = chain.get_reports(ME)[0]
        assert first.outcome is Outcome.NOT_USED
        assert reason in first.detail
        assert chain.get_token(ME) is None
        with pytest.raises(NoToken):
            await chain.resolve_token(ME)
    assert not workspace.log


async def test_azures_variables_are_not_for_a_workspace_elsewhere(workspace: Served) -> None:
    async with chain_of(workspace, ARM, host="dbc-1.cloud.databricks.com") as chain:
        assert "not a workspace of Azure" in chain.get_reports(ME)[0].detail


async def test_a_profile_read_at_home(workspace: Served, tmp_path: Path) -> None:
    write_private(tmp_path / ".databrickscfg", f"[DEFAULT]\nhost={workspace.url}\ntoken=t1\n")
    async with chain_of(workspace, Variables()) as chain:
        assert await chain.resolve_token(ME) == Token("t1")
    async with chain_of(workspace, Variables(auth_type="oauth-m2m")) as chain:
        with pytest.raises(NoToken):
            await chain.resolve_token(ME)
        assert "lacks what it needs" in chain.get_reports(ME)[0].detail


async def test_a_user_without_a_home(workspace: Served) -> None:
    async with chain_of(workspace, Variables(config_file="~nobody-of-that-name/config")) as chain:
        with pytest.raises(NoToken):
            await chain.resolve_token(ME)
        assert chain.get_reports(ME)[0].outcome is Outcome.NOTHING


async def test_a_kind_that_is_not_known(workspace: Served) -> None:
    with pytest.raises(ExceptionGroup) as info:
        async with chain_of(workspace, Variables(auth_type="google-id")):
            pass
    assert info.group_contains(ConfigError, match="google-id")


def test_variables_are_read_and_the_secrets_taken() -> None:
    environ = {name: f"of-{name}" for name in (*SECRETS, *PLAIN)}
    taken: list[str] = []

    def take(name: str) -> str | None:
        taken.append(name)
        return environ.pop(name, None)

    variables = read_variables(environ, take)
    assert (variables.token, variables.client_id) == (Token("of-DATABRICKS_TOKEN"), "of-DATABRICKS_CLIENT_ID")
    assert (variables.client_secret, variables.arm_secret) == (
        Secret("of-DATABRICKS_CLIENT_SECRET"),
        Secret("of-ARM_CLIENT_SECRET"),
    )
    assert set(environ) == set(PLAIN)
    assert taken == list(SECRETS)
    assert "SECRET" not in repr(variables)


def test_all_secrets_are_taken_before_one_is_refused() -> None:
    environ = {"DATABRICKS_TOKEN": "not a token", "ARM_CLIENT_SECRET": "s"}
    with pytest.raises(InvalidWrite):
        read_variables(environ, lambda name: environ.pop(name, None))
    assert not environ


def test_nothing_set_is_nothing() -> None:
    assert read_variables({}, lambda _: None) == Variables()
    assert read_variables({"DATABRICKS_HOST": " "}, lambda _: " ") == Variables()


@pytest.mark.parametrize("text", ["", "x" * 2000, "caf\u00e9", "a\nb", "a\0b"])
def test_what_is_no_secret(text: str) -> None:
    with pytest.raises(InvalidWrite):
        Secret(text)


def test_a_secret_shows_nothing_of_itself() -> None:
    secret = Secret("canary")
    assert "canary" not in f"{secret} {secret!r} {secret:>20}"
    assert secret.reveal() == "canary"
    assert secret == Secret("canary") != Secret("other")
    with pytest.raises(TypeError):
        secret.__reduce__()
