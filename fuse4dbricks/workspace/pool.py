"""Connections that are used again, behind httpx's transport seam.

The difficulty: a connection that looks idle may be dead (the server, a NAT or a firewall has forgotten it), and one
that was given back with an unread byte poisons the next reply. So only a link whose last body was read to its exact
end comes back, and before it is used again it must be young and silent.

How many connections there are is bounded by who asks: the limiter admits no more calls than it has slots.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial

import httpx
import trio

from fuse4dbricks.workspace.dialing import Dialer, host_of, port_of
from fuse4dbricks.workspace.http1 import exchange
from fuse4dbricks.workspace.links import Link

_Origin = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class _Idle:
    link: Link
    expires_at: float


class Pool(httpx.AsyncBaseTransport):
    """Sends requests without bodies, on links that are kept per origin.

    Args:
        dialer: makes links.
        keep: seconds that an idle link is kept.
        most: idle links that are kept per origin.
    """

    def __init__(self, dialer: Dialer, *, keep: float, most: int) -> None:
        self._dialer = dialer
        self._keep = keep
        self._most = most
        self._idle: dict[_Origin, deque[_Idle]] = {}
        self._busy: set[Link] = set()
        self._is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, and give back the reply with its body still to be read; close that.

        Raises:
            httpx.HTTPError: the network did not bring a reply.
        """
        url = request.url
        origin = (url.scheme, host_of(url), port_of(url))
        link = self._take(origin)
        if link is None:
            limit = request.extensions.get("timeout", {}).get("connect", float("inf"))
            link = await self._dialer.dial(url, limit)
        self._busy.add(link)
        return await exchange(link, request, partial(self._end, origin))

    async def knock(self, url: httpx.URL, limit: float) -> None:
        """Make a link to the host of ``url``, whatever links there are, and keep it for the next request.

        Raises:
            httpx.HTTPError: there is none to be had; each step of making it may take ``limit`` seconds.
        """
        link = await self._dialer.dial(url, limit)
        self._end((url.scheme, host_of(url), port_of(url)), link, is_reusable=True)

    async def aclose(self) -> None:
        """Close every link; replies that are being read fail."""
        self._is_closed = True
        for queue in self._idle.values():
            for idle in queue:
                idle.link.close()
        self._idle.clear()
        for link in self._busy:
            link.close()

    def _take(self, origin: _Origin) -> Link | None:
        """An idle link that seems alive, the last used first: it is the warmest."""
        queue, now = self._idle.get(origin, deque()), trio.current_time()
        while queue and queue[0].expires_at <= now:
            queue.popleft().link.close()
        while queue:
            link = queue.pop().link
            if link.is_quiet():
                return link
            link.close()
        return None

    def _end(self, origin: _Origin, link: Link, /, *, is_reusable: bool) -> None:
        self._busy.discard(link)
        queue = self._idle.setdefault(origin, deque())
        if not is_reusable or self._is_closed:
            link.close()
            return
        queue.append(_Idle(link, trio.current_time() + self._keep))
        if len(queue) > self._most:
            queue.popleft().link.close()
