"""The way of a request: journal, gates, faults, authentication, answer.

The difficulty: a fault must be able to stand before the answer (a hang, a 429), inside it (a reset after so many
bytes) and around it (a rate), and the journal must tell what really went out. So each layer is an ASGI
application round the next, and the answering function knows of none of them.
"""

from __future__ import annotations

import gzip
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Literal
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fuse4dbricks.devworkspace.connection import Connection, Dropped, connection_of
from fuse4dbricks.devworkspace.errors import ApiError, bad_request, credential_missing, token_refused
from fuse4dbricks.devworkspace.faults import Exchange
from fuse4dbricks.devworkspace.journal import Record, Side
from fuse4dbricks.devworkspace.people import Principal, fingerprint
from fuse4dbricks.devworkspace.state import State

log = logging.getLogger("fuse4dbricks.devworkspace")

#: JSON shorter than this is not worth compressing.
_GZIP_FROM = 512


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, as an answering function sees it."""

    state: State
    request: Request
    record: Record
    connection: Connection
    principal: Principal

    async def document(self) -> dict[str, Any]:
        """The JSON object in the body.

        Raises:
            ApiError: 400 when it is none.
        """
        try:
            document = await self.request.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ApiError(400, "MALFORMED_REQUEST", "The body is not a JSON object.")
        return document

    @property
    def query(self) -> Mapping[str, str]:
        """Decoded query parameters."""
        return self.request.query_params

    def name(self, key: str) -> str:
        """A path parameter."""
        return str(self.request.path_params[key])


Answer = Callable[[Call], Awaitable[ASGIApp]]

#: The principal of endpoints that ask for no token.
NOBODY = Principal("0", "", "", ())


def json_reply(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON body; lone surrogates leave as escapes, which is what a hostile server would send."""
    return Response(json.dumps(document).encode(), status, headers, media_type="application/json")


def decoded_path(scope: Scope) -> str:
    """The path with percent-encoding taken off once.

    Raises:
        ApiError: 400 when it is no UTF-8 (the server's own decoding would replace the bytes silently).
    """
    try:
        return unquote(scope["raw_path"].decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise bad_request("Invalid path: not UTF-8.", "FILES_API_INVALID_PATH") from None


class Endpoint:
    """An ASGI application that answers one kind of call."""

    def __init__(
        self,
        state: State,
        kind: str,
        answer: Answer,
        *,
        side: Side = "workspace",
        auth: Literal["token", "none"] = "token",
    ) -> None:
        self._state = state
        self._kind = kind
        self._answer = answer
        self._side = side
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing but cancellation leaves here."""
        record = self._record(scope)
        journal = self._state.journal
        journal.begin(record)
        exchange = Exchange(scope, receive, self._outermost(record, send), connection_of(scope), record)
        try:
            await self._state.faults.play(exchange, self._reply)
        except (Dropped, ClientDisconnect):
            pass
        except Exception:  # an error of ours must reach the client as a 500, not end the task silently
            log.exception("%s %s failed", record.method, record.kind)
            if record.status is None:
                await self._reply_error(
                    exchange, ApiError(500, "INTERNAL_ERROR", "The local workspace failed.")
                )
            else:
                exchange.connection.close()
        finally:
            journal.end(record)

    def _record(self, scope: Scope) -> Record:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        authorization = headers.pop("authorization", None)
        token = None if authorization is None else fingerprint(authorization.partition(" ")[2])
        return Record(
            request_id=str(uuid.uuid4()),
            side=self._side,
            kind=self._kind,
            method=scope["method"],
            path=unquote(scope["raw_path"].decode("ascii")),
            query=scope["query_string"].decode("ascii"),
            range=headers.get("range"),
            headers=headers,
            token=token,
        )

    def _outermost(self, record: Record, send: Send) -> Send:
        journal = self._state.journal
        common = self._common_headers(record)

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                given = {key.lower() for key, _ in message.get("headers", ())}
                added = [(key, value) for key, value in common if key not in given]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            elif record.method != "HEAD":
                journal.sending(record, len(message.get("body", b"")))
            await send(message)

        return recording

    def _common_headers(self, record: Record) -> list[tuple[bytes, bytes]]:
        date = (b"date", formatdate(usegmt=True).encode())
        if self._side == "cloud":
            return [date, (b"x-amz-request-id", record.request_id.encode())]
        return [
            date,
            (b"x-request-id", record.request_id.encode()),
            (b"x-databricks-org-id", str(self._state.settings.workspace_id).encode()),
            (b"server", b"databricks"),
            (b"vary", b"accept-encoding"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def _reply(self, exchange: Exchange) -> None:
        try:
            reply = await self._answer(self._call(exchange))
        except ApiError as error:
            await self._reply_error(exchange, error)
        else:
            if self._state.behaviour.gzip_json and isinstance(reply, Response):
                _compress(reply, exchange)
            await reply(exchange.scope, exchange.receive, exchange.send)

    def _call(self, exchange: Exchange) -> Call:
        request = Request(exchange.scope, exchange.receive)
        principal = NOBODY if self._auth == "none" else self._authenticate(request, exchange.record)
        return Call(
            state=self._state,
            request=request,
            record=exchange.record,
            connection=exchange.connection,
            principal=principal,
        )

    def _authenticate(self, request: Request, record: Record) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise credential_missing(record.request_id)
        principal = self._state.people.authenticate(token.strip())
        if principal is None:
            raise token_refused(self._state.behaviour.bad_token, record.request_id)
        record.user = principal.user_name
        return principal

    async def _reply_error(self, exchange: Exchange, error: ApiError) -> None:
        if exchange.record.method == "HEAD":
            reply = Response(status_code=error.status, headers=error.headers)
        else:
            reply = json_reply(error.document(exchange.record.request_id), error.status, error.headers)
        await reply(exchange.scope, exchange.receive, exchange.send)


def _compress(reply: Response, exchange: Exchange) -> None:
    accepted = exchange.record.headers.get("accept-encoding", "")
    if "gzip" not in accepted or reply.media_type != "application/json" or len(reply.body) < _GZIP_FROM:
        return
    reply.body = gzip.compress(bytes(reply.body), compresslevel=1)
    reply.headers["content-encoding"] = "gzip"
    reply.headers["content-length"] = str(len(reply.body))
