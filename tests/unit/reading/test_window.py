"""Sequential reading is recognised through reordering; nothing else is taken for it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.cache.reading.window import NEAR_CHUNKS, Window, WindowShape
from fuse4dbricks.units import GIB, KIB, MIB

REQUEST = 128 * KIB
WIDEST = WindowShape().widest


def window_on(size: int = 16 * GIB) -> Window:
    return Window(size, MIB, WindowShape())


def take_ahead(window: Window) -> list[range]:
    """What the reader would fetch now."""
    taken = []
    while far := window.get_far(WIDEST):
        taken.append(far)
        window.reach = far.stop
    return taken


def test_the_first_request_alone_is_not_sequential() -> None:
    for length in (4 * KIB, REQUEST, MIB):
        window = window_on()
        window.observe(5 * MIB, 5 * MIB + length)
        assert window.get_size(WIDEST) == 0
        assert take_ahead(window) == []


def test_the_window_doubles_with_what_was_read() -> None:
    window, sizes = window_on(), list[int]()
    for start in range(0, 32 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
        if window.get_size(WIDEST) not in sizes:
            sizes.append(window.get_size(WIDEST))
    assert sizes == [0, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB]


def test_a_sequential_reader_has_everything_ahead_asked_for_once() -> None:
    window, asked = window_on(100 * MIB + 5), list[int]()
    for start in range(0, 100 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
        for far in take_ahead(window):
            asked.extend(far)
        size = window.get_size(WIDEST)
        assert window.reach * MIB >= min(window.front + size, 100 * MIB + 5) or not size
        assert window.reach * MIB <= window.front + size + 9 * MIB
    assert asked == list(range(101))


def test_steps_grow_to_eight_chunks() -> None:
    window = window_on()
    for start in range(0, 64 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
        steps = [len(far) for far in take_ahead(window)]
        assert all(step <= 8 for step in steps)
    assert window.get_step(WIDEST) == 8


@given(st.integers(2, 30), st.randoms(use_true_random=False))
def test_requests_out_of_order_are_one_run(count: int, rng: random.Random) -> None:
    """Any order in which each request is at most 2 MiB from its place."""
    window = window_on()
    window.observe(0, REQUEST)
    starts = sorted(range(1, count), key=lambda n: n + rng.uniform(0, 8))
    for n in starts:
        assert not window.observe(n * REQUEST, (n + 1) * REQUEST)
    assert window.front == count * REQUEST


def test_a_seek_shrinks_the_window_to_nothing() -> None:
    window = window_on()
    for start in range(0, 8 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
    assert window.get_size(WIDEST) == 32 * MIB
    assert window.observe(GIB, GIB + REQUEST)
    assert window.get_size(WIDEST) == 0
    assert window.get_demand(1024, 1025, WIDEST) == 1025


def test_a_seek_back_is_a_seek() -> None:
    window = window_on()
    for start in range(0, 8 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
    assert not window.observe(7 * MIB, 7 * MIB + REQUEST), "a second read of what was just read is not"
    assert window.observe(MIB, MIB + REQUEST)


@pytest.mark.parametrize(
    "starts",
    [
        pytest.param([n * 2 * MIB for n in range(200)], id="strided"),
        pytest.param([n * 5 * MIB for n in range(200)], id="wide strides"),
        pytest.param([200 * MIB - n * 4 * KIB for n in range(2000)], id="backward"),
        pytest.param([200 * MIB - n * MIB for n in range(200)], id="backward in chunks"),
        pytest.param([n * 7919 % 16384 * MIB for n in range(500)], id="random"),
        pytest.param([n % 2 * GIB + n * 4 * KIB for n in range(0, 200, 7)], id="to and fro"),
    ],
)
def test_what_is_not_sequential_fetches_nothing_ahead(starts: list[int]) -> None:
    window = window_on()
    for start in starts:
        window.observe(start, start + 4 * KIB)
        assert take_ahead(window) == []


def test_pages_that_the_kernel_had_do_not_end_a_run() -> None:
    window, seeks = window_on(), 0
    for start in range(0, 64 * MIB, REQUEST):
        if start // (512 * KIB) % 4 != 3:  # each fourth half-mebibyte is in the page cache
            seeks += window.observe(start, start + REQUEST)
    assert seeks == 0
    assert window.get_size(WIDEST) == WIDEST


def test_a_small_file_is_asked_for_whole() -> None:
    window = window_on(3 * MIB + 1)
    window.observe(0, REQUEST)
    assert window.get_demand(0, 1, WIDEST) == 4
    assert window.get_demand(2, 3, WIDEST) == 3, "a read in its middle wants one chunk's worth"
    assert window_on(5 * MIB).get_demand(0, 1, WIDEST) == 1


def test_the_end_of_the_file_is_the_end() -> None:
    window = window_on(10 * MIB)
    for start in range(0, 10 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
        for far in take_ahead(window):
            assert far.stop <= 10
        assert all(index < 10 for index in window.get_near())


def test_the_disk_is_read_a_few_chunks_ahead() -> None:
    window = window_on()
    for start in range(0, 2 * MIB, REQUEST):
        window.observe(start, start + REQUEST)
    assert window.get_near() == range(2, 3 + NEAR_CHUNKS)
    window.near = 3 + NEAR_CHUNKS
    assert not window.get_near()
