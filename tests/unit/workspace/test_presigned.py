"""Until when a presigned URL is good, and what its end looks like, in each cloud."""

from __future__ import annotations

import pytest

from fuse4dbricks.errors import ProtocolViolation
from fuse4dbricks.workspace.presigned import SAFETY, UNSAID, checked, is_expiry
from fuse4dbricks.workspace.wire import DownloadUrl

#: 2025-06-15 15:06:40 UTC.
NOW = 1_750_000_000.0
STORE = "https://bucket.s3.eu-west-1.amazonaws.com/k"


@pytest.mark.parametrize(
    ("query", "lasts"),
    [
        ("X-Amz-Date=20250615T150640Z&X-Amz-Expires=1799&X-Amz-Signature=s", 1799.0),
        ("X-Goog-Date=20250615T150640Z&X-Goog-Expires=3600&X-Goog-Signature=s", 3600.0),
        ("sv=2024-05-04&se=2025-06-15T16%3A06%3A40Z&sig=s", 3600.0),
        ("sv=2024-05-04&se=2025-06-15T15%3A16Z&sig=s", 560.0),
        ("GoogleAccessId=a&Expires=1750000600&Signature=s", 600.0),
        ("sig=s", UNSAID),
        ("se=soon", UNSAID),
        ("X-Amz-Date=yesterday&X-Amz-Expires=1799", UNSAID),
        ("X-Amz-Date=20250615T150640Z", UNSAID),
    ],
)
def test_the_end_is_read_from_the_url(query: str, lasts: float) -> None:
    signed = checked(DownloadUrl(f"{STORE}?{query}", ()), now=NOW, is_local=False)
    assert signed.ends_at == NOW + lasts - SAFETY
    assert "sig" not in repr(signed).lower().replace("signedurl", "")


AZURE = (
    b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code><Message>m</Message>"
    b"<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start [a] - Expiry [b]"
    b"</AuthenticationErrorDetail></Error>"
)


@pytest.mark.parametrize(
    ("status", "body", "is_end"),
    [
        (403, AZURE, True),
        (403, AZURE.replace(b"not valid in the specified time frame", b"did not match"), False),
        (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", True),
        (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", False),
        (403, b"<Error><Code>ExpiredToken</Code></Error>", True),
        (400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>", True),
        (403, b"<Error><Code>AuthorizationFailure</Code></Error>", False),
        (404, b"<Error><Code>NoSuchKey</Code></Error>", False),
        (403, b"", False),
        (503, b"<Error><Code>ExpiredToken</Code></Error>", False),
    ],
)  # fmt: skip
def test_what_an_ended_url_looks_like(status: int, body: bytes, *, is_end: bool) -> None:
    assert is_expiry(status, body) is is_end


@pytest.mark.parametrize(
    "download",
    [
        DownloadUrl("http://bucket.example.com/k?sig=secret", ()),
        DownloadUrl("https://127.0.0.1/k?sig=secret", ()),
        DownloadUrl("https://user:secret@store.example.com/k", ()),
        DownloadUrl("ftp://store.example.com/secret", ()),
        DownloadUrl("https:///k?sig=secret", ()),
        DownloadUrl(f"{STORE}?sig=secret", (("Authorization", "Bearer secret"),)),
        DownloadUrl(f"{STORE}?sig=secret", (("Cookie", "secret"),)),
        DownloadUrl(f"{STORE}?sig=secret", (("Host", "secret"),)),
    ],
)
def test_a_url_that_may_not_be_used(download: DownloadUrl) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        checked(download, now=NOW, is_local=False)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_local_workspace_may_have_a_local_store() -> None:
    signed = checked(DownloadUrl("http://127.0.0.1:8080/k", (("x-ms-version", "1"),)), now=NOW, is_local=True)
    assert signed.origin.base == "http://127.0.0.1:8080"
