"""Sizes and durations as people read them."""

from __future__ import annotations

import pytest

from fuse4dbricks.units import GIB, MIB, format_bytes, format_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (MIB, "1.0 MiB"),
        (10 * GIB, "10.0 GiB"),
        (1.5 * 1024 * GIB, "1.5 TiB"),
        (5000 * 1024 * GIB, "5000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3725, "1 h 2 min"),
        (86400, "1 d 0 h"),
        (90000, "1 d 1 h"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
