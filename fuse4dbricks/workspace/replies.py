"""What a reply that is not a success means.

The difficulty: the same status means different things. 403 is a refusal when the service names one, a dead token
when the code is a number, and says nothing on a HEAD, which has no body. A proxy's HTML page is no answer of the
service at all, whatever its status: read as one, it would turn an outage into "no such file". So status, error
code, reason phrase and content type are weighed here, in one place.

Sources: databricks-api sections 0, 1.2, 5.1 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from fuse4dbricks.errors import (
    DeadlineExceeded,
    InvalidToken,
    NotFound,
    NotTheService,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    RequestRejected,
    ServerFailure,
    Throttled,
    Unreachable,
    VersionChanged,
)
from fuse4dbricks.workspace.dates import parse_http_date
from fuse4dbricks.workspace.retry import Setback
from fuse4dbricks.workspace.wire import decode_json

_BAD_TOKEN = re.compile(r"invalid access token|token (is|has) expired|expired token", re.IGNORECASE)
# A refusal of the network the request came from, not of the token, though its code may be a number too.
_ADDRESS_REFUSED = re.compile(r"\bIP ACL|\bIP access list", re.IGNORECASE)
_PLAIN_TEXT = re.compile(r"([A-Z][A-Z_]{2,60}): (.*)", re.DOTALL)
_SECONDS = re.compile(r"[0-9]{1,300}(\.[0-9]{1,20})?")
_MAX_MESSAGE = 300

_THROTTLING_CODES = frozenset({"REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"})
#: The whole call is bounded in time, so a throttled one may try often.
THROTTLED_TRIES = 12
GATEWAY_TRIES = 5
#: A 500 is rarely the weather (databricks-sdk does not retry it at all).
FAILURE_TRIES = 3
#: A gateway's page in place of the answer often is.
VIOLATION_TRIES = 3


class Facts(TypedDict):
    """The keyword arguments of :class:`RemoteError`."""

    status: int
    error_code: str | None
    request_id: str | None
    said: str | None


class UnconfirmedDenial(PermissionDenied):
    """A 403 that does not say whether it refuses the principal or the token; SCIM Me can tell."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an unsuccessful reply says for itself.

    Attributes:
        code: the service's error code, or None.
        is_numeric: whether the code is a number, which marks a bad token.
        message: for people, printable and bounded.
        request_id: for the service's support, or None.
        retry_delay: of a RetryInfo detail, e.g. ``3.5s``.
        is_html: whether it is a page, so somebody else's answer.
    """

    code: str | None
    is_numeric: bool
    message: str
    request_id: str | None
    retry_delay: str | None
    is_html: bool


def parse_complaint(headers: Mapping[str, str], body: bytes) -> Complaint:
    """Read an error body of any of the forms of databricks-api section 0; never raises."""
    is_html = is_page(headers, body)
    text = headers.get("x-databricks-reason-phrase", "")
    try:
        payload = None if is_html else decode_json(body)
    except ProtocolViolation:
        payload = None
    if not isinstance(payload, dict):
        payload = {}
        plain = _PLAIN_TEXT.match(body[:4096].decode("utf-8", "replace"))
        if plain:
            payload = {"error_code": plain[1], "message": plain[2]}
        elif is_html:
            text = text or body[:65536].decode("utf-8", "replace")
    code = payload.get("error_code")
    is_number = isinstance(code, int | float) and not isinstance(code, bool)
    details = _details(payload)
    return Complaint(
        code=_first_text(str(code))[:64] if isinstance(code, str) or is_number else None,
        is_numeric=is_number or (isinstance(code, str) and code.isdecimal()),
        message=_first_text(payload.get("message"), payload.get("detail"), payload.get("error"), text),
        request_id=_first_text(headers.get("x-request-id"), _detail(details, "RequestInfo", "request_id"))
        or None,
        retry_delay=_first_text(_detail(details, "RetryInfo", "retry_delay")) or None,
        is_html=is_html,
    )


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether this is HTML: the page of a gateway, a proxy or a login form."""
    return "html" in headers.get("content-type", "").lower() or body[:256].lstrip().startswith(b"<")


def _details(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    details = payload.get("details")
    return [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []


def _detail(details: list[dict[str, Any]], kind: str, key: str) -> object:
    return next((item.get(key) for item in details if str(item.get("@type")).endswith(kind)), None)


def _first_text(*candidates: object) -> str:
    for text in candidates:
        if isinstance(text, str) and text:
            shown = "".join(char if char.isprintable() else " " for char in text[: 10 * _MAX_MESSAGE])
            return " ".join(shown.split())[: 10 * _MAX_MESSAGE]
    return ""


def parse_retry_after(value: str | None, retry_delay: str | None, now: float) -> float | None:
    """Seconds to wait, by the header (seconds or a date; ``now`` is the server's time) or else by RetryInfo.

    Negative numbers, ``nan``, ``inf`` and other nonsense are None: our own back-off applies. A huge number is
    returned as it is, and no budget has room for it.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    date = parse_http_date(text)
    if date is not None:
        return max(0.0, date - now)
    delay = (retry_delay or "").strip().removesuffix("s")
    return float(delay) if _SECONDS.fullmatch(delay) else None


def failure_of(
    what: str, status: int, headers: Mapping[str, str], body: bytes, *, now: float, secret: str
) -> RemoteError | Setback:
    """The error of a reply that is not the success that was due.

    Args:
        what: the call, for the message.
        status: of the reply.
        headers: of the reply.
        body: of the reply, possibly cut; empty for HEAD.
        now: the server's time.
        secret: cut out of whatever the server echoes.
    """
    complaint = parse_complaint(headers, body)
    said = (
        "an HTML page"
        if complaint.is_html
        else complaint.message[:_MAX_MESSAGE].replace(secret, "[redacted]")
    )
    code = None if complaint.code is None else complaint.code.replace(secret, "[redacted]")
    text = " ".join(part for part in (f"{what}: {status}", code, said) if part)
    facts = Facts(status=status, error_code=code, request_id=complaint.request_id, said=said or None)
    if status == 429 or (complaint.code in _THROTTLING_CODES and status != 403):
        wait = parse_retry_after(headers.get("retry-after"), complaint.retry_delay, now)
        return Setback(Throttled(text, **facts), reason="429", tries=THROTTLED_TRIES, retry_after=wait)
    if status >= 500:
        wait = parse_retry_after(headers.get("retry-after"), complaint.retry_delay, now)
        return _server_failure(text, facts, wait)
    if status == 403:
        return _refusal(text, facts, complaint)
    if status == 404:
        return _absence(text, facts, complaint)
    return _rejection(text, facts)


def _server_failure(text: str, facts: Facts, wait: float | None) -> RemoteError | Setback:
    match facts["status"]:
        case 503:
            return Setback(Throttled(text, **facts), reason="503", tries=THROTTLED_TRIES, retry_after=wait)
        case 502 | 504:
            return Setback(
                ServerFailure(text, **facts), reason="gateway", tries=GATEWAY_TRIES, retry_after=wait
            )
        case 500:
            return Setback(ServerFailure(text, **facts), reason="500", tries=FAILURE_TRIES, retry_after=wait)
        case 511:  # a captive portal: the network asks for a login, the workspace was not reached
            return Unreachable(text, **facts)
        case _:
            return ServerFailure(text, **facts)


def _refusal(text: str, facts: Facts, complaint: Complaint) -> RemoteError:
    if _BAD_TOKEN.search(complaint.message):
        return InvalidToken(text, **facts)
    if _ADDRESS_REFUSED.search(complaint.message):
        return PermissionDenied(text, **facts)
    if complaint.is_numeric:
        return InvalidToken(text, **facts)
    if complaint.code is None:
        return UnconfirmedDenial(text, **facts)
    return PermissionDenied(text, **facts)


def _absence(text: str, facts: Facts, complaint: Complaint) -> RemoteError | Setback:
    # "No such page" and "no such API" say nothing about the object that was asked for.
    if complaint.is_html:
        return Setback(NotTheService(text, **facts), reason="violation", tries=VIOLATION_TRIES)
    if complaint.code == "ENDPOINT_NOT_FOUND":
        return RequestRejected(text, **facts)
    return NotFound(text, **facts)


def _rejection(text: str, facts: Facts) -> RemoteError | Setback:
    match facts["status"]:
        case 401:
            return InvalidToken(text, **facts)
        case 408:
            return Setback(DeadlineExceeded(text, **facts), reason="timeout", tries=FAILURE_TRIES)
        case 412 | 416:
            return VersionChanged(text, **facts)
        case status if status < 300:
            return Setback(ProtocolViolation(text, **facts), reason="violation", tries=VIOLATION_TRIES)
        case status if status < 400:
            return NotTheService(f"{text} (redirects are not followed)", **facts)
        case _:
            return RequestRejected(text, **facts)
