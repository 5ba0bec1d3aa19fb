"""Presigned URLs: until when they are good, and what it looks like when they no longer are.

The difficulty: each cloud writes the end of a URL in another way, into another parameter, and says in another way that
it has passed (databricks-api 1.5): Azure and AWS with a 403 that looks like a refusal, Google with a 400. Taken for
what they look like, a reader would be told that he may not read his own file. What is not recognised is no reason to
ask for a new URL: an account's firewall refuses every one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from fuse4dbricks.errors import ConfigError, ProtocolViolation
from fuse4dbricks.workspace.url import WorkspaceUrl, parse_workspace_url
from fuse4dbricks.workspace.wire import DownloadUrl

#: Seconds before the end from which on a URL is not used any more: clocks differ, and a request takes time.
SAFETY = 60.0
#: Seconds that a URL is taken for good that does not say it itself: the shortest lifetime recorded is 1799 s.
UNSAID = 900.0

#: Headers that the stores sign. Nothing else travels from the workspace's answer into a request to a third party.
_SIGNED = re.compile(r"x-(ms|amz|goog)-[a-z0-9-]+|content-type", re.IGNORECASE)

_CODE = re.compile(rb"<Code>([A-Za-z]+)</Code>")


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A checked presigned URL. A bearer secret: ``repr`` shows nothing of it.

    Attributes:
        url: where the bytes are.
        origin: scheme and host of it.
        headers: to be sent verbatim.
        ends_at: Unix time until which it is used.
    """

    url: str
    origin: WorkspaceUrl
    headers: tuple[tuple[str, str], ...]
    ends_at: float

    def __repr__(self) -> str:
        return "SignedUrl(…)"


def checked(download: DownloadUrl, *, now: float, is_local: bool) -> SignedUrl:
    """A URL that may be used.

    Args:
        download: what the workspace answered.
        now: Unix time.
        is_local: whether the workspace itself is on this machine; only then may the store be.

    Raises:
        ProtocolViolation: it is not https, leads into this machine, or wants headers that no store signs.
    """
    try:
        origin = parse_workspace_url(download.url)
    except ConfigError:
        # Not repeated, with its cause neither: the message might hold a part of the URL.
        origin = None
    if origin is None or (origin.is_loopback and not is_local):
        raise ProtocolViolation("the download URL does not lead to a cloud store")
    if not all(_SIGNED.fullmatch(name) for name, _ in download.headers):
        raise ProtocolViolation("the download URL wants a header that no cloud store signs")
    return SignedUrl(download.url, origin, download.headers, _end_of(download.url, now) - SAFETY)


def is_expiry(status: int, body: bytes) -> bool:
    """Whether a store's refusal says that the URL has ended, so that another one will do."""
    match = _CODE.search(body)
    code = match[1] if match is not None else b""
    if status == 403 and code == b"AuthenticationFailed":
        return b"not valid in the specified time frame" in body
    if status == 403 and code == b"AccessDenied":
        return b"Request has expired" in body
    return status in {400, 403} and code == b"ExpiredToken"


def _end_of(url: str, now: float) -> float:
    """Unix time at which the URL says that it ends; ``now`` and :data:`UNSAID` if it does not."""
    query = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    for began, lasts in (("x-amz-date", "x-amz-expires"), ("x-goog-date", "x-goog-expires")):
        start = _parse_time(query.get(began, ""), "%Y%m%dT%H%M%SZ")
        if start is not None and query.get(lasts, "").isdecimal():
            return start + int(query[lasts])
    if "se" in query:
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"):
            end = _parse_time(query["se"], form)
            if end is not None:
                return end
    if query.get("expires", "").isdecimal():
        return float(int(query["expires"]))
    return now + UNSAID


def _parse_time(text: str, form: str) -> float | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
