"""HTTP dates, friendly and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.workspace.dates import MAX_TIME, format_http_date, parse_http_date


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_rfc_9110(text: str) -> None:
    assert parse_http_date(text) == 784111777


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "soon",
        "3600",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Sun, 06 Nov 2300 08:49:37 GMT",
        "x" * 100_000,
    ],
)
def test_nonsense_is_no_date(text: str | None) -> None:
    assert parse_http_date(text) is None


@given(st.text(max_size=80))
def test_any_text_is_a_date_in_bounds_or_none(text: str) -> None:
    seconds = parse_http_date(text)
    assert seconds is None or 0 <= seconds < MAX_TIME


@given(st.integers(0, MAX_TIME - 1))
def test_round_trip(seconds: int) -> None:
    assert parse_http_date(format_http_date(seconds)) == seconds
