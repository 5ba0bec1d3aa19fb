"""The way onto the network: TLS trust, proxies and the connection pool.

The difficulty: an ``httpx.AsyncClient`` remembers cookies, so one user's session would travel with another user's
token, and it prepares redirects; and httpx's own transport hands on each TLS record by itself, at 2.5 times the cost
of the transport in ``pool.py``. So that one is used, alone. What a client would have read from the
environment is decided here once, for the one host that is ever asked: SSL_CERT_FILE and SSL_CERT_DIR as httpx does,
and the proxy variables as everybody does, except that a loopback workspace, which may be plain http, never goes
through a proxy, because the token would.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from urllib.request import getproxies, proxy_bypass

import httpx

from fuse4dbricks.errors import ConfigError
from fuse4dbricks.trust import no_trust, usual_trust
from fuse4dbricks.workspace.dialing import Dialer
from fuse4dbricks.workspace.pool import Pool
from fuse4dbricks.workspace.retry import Patience
from fuse4dbricks.workspace.url import WorkspaceUrl

#: Idle connections are closed before a load balancer or a NAT (60 s and more) forgets them without a word.
KEEPALIVE_EXPIRY = 30.0


def open_transport(
    url: WorkspaceUrl, *, verify: ssl.SSLContext | None, patience: Patience, connections: int
) -> Pool:
    """A transport with a pool of HTTP/1.1 connections to ``url``.

    Args:
        url: the workspace.
        verify: whom to trust; None for the usual trust.
        patience: for the connection's own time limits.
        connections: that may stay open while idle.

    Raises:
        ConfigError: the certificate file or the proxy that the environment names cannot be used.
    """
    trust = verify or (no_trust() if url.scheme == "http" else usual_trust())
    trust.set_alpn_protocols(["http/1.1"])
    dialer = Dialer(trust, _proxy(url), _socket_options(patience))
    return Pool(dialer, keep=KEEPALIVE_EXPIRY, most=connections)


def _proxy(url: WorkspaceUrl) -> httpx.Proxy | None:
    address = proxy_for(url)
    if address is None:
        return None
    with suppress(ValueError, TypeError, httpx.InvalidURL):
        proxy = httpx.Proxy(address)
        if proxy.url.scheme in {"http", "https"} and proxy.url.host:
            return proxy
    # The proxy's address may hold a password: it is not repeated.
    raise ConfigError(f"the proxy set in the environment for {url.scheme}:// cannot be used")


def proxy_for(url: WorkspaceUrl) -> str | None:
    """The proxy that the environment asks for, or None."""
    if url.is_loopback or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy or None


def _socket_options(patience: Patience) -> list[tuple[int, int, int]]:
    # Without it a request sent into a dead link waits for the reply's whole time limit.
    milliseconds = int(patience.stall * 1000)
    return [
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
