"""Ranges and HTTP times."""

from __future__ import annotations

import pytest

from fuse4dbricks.devworkspace.file_reply import (
    RangeUnsatisfiable,
    Span,
    http_time,
    is_modified_since,
    parse_http_time,
    parse_range,
)
from fuse4dbricks.devworkspace.tree import Node


@pytest.mark.parametrize(
    "raw, expected",
    [
        (None, None),
        ("bytes=0-9", Span(0, 10)),
        ("bytes=9-9", Span(9, 10)),
        ("bytes=5-", Span(5, 100)),
        ("bytes=90-1000", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("bytes=9-0", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("", None),
    ],
)
def test_a_range_of_100_bytes(raw: str | None, expected: Span | None) -> None:
    assert parse_range(raw, 100) == expected


@pytest.mark.parametrize(
    "raw, size", [("bytes=100-", 100), ("bytes=0-0", 0), ("bytes=-1", 0), ("bytes=-0", 9)]
)
def test_nothing_of_the_range_is_in_the_file(raw: str, size: int) -> None:
    with pytest.raises(RangeUnsatisfiable):
        parse_range(raw, size)


def test_times_have_whole_seconds() -> None:
    assert http_time(1_700_000_000.999) == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert parse_http_time(http_time(1_700_000_000.999)) == 1_700_000_000


@pytest.mark.parametrize("raw", [None, "yesterday", "", "1700000000"])
def test_a_malformed_time_is_ignored(raw: str | None) -> None:
    assert parse_http_time(raw) is None


def test_an_equal_time_is_not_modified_since() -> None:
    node = Node(is_folder=False, size=1, modified=1_700_000_000.9, etag="")

    assert not is_modified_since(node, http_time(1_700_000_000))
    assert is_modified_since(node, http_time(1_699_999_999))
    assert not is_modified_since(node, "malformed")
