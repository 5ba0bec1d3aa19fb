"""Bytes straight from the cloud store, where the workspace gives out URLs for that.

The difficulties:

* It is a detour that may not pay. A URL costs a call, so only a file that is read for long gets one, one for all its
  ranges; and whatever goes wrong here costs a reader little: the range is fetched from the Files API instead.
* Many networks let nobody out to the store, and a connection attempt there hangs until its limit. So the limit is
  short, and a failure is remembered for the whole mount.
* The store is a third party on another host. It never sees the workspace's token, is reached through the proxy that the
  environment names for its own host (perhaps none where the workspace has one), and is believed as little as the
  workspace: the range, the length and the version of each reply are checked, and what it refuses says nothing about a
  user's rights.
* A URL is a secret that opens a file to whoever has it. It is in no log and no error, and goes with the token that it
  was made for.
"""

from __future__ import annotations

import logging
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import httpx
import trio

from fuse4dbricks import __version__
from fuse4dbricks.clock import Clock
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    ConfigError,
    InvalidToken,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    RequestRejected,
    VersionChanged,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.units import KIB, MIB
from fuse4dbricks.workspace.body import Body
from fuse4dbricks.workspace.exchange import Reply, log_reply
from fuse4dbricks.workspace.limits import CallLimiter, Lane, Ticket, Urgency
from fuse4dbricks.workspace.network import TRANSPORT_ERRORS
from fuse4dbricks.workspace.presigned import SignedUrl, checked, is_expiry
from fuse4dbricks.workspace.ranges import check_range_reply
from fuse4dbricks.workspace.retry import Patience, Setback
from fuse4dbricks.workspace.transport import open_transport
from fuse4dbricks.workspace.url import WorkspaceUrl
from fuse4dbricks.workspace.wire import DownloadUrl

logger = logging.getLogger("fuse4dbricks.workspace")

#: Smaller files are fetched by the Files API alone: they end before a URL has paid for its call.
SMALLEST_FILE = 64 * MIB
#: Seconds that a URL, a connection, and the headers of a reply may take. In a network that lets nobody out to the
#: store, the connection attempt would hang for minutes.
URL_PATIENCE = 2.0
CONNECT_PATIENCE = 2.0
REPLY_PATIENCE = 5.0
#: Seconds for which the store is left alone after it could not be used. A laptop may be in another network then.
OFF_SECONDS = 600.0
#: Ranges in flight. They do not count against the Files API's ten.
WIDTH = 8
PER_SECOND = 200
#: URLs kept at once, and stores (buckets have hosts of their own).
MAX_URLS = 64
MAX_STORES = 4

_MAX_REFUSAL = 16 * KIB
_WHAT = "GET of a presigned URL"

#: What is said to one user, not of the store.
_PERSONAL = (InvalidToken, NotFound, PermissionDenied)

FetchUrl = Callable[[Token, RemotePath], Awaitable[DownloadUrl]]
OpenTransport = Callable[[WorkspaceUrl], httpx.AsyncBaseTransport]


class CloudStore:
    """Fetches ranges of large files past the workspace. Close it with :meth:`aclose`."""

    def __init__(
        self,
        *,
        open_transport: OpenTransport,
        is_local: bool,
        patience: Patience,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._open_transport = open_transport
        self._is_local = is_local
        self._patience = replace(patience, stall=min(patience.stall, REPLY_PATIENCE))
        self._clock = clock
        self._metrics = metrics
        self._limiter = CallLimiter(in_flight=WIDTH, data=WIDTH, per_second=PER_SECOND)
        self._urls: OrderedDict[tuple[Token, RemotePath], SignedUrl] = OrderedDict()
        self._stores: dict[str, httpx.AsyncBaseTransport] = {}
        self._asking: set[tuple[Token, RemotePath]] = set()
        self._off_until = float("-inf")
        self._refused_until: OrderedDict[Token, float] = OrderedDict()

    def way_to(self, token: Token, path: RemotePath, fetch_url: FetchUrl) -> Way:
        """The way to one file for the bearer of ``token``."""
        return Way(self, token, path, fetch_url)

    async def open(
        self,
        token: Token,
        path: RemotePath,
        span: range,
        version: Version,
        ticket: Ticket,
        fetch_url: FetchUrl,
    ) -> Reply | None:
        """A checked reply with the bytes ``span`` of ``version``; None when the Files API is to be asked.

        A URL is asked for by what is fetched ahead only: nobody waits for one.
        """
        if version.size < SMALLEST_FILE or trio.current_time() < self._off_until:
            return None
        signed = self._get_url(token, path)
        if signed is None and ticket.urgency is Urgency.AHEAD:
            signed = await self._fetch_url(token, path, fetch_url)
        if signed is None:
            return None
        try:
            return await self._open_range(signed, token, span, version, ticket)
        except _Ended:
            self._urls.pop((token, path), None)
        except _Unusable as error:
            self.give_up(str(error))
        return None

    def give_up(self, reason: str) -> None:
        """Something was wrong with the store: leave it alone for a while, and say so."""
        if trio.current_time() >= self._off_until:
            logger.info("files are not fetched from the cloud store for %d s: %s", OFF_SECONDS, reason)
        self._off_until = trio.current_time() + OFF_SECONDS
        self._metrics.count("remote.cloud_failures")

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._stores.values():
            await transport.aclose()

    # --- the URL ---------------------------------------------------------------------------------

    def _get_url(self, token: Token, path: RemotePath) -> SignedUrl | None:
        signed = self._urls.get((token, path))
        if signed is not None and signed.ends_at <= self._clock.wall():
            del self._urls[token, path]
            return None
        return signed

    async def _fetch_url(self, token: Token, path: RemotePath, fetch_url: FetchUrl) -> SignedUrl | None:
        """A new URL; None at once while another range of the file has asked for one."""
        key = (token, path)
        if key in self._asking or trio.current_time() < self._refused_until.get(token, float("-inf")):
            return None
        self._asking.add(key)
        try:
            with trio.move_on_after(URL_PATIENCE):
                now = self._clock.wall()
                signed = checked(await fetch_url(token, path), now=now, is_local=self._is_local)
                self._urls[key] = signed
                if len(self._urls) > MAX_URLS:
                    self._urls.popitem(last=False)
                return signed
            self.give_up("the workspace takes too long to make a URL")
        except RemoteError as error:
            if isinstance(error, _PERSONAL) and "not enabled" not in str(error):
                # One who may not is no sign of what others may; the Files API will tell him.
                self._refused_until[token] = trio.current_time() + OFF_SECONDS
                if len(self._refused_until) > MAX_URLS:
                    self._refused_until.popitem(last=False)
            elif isinstance(error, RequestRejected) or "not enabled" in str(error):
                # It does not offer them, and will not while we are mounted.
                self._off_until = float("inf")
                logger.info("the workspace gives out no download URLs: %s", error)
            else:
                self.give_up(f"the workspace makes no URL: {error}")
        finally:
            self._asking.discard(key)
        return None

    # --- the range -------------------------------------------------------------------------------

    async def _open_range(
        self, signed: SignedUrl, token: Token, span: range, version: Version, ticket: Ticket
    ) -> Reply:
        lease = await self._limiter.acquire(ticket, Lane.DATA, token)
        async with AsyncExitStack() as undo:
            undo.callback(self._limiter.release, lease)
            response = await self._send(signed, span)
            body = Body(response, self._patience, self._patience.stall, _WHAT)
            reply = Reply(response, body, self._clock.wall(), self._limiter, lease)
            undo.push_async_callback(reply.aclose)
            await self._check(reply, span, version)
            self._limiter.note_answered(lease)
            undo.pop_all()
        return reply

    async def _send(self, signed: SignedUrl, span: range) -> httpx.Response:
        headers = {
            "User-Agent": f"fuse4dbricks/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **dict(signed.headers),
            "Range": f"bytes={span.start}-{span.stop - 1}",
        }
        self._metrics.count("remote.calls", kind="cloud")
        reason, began = "it does not answer", trio.current_time()
        with trio.move_on_after(REPLY_PATIENCE):
            try:
                request = httpx.Request(
                    "GET", signed.url, headers=headers, extensions={"timeout": {"connect": CONNECT_PATIENCE}}
                )
                response = await self._store(signed.origin).handle_async_request(request)
                log_reply(_WHAT, response.status_code, began, headers["Range"])
                return response
            except (*TRANSPORT_ERRORS, ConfigError):
                reason = "it cannot be reached"
        # Outside the except block: the context would hold the URL.
        raise _Unusable(reason)

    def _store(self, origin: WorkspaceUrl) -> httpx.AsyncBaseTransport:
        if origin.base not in self._stores:
            if len(self._stores) >= MAX_STORES:
                raise ConfigError("files in more stores than there are connections for")
            self._stores[origin.base] = self._open_transport(origin)
        return self._stores[origin.base]

    async def _check(self, reply: Reply, span: range, version: Version) -> None:
        """Return when the reply is the range; the file's ETag in the store is no part of our version."""
        if reply.status not in {200, 206}:
            raise await self._refusal(reply)
        try:
            check_range_reply(
                reply.status, _without_etag(reply.headers), start=span.start, stop=span.stop, version=version
            )
        except (ProtocolViolation, VersionChanged) as error:
            # Whether the file has changed, the Files API knows: its answer counts.
            text = str(error)
        else:
            return
        raise _Unusable(f"a reply that does not fit: {text}")

    async def _refusal(self, reply: Reply) -> Exception:
        body = b""
        try:
            with trio.move_on_after(REPLY_PATIENCE):
                body = await reply.body.read_all(_MAX_REFUSAL, float("inf"))
        except (Setback, ProtocolViolation):
            body = b""
        if is_expiry(reply.status, body):
            return _Ended()
        return _Unusable(f"it answers {reply.status}")


@dataclass(frozen=True, slots=True)
class Way:
    """A :class:`~fuse4dbricks.workspace.streams.Detour` to one file."""

    store: CloudStore
    token: Token
    path: RemotePath
    fetch_url: FetchUrl

    async def open(self, span: range, version: Version, ticket: Ticket, /) -> Reply | None:
        """A checked reply, or None."""
        return await self.store.open(self.token, self.path, span, version, ticket, self.fetch_url)

    def give_up(self, reason: str, /) -> None:
        """A reply from the store broke off: the store is left alone for a while."""
        self.store.give_up(reason)


class _Ended(Exception):
    """The URL has ended; another one will do."""


class _Unusable(Exception):
    """The store cannot be used, and says why in words without a secret."""


def open_cloud_store(
    address: WorkspaceUrl,
    *,
    verify: ssl.SSLContext | None,
    patience: Patience,
    clock: Clock,
    metrics: Metrics,
) -> CloudStore:
    """The cloud stores behind the workspace at ``address``; nothing is sent yet."""
    return CloudStore(
        open_transport=lambda origin: open_transport(
            origin, verify=verify, patience=patience, connections=WIDTH
        ),
        is_local=address.is_loopback,
        patience=patience,
        clock=clock,
        metrics=metrics,
    )


def _without_etag(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The Files API knows no ETag: with the store's one, the same version would have two names."""
    return httpx.Headers([(name, value) for name, value in headers.items() if name.lower() != "etag"])
