"""How many remote reads a whole file is said to cost."""

from __future__ import annotations

import pytest

from fuse4dbricks.cache.reading.forecast import count_calls
from fuse4dbricks.cache.reading.window import WindowShape
from fuse4dbricks.units import GIB, MIB

SHAPE = WindowShape()


def count(size: int, *held: int) -> int:
    return count_calls(size, MIB, SHAPE, frozenset(held))


@pytest.mark.parametrize(
    ("size", "held", "calls"),
    [
        (0, (), 0),
        (1, (), 1),
        (SHAPE.small_file, (), 1),
        (SHAPE.small_file, (1,), 2),
        (3 * MIB + 5, (0, 1, 2, 3), 0),
        (20 * MIB, range(20), 0),
        (300 * MIB, range(300), 0),
    ],
)
def test_what_can_be_told_exactly(size: int, held: range | tuple[int, ...], calls: int) -> None:
    assert count(size, *held) == calls


def test_long_files_cost_a_call_for_each_widest_step_and_some_to_get_there() -> None:
    for size in (200 * MIB, GIB, 10 * GIB):
        assert size // SHAPE.step <= count(size) <= size // SHAPE.step + 40


def test_what_is_cached_saves_calls() -> None:
    assert count(100 * MIB, *range(50)) < count(100 * MIB)
    assert count(GIB, *range(512, 1024)) < count(GIB)
