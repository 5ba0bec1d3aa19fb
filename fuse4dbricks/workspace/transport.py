"""The way onto the network: TLS trust, proxies and the connection pool.

The difficulty: an ``httpx.AsyncClient`` remembers cookies, so one user's session would travel with another user's
token, and it prepares redirects. Here its transport is used alone. What a client would have read from the
environment is decided here once, for the one host that is ever asked: SSL_CERT_FILE and SSL_CERT_DIR as httpx does,
and the proxy variables as everybody does, except that a loopback workspace, which may be plain http, never goes
through a proxy, because the token would.
"""

from __future__ import annotations

import socket
import ssl
from urllib.request import getproxies, proxy_bypass

import httpx

from fuse4dbricks.errors import ConfigError
from fuse4dbricks.workspace.retry import Patience
from fuse4dbricks.workspace.url import WorkspaceUrl

#: Idle connections are closed before a load balancer or a NAT (60 s and more) forgets them without a word.
KEEPALIVE_EXPIRY = 30.0


def open_transport(
    url: WorkspaceUrl, *, verify: ssl.SSLContext | None, patience: Patience, connections: int
) -> httpx.AsyncBaseTransport:
    """A transport with a pool of ``connections`` HTTP/1.1 connections to ``url``.

    Args:
        url: the workspace.
        verify: whom to trust; None for the usual trust.
        patience: for the connection's own time limits.
        connections: at most; all may stay open while idle.

    Raises:
        ConfigError: the certificate file or the proxy that the environment names cannot be used.
    """
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEPALIVE_EXPIRY
    )
    proxy = proxy_for(url)
    try:
        return httpx.AsyncHTTPTransport(
            verify=verify or _usual_trust(url),
            limits=limits,
            proxy=proxy,
            socket_options=_socket_options(patience),
        )
    except (ValueError, TypeError, ImportError, httpx.InvalidURL):
        # The proxy's address may hold a password: it is not repeated.
        raise ConfigError(f"the proxy set in the environment for {url.scheme}:// cannot be used") from None


def proxy_for(url: WorkspaceUrl) -> str | None:
    """The proxy that the environment asks for, or None."""
    if url.is_loopback or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy or None


def _usual_trust(url: WorkspaceUrl) -> ssl.SSLContext:
    if url.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ConfigError(
            f"the certificates named by SSL_CERT_FILE cannot be used: {error.strerror}"
        ) from None


def _socket_options(patience: Patience) -> list[tuple[int, int, int]]:
    # Without it a request sent into a dead link waits for the reply's whole time limit.
    milliseconds = int(patience.stall * 1000)
    return [
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
