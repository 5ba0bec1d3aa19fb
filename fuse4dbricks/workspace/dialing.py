"""From a URL to a link: addresses, proxy, TLS.

The difficulty: whoever waits for a connection is often cancelled in the middle of making one, and a socket that is
half-way through its TLS handshake belongs to nobody yet. So each step owns what it was given until the next one has
it, and the time limit of each step is a scope round it, not a timer in it.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import h11
import httpx
import trio

from fuse4dbricks.workspace.links import Link, TcpLink, TlsLink

T = TypeVar("T")

SocketOption = tuple[int, int, int]

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens links to the hosts of URLs.

    Attributes:
        trust: for TLS; it must offer HTTP/1.1 only.
        proxy: to go through, or None.
        options: of every socket.
    """

    trust: ssl.SSLContext
    proxy: httpx.Proxy | None = None
    options: Sequence[SocketOption] = ()

    async def dial(self, url: httpx.URL, limit: float) -> Link:
        """A link to the host of ``url``; each step of making it may take ``limit`` seconds.

        Raises:
            httpx.ConnectTimeout: a step took too long.
            httpx.ConnectError: there is no connection; its cause says why.
            httpx.ProxyError: the proxy refused.
        """
        if self.proxy is None:
            link = await self._connect(url, limit)
        else:
            link = await self._connect(self.proxy.url, limit)
            link = await self._secure(link, self.proxy.url, self.proxy.ssl_context or self.trust, limit)
            await _owned(link, _tunnel(link, self.proxy, url), limit)
        return await self._secure(link, url, self.trust, limit)

    async def _connect(self, url: httpx.URL, limit: float) -> Link:
        async def connect() -> trio.SocketStream:
            return await trio.open_tcp_stream(host_of(url), port_of(url))

        stream = await _limited(connect(), limit)
        connected = socket.socket(fileno=stream.socket.detach())
        with ExitStack() as undo:
            undo.callback(connected.close)
            for option in self.options:
                connected.setsockopt(*option)
            undo.pop_all()
        return TcpLink(connected)

    async def _secure(self, link: Link, url: httpx.URL, trust: ssl.SSLContext, limit: float) -> Link:
        if url.scheme != "https":
            return link
        secure = TlsLink(link, trust, host_of(url))
        await _owned(secure, secure.handshake(), limit)
        return secure


def host_of(url: httpx.URL) -> str:
    """The host as DNS and certificates know it."""
    return url.raw_host.decode("ascii")


def port_of(url: httpx.URL) -> int:
    """The port, given or usual."""
    return url.port or _PORTS[url.scheme]


async def _owned(link: Link, step: Awaitable[None], limit: float) -> None:
    """Take a step with a link that is closed unless the step succeeds."""
    with ExitStack() as undo:
        undo.callback(link.close)
        await _limited(step, limit)
        undo.pop_all()


async def _limited(step: Awaitable[T], limit: float) -> T:
    with trio.move_on_after(limit):
        try:
            return await step
        except (
            OSError,
            ValueError,
            trio.BrokenResourceError,
        ) as error:  # ValueError: no host has such a name
            # What the operating system and OpenSSL say holds nothing of ours.
            raise httpx.ConnectError(str(error)) from error
    raise httpx.ConnectTimeout("no connection in time")


async def _tunnel(link: Link, proxy: httpx.Proxy, url: httpx.URL) -> None:
    """Ask a proxy for a tunnel (RFC 9110 section 9.3.6)."""
    host = host_of(url)
    target = f"{f'[{host}]' if ':' in host else host}:{port_of(url)}"
    headers = [("Host", target), ("Accept", "*/*")]
    if proxy.raw_auth is not None:
        pair = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
        headers.append(("Proxy-Authorization", f"Basic {pair}"))
    talk = h11.Connection(h11.CLIENT)
    request = talk.send(h11.Request(method="CONNECT", target=target, headers=headers))
    assert request is not None
    await link.send(request)
    try:
        while (event := talk.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
            if event is h11.NEED_DATA:
                talk.receive_data(await link.receive())
    except h11.RemoteProtocolError:
        raise httpx.ProxyError("the proxy does not speak HTTP") from None
    if not isinstance(event, h11.Response) or not 200 <= event.status_code < 300:
        raise httpx.ProxyError("the proxy refused")
