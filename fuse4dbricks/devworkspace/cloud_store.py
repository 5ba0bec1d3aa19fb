"""Presigned URLs, and the cloud store that they lead to.

The difficulty: this is another service on another port, with other rules. It must never see the workspace's token
(that would hand it to a third party), speaks XML, has ETags and every condition of HTTP, and its URLs end.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from starlette.responses import Response
from starlette.types import ASGIApp

from fuse4dbricks.devworkspace.endpoint import Call, decoded_path, json_reply
from fuse4dbricks.devworkspace.errors import ApiError, bad_request, permission_denied
from fuse4dbricks.devworkspace.file_reply import (
    FileReply,
    RangeUnsatisfiable,
    file_headers,
    is_modified_since,
    parse_http_time,
    parse_range,
)
from fuse4dbricks.devworkspace.state import State
from fuse4dbricks.devworkspace.tree import Node, Parts
from fuse4dbricks.devworkspace.volumes import check_query, file_missing, find

#: Recorded for URLs that were asked for without ``expire_time``.
_DEFAULT_LIFETIME = 1799

#: Azure wants its headers back verbatim; S3 sends none.
_SIGNED_HEADERS = {"azure": {"x-ms-version": "2024-05-04"}, "aws": {}, "gcp": {}}

#: Longest that a hanging reply lasts, so that a forgotten test does not keep a connection for ever.
_HANG_S = 3600


# --- the workspace's side --------------------------------------------------------------------------


async def create_download_url(call: Call) -> Response:
    """POST create-download-url, with ``path`` and ``expire_time`` in the query or in a JSON body."""
    await _play_mode(call)
    check_query(call, "path", "expire_time")
    asked = dict(call.query) or await call.document()
    path = asked.get("path")
    if not isinstance(path, str):
        raise bad_request("Missing required field: path", code="INVALID_PARAMETER_VALUE")
    place = find(call, path)
    node = call.state.tree.stat(place.parts)
    if node is None or node.is_folder:
        raise file_missing(place)
    ends_at = _end(call.state, asked.get("expire_time"))
    headers = _SIGNED_HEADERS[call.state.behaviour.cloud]
    reply: dict[str, Any] = {"url": _url(call.state, place.parts, ends_at)}
    if headers:
        reply["headers"] = [{"name": name, "value": value} for name, value in headers.items()]
    return json_reply(reply)


async def _play_mode(call: Call) -> None:
    mode = call.state.behaviour.presigned
    if mode == "hang":
        await asyncio.sleep(_HANG_S)
    if mode == "missing":
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for 'POST {call.record.path}'")
    domain = "filesystem.databricks.com"
    if mode == "not_enabled":
        raise permission_denied(
            "Presigned URLs are not enabled.", reason="FILES_API_API_IS_NOT_ENABLED", domain=domain
        )
    if mode == "network_zone":
        raise ApiError(
            500,
            "INTERNAL_ERROR",
            "Can't infer requester network zone.",
            reason="FILES_API_REQUESTER_NETWORK_ZONE_UNKNOWN",
        )


def _end(state: State, asked: object) -> int:
    if asked is None:
        return int(state.settings.now()) + _DEFAULT_LIFETIME
    try:
        end = datetime.strptime(str(asked), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise bad_request("expire_time is malformed.", code="INVALID_PARAMETER_VALUE") from None
    return int(end.timestamp())


def _url(state: State, parts: Parts, ends_at: int) -> str:
    path = "/local-bucket/" + "/".join(quote(part, safe="") for part in parts)
    query = {"X-Amz-Expires-At": str(ends_at), "X-Amz-Signature": _sign(state, parts, str(ends_at))}
    return f"{state.cloud_url}{path}?{urlencode(query)}"


def _sign(state: State, parts: Parts, ends_at: str) -> str:
    message = "\0".join(("GET", ends_at, *parts)).encode()
    return hmac.new(state.url_key, message, hashlib.sha256).hexdigest()


# --- the store's side ------------------------------------------------------------------------------


def _xml(status: int, code: str, message: str, **more: str) -> Response:
    fields = {"Code": code, "Message": message, **more}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
    body = f'<?xml version="1.0" encoding="utf-8"?><Error>{inner}</Error>'
    return Response(body, status, media_type="application/xml")


def _expired(state: State) -> Response:
    if state.behaviour.cloud == "azure":
        detail = "Signature not valid in the specified time frame: Start [..] - Expiry [..] - Current [..]"
        text = "Server failed to authenticate the request."
        return _xml(403, "AuthenticationFailed", text, AuthenticationErrorDetail=detail)
    if state.behaviour.cloud == "gcp":
        return _xml(400, "ExpiredToken", "The provided token has expired.")
    return _xml(403, "AccessDenied", "Request has expired")


async def read_object(call: Call) -> ASGIApp:
    """GET and HEAD of a presigned URL."""
    if "authorization" in call.request.headers:
        call.state.journal.note_leak()
        return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
    parts = tuple(decoded_path(call.request.scope).split("/")[2:])
    refusal = _check_url(call, parts)
    if refusal is not None:
        return refusal
    content = call.state.tree.open(parts)
    if content is None:
        return _xml(404, "NoSuchKey", "The specified key does not exist.")
    node = content.node
    reply = _conditional(call, node)
    if reply is not None:
        content.close()
        return reply
    try:
        span = parse_range(call.request.headers.get("range"), node.size)
    except RangeUnsatisfiable:
        content.close()
        return _xml(416, "InvalidRange", "The requested range is not satisfiable")
    return FileReply(content, span, file_headers(node, span, f'"{node.etag}"'), call.connection)


def _check_url(call: Call, parts: Parts) -> Response | None:
    ends_at = call.query.get("X-Amz-Expires-At", "")
    given = call.query.get("X-Amz-Signature", "")
    # The method is signed: a HEAD with a URL for GET is refused by S3.
    if call.request.method != "GET" or not hmac.compare_digest(given, _sign(call.state, parts, ends_at)):
        return _xml(403, "SignatureDoesNotMatch", "The request signature does not match.")
    for name, value in _SIGNED_HEADERS[call.state.behaviour.cloud].items():
        if call.request.headers.get(name) != value:
            return _xml(403, "AuthorizationFailure", f"The signed header {name} is missing.")
    if call.state.behaviour.presigned_expired or call.state.settings.now() >= int(ends_at):
        return _expired(call.state)
    return None


def _conditional(call: Call, node: Node) -> Response | None:
    headers, etag = call.request.headers, f'"{node.etag}"'
    if_match, if_none_match = headers.get("if-match"), headers.get("if-none-match")
    failed = (
        if_match not in (None, "*", etag)
        if if_match
        else is_modified_since(node, headers.get("if-unmodified-since"))
    )
    if failed:
        return _xml(412, "PreconditionFailed", "At least one of the preconditions did not hold")
    since = parse_http_time(headers.get("if-modified-since"))
    unchanged = (
        if_none_match in ("*", etag) if if_none_match else since is not None and int(node.modified) <= since
    )
    return Response(status_code=304, headers={"etag": etag}) if unchanged else None
