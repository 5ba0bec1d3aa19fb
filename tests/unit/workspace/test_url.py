"""Where the workspace is: one spelling per workspace, and no clear text beyond loopback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.errors import ConfigError
from fuse4dbricks.workspace.url import parse_workspace_url


@pytest.mark.parametrize(
    "text, base",
    [
        ("adb-1.2.azuredatabricks.net", "https://adb-1.2.azuredatabricks.net"),
        ("https://adb-1.2.azuredatabricks.net/", "https://adb-1.2.azuredatabricks.net"),
        ("HTTPS://ADB-1.2.AzureDatabricks.NET:443", "https://adb-1.2.azuredatabricks.net"),
        ("  https://adb-1.2.azuredatabricks.net./?o=12#job/3\n", "https://adb-1.2.azuredatabricks.net"),
        ("https://dbc-1.cloud.databricks.com:8443/browse", "https://dbc-1.cloud.databricks.com:8443"),
        ("localhost:8000", "https://localhost:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://127.8.8.8:81", "http://127.8.8.8:81"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_normalises(text: str, base: str) -> None:
    url = parse_workspace_url(text)
    assert url.base == base
    assert url.host == base.split("://")[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "https://",
        "https:///path",
        "ftp://host",
        "file:///etc/passwd",
        "https://ho st",
        "https://host\x00",
        "https://host\\evil",
        "https://host:0",
        "https://host:65536",
        "https://host:port",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://-.example",
        "https://a..b",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 130 + "example",
        "https://exa$mple",
    ],
)
def test_refuses_what_is_malformed(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_workspace_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://adb-1.2.azuredatabricks.net",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.1",
        "http://2130706433",
        "http://0.0.0.0:8000",
        "http://[::ffff:10.0.0.1]",
    ],
)
def test_refuses_clear_text_beyond_loopback(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_workspace_url(text)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_workspace_url("https://me:s3cret@host.example")
    assert "s3cret" not in str(caught.value)


def test_knows_loopback() -> None:
    assert parse_workspace_url("https://localhost").is_loopback
    assert not parse_workspace_url("https://host.example").is_loopback


@given(st.text(max_size=60))
def test_any_text_is_a_workspace_or_a_config_error(text: str) -> None:
    try:
        url = parse_workspace_url(text)
    except ConfigError:
        return
    assert parse_workspace_url(url.base) == url
