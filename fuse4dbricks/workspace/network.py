"""What it means when the network, not the service, ends an attempt.

The difficulty: httpx and httpcore wrap the cause several times over, and what they say may hold what we sent: h11
quotes an illegal header value, token and all. So nothing of their text is repeated except what the operating system
and OpenSSL say about the connection, and the mapped error never has theirs as its context.
"""

from __future__ import annotations

import socket
import ssl

import httpx
import trio

from fuse4dbricks.errors import (
    ConnectionLost,
    DeadlineExceeded,
    ProtocolViolation,
    RemoteError,
    RequestRejected,
    Unreachable,
)
from fuse4dbricks.workspace.replies import VIOLATION_TRIES
from fuse4dbricks.workspace.retry import Setback

#: Everything a transport raises for its own reasons.
TRANSPORT_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)

CONNECT_TRIES = 5
LOST_TRIES = 4
TIMEOUT_TRIES = 3


def timed_out(what: str, phase: str) -> Setback:
    """The setback of an attempt that took too long in ``phase``."""
    return Setback(DeadlineExceeded(f"{what}: {phase} took too long"), reason="timeout", tries=TIMEOUT_TRIES)


def before_reply(what: str, error: Exception) -> RemoteError | Setback:
    """The meaning of a transport error before the reply's headers were there."""
    match error:
        case httpx.ConnectTimeout():
            return _unreachable(f"{what}: no connection in time", CONNECT_TRIES)
        case httpx.TimeoutException():
            return timed_out(what, "the request")
        case httpx.ConnectError() | httpx.ProxyError():
            cause = root_cause(error)
            # The next attempt will meet the same certificate.
            tries = 1 if isinstance(cause, ssl.SSLCertVerificationError) else CONNECT_TRIES
            return _unreachable(f"{what}: no connection: {describe(cause)}", tries)
        case httpx.LocalProtocolError() | httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return RequestRejected(f"{what}: the request cannot be put on the wire")
        case httpx.RemoteProtocolError() if not str(error).startswith("Server disconnected"):
            return _violation(f"{what}: the reply is not HTTP")
        case _:
            return _lost(f"{what}: the connection was lost: {describe(root_cause(error))}")


def in_body(what: str, error: Exception) -> Setback:
    """The meaning of a transport error while the body was coming."""
    if isinstance(error, httpx.TimeoutException):
        return timed_out(what, "the body")
    if isinstance(error, httpx.RemoteProtocolError):
        return _violation(f"{what}: the body ended early or is garbled")
    return _lost(f"{what}: the connection was lost in the body: {describe(root_cause(error))}")


def root_cause(error: BaseException) -> BaseException:
    """The innermost cause that the operating system or OpenSSL raised; ``error`` itself if there is none."""
    found = error
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError):
            found = current
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        else:
            current = current.__cause__ or current.__context__
    return found


def describe(cause: BaseException) -> str:
    """A cause in a few words that cannot hold anything we sent."""
    match cause:
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted ({cause.verify_message})"
        case ssl.SSLError():
            return f"TLS failed ({cause.reason})"
        case socket.gaierror() | OSError() if cause.strerror:
            return cause.strerror
        case _:
            return type(cause).__name__


def _unreachable(text: str, tries: int) -> Setback:
    return Setback(Unreachable(text), reason="connect", tries=tries)


def _lost(text: str) -> Setback:
    # There was a connection, so the host is reachable: one call that always breaks must not pass for an outage.
    return Setback(ConnectionLost(text), reason="lost", tries=LOST_TRIES)


def _violation(text: str) -> Setback:
    return Setback(ProtocolViolation(text), reason="violation", tries=VIOLATION_TRIES)
