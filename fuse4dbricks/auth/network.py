"""The way to token endpoints: TLS trust, proxies, and errors that repeat nothing of what was sent.

The difficulty: what httpx and h11 say of a failure may quote the request, with the client secret in it. So of their
errors only the kind is kept, and what the operating system or OpenSSL says of the connection.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any
from urllib.parse import urlsplit

import httpx

from fuse4dbricks.auth.source import SourceFailure
from fuse4dbricks.trust import no_trust, usual_trust

#: Seconds for connecting and between two pieces of an answer.
NETWORK_SECONDS = 10.0


def client_options(url: str, verify: ssl.SSLContext | None) -> dict[str, Any]:
    """For an httpx client that speaks to ``url``; proxies of the environment are not for this machine's own ports."""
    return {
        "verify": verify or (no_trust() if urlsplit(url).scheme == "http" else usual_trust()),
        "timeout": httpx.Timeout(NETWORK_SECONDS),
        "trust_env": not is_loopback(url),
        "follow_redirects": False,
    }


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def lost(url: str, error: Exception) -> SourceFailure:
    """The meaning of a transport error. Raise it ``from None``."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return SourceFailure(f"{host} cannot be reached: {_describe(error)}", is_outage=True)


def _describe(error: BaseException) -> str:
    cause: BaseException | None = error
    for _ in range(10):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
