"""What was counted comes into the index: as differences, when there are any, and nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import trio
from trio.testing import MockClock

from fuse4dbricks.cache.counting import FLUSH_SECONDS, CountKeeper
from fuse4dbricks.cache.reading.tally import HitTally
from fuse4dbricks.telemetry.metrics import DECLARED, Metrics, flat_name, parse_flat_name
from tests.support.indexes import opened


class Book:
    """Adds up what is posted, while it has room."""

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()
        self.posts = 0
        self.has_room = True

    def post_counts(self, deltas: Mapping[str, int]) -> bool:
        if self.has_room:
            self.kept.update(deltas)
            self.posts += 1
        return self.has_room


def test_differences_add_up_to_the_whole() -> None:
    metrics, book = Metrics(), Book()
    keeper = CountKeeper(metrics, book)
    for amount in (3, 4):
        metrics.add("remote.bytes", amount)
        metrics.count("remote.calls", kind="head")
        keeper.keep()
    assert book.kept == {"remote.bytes": 7, "remote.calls{kind=head}": 2}


def test_nothing_new_is_nothing_to_write() -> None:
    metrics, book = Metrics(), Book()
    keeper = CountKeeper(metrics, book)
    keeper.keep()
    metrics.count("remote.throttled")
    keeper.keep()
    keeper.keep()
    metrics.count("index.commits")
    keeper.keep()
    assert book.posts == 1
    metrics.count("remote.throttled")
    keeper.keep()
    assert book.kept == {"remote.throttled": 2, "index.commits": 1}


def test_what_finds_no_room_comes_with_the_next() -> None:
    metrics, book = Metrics(), Book()
    keeper = CountKeeper(metrics, book)
    metrics.add("remote.bytes", 5)
    book.has_room = False
    keeper.keep()
    book.has_room = True
    metrics.add("remote.bytes", 6)
    keeper.keep()
    assert book.kept["remote.bytes"] == 11


def test_hits_that_are_held_back_are_kept_too() -> None:
    metrics, book = Metrics(), Book()
    tally = HitTally(metrics, "ram")
    tally.add(100)
    CountKeeper(metrics, book).keep()
    assert book.kept == {"read.hits{layer=ram}": 1, "read.hit_bytes{layer=ram}": 100}


async def test_it_runs_by_itself(autojump_clock: MockClock) -> None:
    metrics, book = Metrics(), Book()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(CountKeeper(metrics, book).run)
        for second in range(3):
            metrics.count("remote.throttled")
            await trio.sleep(FLUSH_SECONDS + 0.1)
            assert book.kept["remote.throttled"] == second + 1
        nursery.cancel_scope.cancel()


async def test_nobody_who_counts_lets_it_sleep(autojump_clock: MockClock) -> None:
    class CountedMetrics(Metrics):
        looks = 0

        def __iter__(self) -> Iterator[tuple[str, dict[str, str], int]]:
            self.looks += 1
            return super().__iter__()

    metrics = CountedMetrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(CountKeeper(metrics, Book()).run)
        await trio.sleep(3600)
        assert 55 <= metrics.looks <= 65
        nursery.cancel_scope.cancel()


async def test_the_index_keeps_them_over_a_restart(tmp_path: Path) -> None:
    for expected in (2, 4):
        metrics = Metrics()
        async with opened(tmp_path) as index:
            keeper = CountKeeper(metrics, index.counters)
            metrics.add("remote.calls", 2, kind="range")
            keeper.keep()
            await index.flush()
            assert index.counters.load_counts() == {"remote.calls{kind=range}": expected}


def test_flat_names_can_be_taken_apart_again() -> None:
    for name in DECLARED:
        for labels in ({}, {"kind": "head"}, {"error": "TypeError", "kind": "a_b", "status": "2xx"}):
            assert parse_flat_name(flat_name(name, labels)) == (name, labels)
    for odd in ("", "{", "a{b", "probe{}", "a}b"):
        assert parse_flat_name(odd) == (odd, {})
