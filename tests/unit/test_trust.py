"""Whom TLS trusts, and that a mount hears of it when it cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext

import pytest
import trustme

from fuse4dbricks.errors import ConfigError
from fuse4dbricks.trust import TrustAhead, no_trust, trust_with, usual_trust


def subjects(context: SSLContext) -> list[str]:
    return [str(authority["subject"]) for authority in context.get_ca_certs()]


def ahead(file: Path | None) -> SSLContext:
    return TrustAhead(file).get()


either_way = pytest.mark.parametrize("make", [trust_with, ahead])


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    trustme.CA(organization_name="The house").cert_pem.write_to_path(str(file))
    return file


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@either_way
def test_an_authority_of_ones_own_is_trusted(
    make: Callable[[Path | None], SSLContext], authority: Path
) -> None:
    assert any("The house" in subject for subject in subjects(make(authority)))


@either_way
def test_the_usual_authorities(make: Callable[[Path | None], SSLContext]) -> None:
    found = subjects(make(None))
    assert len(found) > 50
    assert not any("The house" in subject for subject in found)


@either_way
def test_the_environment_names_them(
    make: Callable[[Path | None], SSLContext], authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    (subject,) = subjects(make(None))
    assert "The house" in subject


def test_a_folder_of_authorities_is_read_when_one_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert subjects(usual_trust()) == []


@either_way
@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "cannot be read: No such file"), ("x", "holds no PEM")]
)
def test_a_file_that_cannot_be_used(
    make: Callable[[Path | None], SSLContext], content: str | None, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        make(file)


def test_a_file_of_the_environment_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        ahead(None)


def test_plain_http_trusts_nobody() -> None:
    assert subjects(no_trust()) == []
