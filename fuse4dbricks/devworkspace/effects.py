"""What can go wrong before the service answers, or instead of its answer.

Each effect is an ASGI layer: it answers itself, or alters the exchange and lets it proceed. Those that alter the
body on its way are in ``body_effects.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response
from starlette.types import Message

from fuse4dbricks.devworkspace.body_effects import send_transformed
from fuse4dbricks.devworkspace.connection import Dropped, with_headers
from fuse4dbricks.devworkspace.faults import ActiveFault, Exchange, Proceed

_LOGIN_PAGE = (
    "<!doctype html><html><head><title>Databricks - Sign In</title></head><body>Sign in</body></html>"
)


async def _reply(exchange: Exchange, reply: Response) -> None:
    await reply(exchange.scope, exchange.receive, exchange.send)


@dataclass(frozen=True, slots=True)
class Latency:
    """The answer comes ``seconds`` later."""

    seconds: float

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Sleep, then proceed."""
        del active
        await asyncio.sleep(self.seconds)
        await proceed(exchange)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An error answer.

    Attributes:
        status: of HTTP.
        error_code: a string, or a number as for bad tokens; None for an empty body.
        retry_after: sent as it is: ``"3"``, an HTTP-date, ``"nan"``, ``"-5"``, ``"1e308"``; None for no header.
        headers: more of them.
        retry_delay: seconds, in a RetryInfo detail.
    """

    status: int
    error_code: str | int | None = "INJECTED"
    message: str = "A fault of the local workspace."
    reason: str | None = None
    retry_after: str | None = None
    retry_delay: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Answer with the error."""
        del proceed, active
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["retry-after"] = self.retry_after
        if self.error_code is None or exchange.record.method == "HEAD":
            await _reply(exchange, Response(status_code=self.status, headers=headers))
            return
        body = json.dumps(self._document(exchange.record.request_id)).encode()
        await _reply(exchange, Response(body, self.status, headers, media_type="application/json"))

    def _document(self, request_id: str) -> dict[str, Any]:
        prefix = "type.googleapis.com/google.rpc."
        details: list[dict[str, Any]] = [
            {"@type": f"{prefix}RequestInfo", "request_id": request_id, "serving_data": ""}
        ]
        if self.reason is not None:
            details.append(
                {"@type": f"{prefix}ErrorInfo", "reason": self.reason, "domain": "", "metadata": {}}
            )
        if self.retry_delay is not None:
            details.append({"@type": f"{prefix}RetryInfo", "retry_delay": f"{self.retry_delay}s"})
        return {"error_code": self.error_code, "message": self.message, "details": details}


@dataclass(frozen=True, slots=True)
class Page:
    """A body of another service (a login page, a proxy's error) with any status."""

    body: str = _LOGIN_PAGE
    status: int = 200
    media_type: str = "text/html; charset=utf-8"

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Answer with the page."""
        del proceed, active
        await _reply(exchange, Response(self.body, self.status, media_type=self.media_type))


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect; without a location to the login page, as for a wrong private link."""

    location: str = "/login.html?error=private-link-validation-error:1"
    status: int = 302

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Answer with the redirect."""
        del proceed, active
        await _reply(exchange, Response(status_code=self.status, headers={"location": self.location}))


@dataclass(frozen=True, slots=True)
class Json:
    """A 200 with this JSON document, whatever was asked: the wrong shape, the wrong type, an endless list."""

    document: Any

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Answer with the document."""
        del proceed, active
        await _reply(exchange, Response(json.dumps(self.document).encode(), media_type="application/json"))


@dataclass(frozen=True, slots=True)
class Reset:
    """A TCP RST before the headers, or after so many bytes of the body."""

    after_bytes: int | None = None

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Reset at once, or when enough of the body went out."""
        del active
        if self.after_bytes is None:
            exchange.connection.reset()
            raise Dropped
        left = self.after_bytes

        async def send(message: Message) -> None:
            nonlocal left
            if message["type"] != "http.response.body":
                await exchange.send(message)
                return
            body = message.get("body", b"")
            if len(body) < left:
                left -= len(body)
                await exchange.send(message)
                return
            await exchange.send({**message, "body": body[:left], "more_body": True})
            # The kernel drops what it has not sent when the reset comes: let what went out go out.
            await exchange.connection.drain()
            exchange.connection.reset()
            raise Dropped

        await proceed(exchange.sending(send))


@dataclass(frozen=True, slots=True)
class Hang:
    """Silence before the headers, or after so many bytes of the body, until the fault is removed."""

    after_bytes: int | None = None

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Wait for the removal, then go on as if nothing had been."""
        if self.after_bytes is None:
            await active.until_removed()
            await proceed(exchange)
            return
        left = self.after_bytes

        async def send(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if message["type"] != "http.response.body" or left < 0 or len(body) < left:
                left -= len(body)
                await exchange.send(message)
                return
            await exchange.send({**message, "body": body[:left], "more_body": True})
            rest, left = body[left:], -1
            await active.until_removed()
            await exchange.send({**message, "body": rest})

        await proceed(exchange.sending(send))


@dataclass(frozen=True, slots=True)
class IgnoreRange:
    """The Range header is not seen: 200 with the whole file."""

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Take the header out."""
        del active
        exchange.scope["headers"] = [pair for pair in exchange.scope["headers"] if pair[0] != b"range"]
        await proceed(exchange)


@dataclass(frozen=True, slots=True)
class OtherRange:
    """Another range than the asked one is sent, honestly labelled: ``bytes=0-9``."""

    header: str

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Put another header in."""
        del active
        others = [pair for pair in exchange.scope["headers"] if pair[0] != b"range"]
        exchange.scope["headers"] = [*others, (b"range", self.header.encode())]
        await proceed(exchange)


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers of the real answer replaced, or taken out where the value is None; and its status, if given.

    ``Headers({"last-modified": "…"})``, ``Headers({"content-range": "bytes 0-9/10"})``, ``Headers({}, status=200)``.
    """

    changes: Mapping[str, str | None]
    status: int | None = None

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Rewrite the start of the answer."""
        del active

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = with_headers(message, self.changes)
                message["status"] = self.status or message["status"]
            await exchange.send(message)

        await proceed(exchange.sending(send))


@dataclass(frozen=True, slots=True)
class EndlessPages:
    """A list that never ends: its first page again and again, with the same token, or a fresh one each time."""

    fresh_tokens: bool = False

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Answer the first page and add a token."""
        query = parse_qsl(exchange.scope["query_string"].decode("ascii"), keep_blank_values=True)
        kept = [(name, value) for name, value in query if name != "page_token"]
        exchange.scope["query_string"] = urlencode(kept).encode()
        token = f"again-{active.fired}" if self.fresh_tokens else "again"
        await send_transformed(
            exchange,
            proceed,
            lambda body: json.dumps(json.loads(body) | {"next_page_token": token}).encode(),
        )
