"""The RAM tier keeps what was read last, within its bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.cache.reading.budget import WindowBudget
from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.cache.reading.ram import RamTier


def chunk_of(length: int) -> Chunk:
    chunk = Chunk(0, length)
    chunk.complete(bytes(length))
    return chunk


def test_the_least_recently_used_goes_first_and_its_owner_is_told() -> None:
    ram, gone = RamTier(30, WindowBudget(0, 0)), list[Chunk]()
    first, second, third, fourth = (chunk_of(10) for _ in range(4))
    for chunk in (first, second, third):
        ram.keep(chunk, gone.append)
    ram.touch(first)
    ram.keep(fourth, gone.append)
    assert gone == [second]
    assert ram.kept == 30
    assert second not in ram


def test_a_chunk_that_is_dropped_is_not_told_about() -> None:
    ram, gone = RamTier(30, WindowBudget(0, 0)), list[Chunk]()
    chunk = chunk_of(10)
    ram.keep(chunk, gone.append)
    ram.drop(chunk)
    ram.drop(chunk)
    assert (ram.kept, gone, chunk in ram) == (0, [], False)


def test_open_handles_lend_the_tier_what_the_windows_leave() -> None:
    budget = WindowBudget(100, 100)
    ram, gone = RamTier(0, budget), list[Chunk]()
    ram.opened()
    for _ in range(12):
        ram.keep(chunk_of(10), gone.append)
    assert ram.kept == 100
    budget.in_flight = 60
    ram.trim()
    assert ram.kept == 40
    budget.in_flight = 500
    ram.trim()
    assert ram.kept == 20, "a quarter (in whole chunks) of the windows' limit stays for what is being read"
    ram.closed()
    assert ram.kept == 0


def test_what_was_read_goes_before_what_was_fetched_ahead() -> None:
    ram, gone = RamTier(0, WindowBudget(40, 40)), list[Chunk]()
    ram.opened()
    ahead, read = [chunk_of(10) for _ in range(3)], [chunk_of(10) for _ in range(3)]
    for chunk in ahead + read:
        ram.keep(chunk, gone.append)
        if chunk in read:
            ram.touch(chunk)
    assert gone == read[:2]
    ram.touch(ahead[0])
    ram.keep(chunk_of(10), gone.append)
    assert gone == read
    for _ in range(4):
        ram.keep(chunk_of(10), gone.append)
    assert gone[3] is ahead[0], "unread chunks have no more than the windows leave"
    assert gone[4:] == [ahead[1], ahead[2], gone[6]]
    assert ram.kept == 40


def test_a_chunk_that_was_read_while_it_arrived_is_not_unread() -> None:
    ram, gone = RamTier(0, WindowBudget(20, 20)), list[Chunk]()
    ram.opened()
    early = chunk_of(10)
    ram.touch(early)
    for chunk in (early, chunk_of(10), chunk_of(10)):
        ram.keep(chunk, gone.append)
    assert gone == [early]


@given(st.integers(0, 100), st.lists(st.integers(1, 40), max_size=60))
def test_it_is_never_over_its_bytes(ram_bytes: int, lengths: list[int]) -> None:
    ram, alive = RamTier(ram_bytes, WindowBudget(0, 0)), set[Chunk]()
    for length in lengths:
        chunk = chunk_of(length)
        alive.add(chunk)
        ram.keep(chunk, alive.discard)
        assert ram.kept == sum(kept.length for kept in alive) <= ram_bytes


def test_windows_share_and_reading_ahead_stops_at_half_of_the_limit() -> None:
    budget = WindowBudget(100, 64)
    assert budget.get_window() == 50
    budget.streams = 5
    assert budget.get_window() == 10
    assert WindowBudget(1000, 64).get_window() == 64
    budget.in_flight = 45
    assert budget.has_room(5)
    assert not budget.has_room(6)


def test_where_there_is_no_memory_it_makes_do_with_half_until_it_is_emptied() -> None:
    budget = WindowBudget(40, 40)
    ram, gone = RamTier(80, budget), list[Chunk]()
    for _ in range(8):
        ram.keep(chunk_of(10), gone.append)
    assert ram.kept == 80
    ram.give_way()
    assert (ram.kept, len(gone), budget.limit) == (40, 4, 20)
    ram.keep(chunk_of(10), gone.append)
    assert ram.kept == 40
    ram.give_way()
    assert (ram.kept, budget.limit) == (20, 10)
    ram.clear()
    for _ in range(9):
        ram.keep(chunk_of(10), gone.append)
    assert (ram.kept, budget.limit) == (80, 40)
