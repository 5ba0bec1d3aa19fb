"""Reading ``.databrickscfg``: what is in it, for this workspace, and nothing else."""

from __future__ import annotations

import pytest

from fuse4dbricks.auth.issuers import AZURE_CLI, AZURE_SECRET, DATABRICKS_CLI, M2M, PAT, kind_of
from fuse4dbricks.auth.profiles import Profile, parse_profile
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Outcome, SourceFailure
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace.url import parse_workspace_url

HOST = "adb-1.azuredatabricks.net"
HERE = f"host = https://{HOST}\n"


def parsed(text: str, wanted: str | None = None) -> Profile:
    return parse_profile(text, wanted, host=HOST, normalise=lambda host: parse_workspace_url(host).host)


def test_the_default_profile() -> None:
    profile = parsed(f"[DEFAULT]\n{HERE}token = dapi1\n")
    assert (profile.name, profile.token) == ("DEFAULT", Token("dapi1"))


def test_a_named_one_and_the_files_own_default() -> None:
    text = f"[__settings__]\ndefault_profile = b\n[a]\n{HERE}token=A\n[b]\n{HERE}token=B\n[DEFAULT]\n{HERE}token=D\n"
    assert parsed(text).token == Token("B")
    assert parsed(text, "a").token == Token("A")
    assert parsed(text, "DEFAULT").token == Token("D")


def test_profiles_do_not_inherit_default() -> None:
    text = f"[DEFAULT]\n{HERE}token = dapi-of-default\n[bare]\n{HERE}\n[hostless]\nclient_id = x\n"
    assert parsed(text, "bare").token is None
    with pytest.raises(SourceFailure, match="'hostless' names no host"):
        parsed(text, "hostless")


def test_percent_is_no_interpolation() -> None:
    text = f"[DEFAULT]\n{HERE}client_id = c\nclient_secret = 100%(host)s%%\n"
    assert parsed(text).client_secret == Secret("100%(host)s%%")


@pytest.mark.parametrize(
    "spelling", [HOST, f"https://{HOST}/", f"HTTPS://{HOST.upper()}:443/?o=1", f" https://{HOST} "]
)
def test_spellings_of_the_host(spelling: str) -> None:
    assert parsed(f"[DEFAULT]\nhost = {spelling}\ntoken = t\n").token == Token("t")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("https://adb-2.azuredatabricks.net", "is for adb-2.azuredatabricks.net"),
        (f"https://{HOST}.evil.example", "is for"),
        ("http://adb-1.azuredatabricks.net", "not usable"),
        ("", "names no host"),
    ],
)
def test_a_token_for_another_workspace_is_not_for_this_one(host: str, reason: str) -> None:
    with pytest.raises(SourceFailure, match=reason):
        parsed(f"[DEFAULT]\nhost = {host}\ntoken = dapi-canary\n")


@pytest.mark.parametrize("wanted", ["nope", "__settings__"])
def test_a_profile_that_is_not_there(wanted: str) -> None:
    with pytest.raises(SourceFailure, match="no profile") as info:
        parsed(f"[__settings__]\nx = 1\n[a]\n{HERE}", wanted)
    assert info.value.outcome is Outcome.FAILED
    with pytest.raises(SourceFailure, match="no profile 'DEFAULT'") as info:
        parsed(f"[a]\n{HERE}")
    assert info.value.outcome is Outcome.NOTHING


@pytest.mark.parametrize(
    "text", ["token dapi-canary", "[a\ntoken = dapi-canary", "= dapi-canary", "[DEFAULT]\ndapi-canary\n"]
)
def test_what_cannot_be_read_is_not_quoted(text: str) -> None:
    with pytest.raises(SourceFailure) as info:
        parsed(text)
    assert "canary" not in str(info.value)


@pytest.mark.parametrize(
    "line", ["token = dapi canary", "token = caf\u00e9-canary", "client_secret = canary\u0007"]
)
def test_a_malformed_secret_is_not_quoted(line: str) -> None:
    with pytest.raises(SourceFailure, match="malformed secret") as info:
        parsed(f"[DEFAULT]\n{HERE}{line}\n")
    assert "canary" not in str(info.value)


def test_nothing_secret_is_in_the_repr() -> None:
    text = f"[DEFAULT]\n{HERE}token=canary1\nclient_secret=canary2\nazure_client_secret=canary3\npassword=canary4\n"
    assert "canary" not in repr(parsed(text))


AZURE = "azure_client_id = c\nazure_client_secret = s\nazure_tenant_id = t\n"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("token = t\nclient_id = c\nclient_secret = s\n", PAT),
        ("client_id = c\nclient_secret = s\n", M2M),
        (AZURE, AZURE_SECRET),
        ("", DATABRICKS_CLI),
        ("auth_type = databricks-cli\n", DATABRICKS_CLI),
        ("auth_type = azure-cli\n", AZURE_CLI),
        (f"token = t\n{AZURE}auth_type = azure-client-secret\n", AZURE_SECRET),
    ],
)
def test_kinds(lines: str, kind: str) -> None:
    assert kind_of(parsed(f"[DEFAULT]\n{HERE}{lines}")) == kind


@pytest.mark.parametrize("wanted", ["pat", "oauth-m2m", "azure-client-secret", "google-id"])
def test_a_kind_that_is_not_there(wanted: str) -> None:
    with pytest.raises(SourceFailure, match=wanted):
        kind_of(parsed(f"[DEFAULT]\n{HERE}auth_type = {wanted}\n"))
