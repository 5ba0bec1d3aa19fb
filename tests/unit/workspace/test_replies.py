"""Status, code, reason phrase and content type to one error each."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from fuse4dbricks.workspace.dates import format_http_date
from fuse4dbricks.workspace.replies import UnconfirmedDenial, failure_of, parse_retry_after
from fuse4dbricks.workspace.retry import Setback

NOW = 1_750_000_000.0
SECRET = "dapiSECRET"


def failure(status: int, payload: Any = None, headers: dict[str, str] | None = None) -> RemoteError | Setback:
    body = payload if isinstance(payload, bytes) else b"" if payload is None else json.dumps(payload).encode()
    return failure_of("GET /x", status, httpx.Headers(headers), body, now=NOW, secret=SECRET)


def error(status: int, payload: Any = None, headers: dict[str, str] | None = None) -> RemoteError:
    found = failure(status, payload, headers)
    return found.error if isinstance(found, Setback) else found


def said(code: object, message: str = "…") -> dict[str, object]:
    return {"error_code": code, "message": message}


@pytest.mark.parametrize(
    "status, payload, kind, is_retried",
    [
        (400, said("INVALID_PARAMETER_VALUE"), RequestRejected, False),
        (400, said("BAD_REQUEST", "Access to the storage container is forbidden by Azure."), RequestRejected, False),
        (401, said(401, "Credential was not sent"), InvalidToken, False),
        (401, None, InvalidToken, False),
        (403, said("PERMISSION_DENIED", "User does not have READ VOLUME"), PermissionDenied, False),
        (403, said(403, "Invalid access token. [ReqId: 1]"), InvalidToken, False),
        (403, said("403", "no"), InvalidToken, False),
        (403, said("PERMISSION_DENIED", "Invalid access token."), InvalidToken, False),
        (403, b"<html><title>Invalid access token.</title>", InvalidToken, False),
        (403, said(403, "Source IP address: 1.2.3.4 is blocked by Databricks IP ACL for workspace: 1"), PermissionDenied, False),
        (403, said("FEATURE_DISABLED"), PermissionDenied, False),
        (404, said("NOT_FOUND"), NotFound, False),
        (404, said("CATALOG_DOES_NOT_EXIST"), NotFound, False),
        (404, None, NotFound, False),
        (404, {"detail": "gone", "status": "404"}, NotFound, False),
        (404, b"NOT_FOUND: nothing there", NotFound, False),
        (404, said("ENDPOINT_NOT_FOUND"), RequestRejected, False),
        (404, b"<!DOCTYPE html><p>nginx", NotTheService, True),
        (408, None, DeadlineExceeded, True),
        (409, said("ALREADY_EXISTS"), RequestRejected, False),
        (412, None, VersionChanged, False),
        (416, None, VersionChanged, False),
        (429, said("REQUEST_LIMIT_EXCEEDED"), Throttled, True),
        (400, said("RESOURCE_EXHAUSTED"), Throttled, True),
        (500, said("INTERNAL_ERROR"), ServerFailure, True),
        (501, None, ServerFailure, False),
        (502, b"<html>bad gateway", ServerFailure, True),
        (503, said("TEMPORARILY_UNAVAILABLE"), Throttled, True),
        (503, b"No webapps are available to handle your request.", Throttled, True),
        (504, None, ServerFailure, True),
        (511, b"<html>log in to the hotel", Unreachable, False),
        (204, None, ProtocolViolation, True),
        (302, None, NotTheService, False),
        (304, None, NotTheService, False),
    ],
)  # fmt: skip
def test_each_reply_is_one_error(
    status: int, payload: Any, kind: type[RemoteError], is_retried: bool
) -> None:
    found = failure(status, payload)
    assert isinstance(found, Setback) is is_retried
    assert type(error(status, payload)) is kind
    assert error(status, payload).status == status


@pytest.mark.parametrize("payload", [None, b"<html>Forbidden", {"detail": "no"}, b"\xff\xfe"])
def test_a_403_that_does_not_say_what_it_refuses(payload: Any) -> None:
    assert type(failure(403, payload)) is UnconfirmedDenial


def test_the_reason_phrase_of_a_head_tells() -> None:
    bad_token = {"X-Databricks-Reason-Phrase": "Invalid access token."}
    assert type(failure(403, None, bad_token)) is InvalidToken
    other = {"X-Databricks-Reason-Phrase": "User does not have READ VOLUME on Volume 'c.s.v'."}
    assert type(failure(403, None, other)) is UnconfirmedDenial


def test_errors_carry_the_services_words_and_its_request_id() -> None:
    payload = said("NOT_FOUND", "Volume 'c.s.v' does not exist.") | {
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "FILES_API_RESOURCE_NOT_FOUND"},
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": "r-1"},
        ]
    }
    found = error(404, payload)
    assert (found.error_code, found.request_id) == ("NOT_FOUND", "r-1")
    assert "Volume 'c.s.v' does not exist." in str(found)
    assert error(404, payload, {"X-Request-Id": "r-2"}).request_id == "r-2"


def test_messages_are_one_bounded_printable_line_without_the_token() -> None:
    found = error(400, said("BAD", f"line\nbreak \x1b[31m {SECRET} " + "x" * 100_000))
    assert SECRET not in str(found)
    assert str(found).isprintable()
    assert len(str(found)) < 500
    assert SECRET not in str(error(400, said(SECRET)))


@pytest.mark.parametrize(
    "header, expected",
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("2.5", 2.5),
        ("3600", 3600.0),
        ("9" * 300, 1e300),
        (format_http_date(int(NOW) + 7), 7.0),
        (format_http_date(int(NOW) - 7), 0.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e308", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 100_000, None),
        ("٣", None),
    ],
)
def test_retry_after(header: str | None, expected: float | None) -> None:
    found = parse_retry_after(header, None, NOW)
    assert found == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize(
    "delay, expected", [("3.5s", 3.5), ("2", 2.0), ("-1s", None), ("nans", None), (None, None)]
)
def test_retry_info_counts_where_the_header_says_nothing(delay: str | None, expected: float | None) -> None:
    assert parse_retry_after("garbage", delay, NOW) == expected
    assert parse_retry_after("1", delay, NOW) == 1.0


def test_retry_info_is_found_in_the_details() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "3.5s"}
    found = failure(429, said("RESOURCE_EXHAUSTED") | {"details": ["junk", detail]})
    assert isinstance(found, Setback)
    assert found.retry_after == 3.5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error_code", "message", "details", "@type", "detail", "error"]), inner
        )
    ),
    max_leaves=10,
)


@given(st.integers(100, 599), st.binary(max_size=60) | json_values)
def test_any_reply_is_some_error(status: int, payload: Any) -> None:
    found = error(status, payload)
    assert isinstance(found, RemoteError)
    assert str(found).isprintable()
