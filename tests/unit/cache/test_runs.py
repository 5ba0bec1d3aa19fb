"""Recognising that a folder is taken in order, and only that."""

from __future__ import annotations

import random

import pytest

from fuse4dbricks.cache.ahead.runs import MAX_RUNS, WIDEST, Caution, Run, Runs


def _taken(*ranks: int) -> Run:
    runs = Runs()
    for rank in ranks:
        run = runs.take(rank)
    return run


def test_one_opening_is_no_run() -> None:
    assert _taken(0).get_width() == 0


def test_a_file_opened_twice_is_no_run() -> None:
    assert _taken(3, 3, 3).get_width() == 0


def test_two_in_order_are_one_and_each_more_doubles_what_is_worth_having() -> None:
    widths = [_taken(*range(count)).get_width() for count in range(2, 8)]
    assert widths == [4, 8, 16, 32, 32, 32]


def test_what_comes_next() -> None:
    run = _taken(4, 5)
    assert list(run.get_next(run.get_width(), 100)) == [6, 7, 8, 9]
    assert list(run.get_next(run.get_width(), 8)) == [6, 7]


def test_a_stack_of_folders_goes_down() -> None:
    run = _taken(9, 8)
    assert list(run.get_next(4, 10)) == [7, 6, 5, 4]
    assert list(_taken(2, 1).get_next(4, 10)) == [0]


def test_eight_readers_in_turns_are_followed() -> None:
    run = _taken(1, 0, 3, 2, 5, 7, 4, 6)
    assert (run.low, run.high, run.opened) == (0, 7, 8)
    assert run.get_width() == WIDEST


def test_readers_of_a_part_each_are_a_run_each() -> None:
    runs = Runs()
    parts = [0, 100, 200, 300]
    for step in range(3):
        for part in parts:
            assert runs.take(part + step).opened == step + 1
    assert runs.take(203).get_width() == 16


def test_who_reads_in_no_order_is_hardly_ever_followed() -> None:
    chance, followed, runs = random.Random(5), 0, Runs()
    ranks = list(range(10_000))
    chance.shuffle(ranks)
    for rank in ranks[:1000]:
        followed += runs.take(rank).get_width() > 0
    assert followed < 30


def test_gaps_end_a_run() -> None:
    assert _taken(0, 1, 8, 15, 22, 29).get_width() == 0


def test_no_more_stretches_are_remembered_than_the_bound() -> None:
    runs = Runs()
    for part in range(MAX_RUNS + 1):
        runs.take(part * 1000)
    assert runs.take(1).opened == 1, "the oldest was forgotten"
    assert runs.take(MAX_RUNS * 1000 + 1).opened == 2


def test_each_rank_is_looked_at_once() -> None:
    runs, seen = Runs(), []
    for rank in range(50):
        run = runs.take(rank)
        while ahead := run.get_unseen(run.get_width(), 60):
            seen.append(ahead[0])
            run.note_seen(ahead[0], was_needed=True)
    assert seen == list(range(2, 60))


def test_where_all_is_there_already_only_samples_are_looked_at() -> None:
    runs, looks = Runs(), 0
    for rank in range(1000):
        run = runs.take(rank)
        while ahead := run.get_unseen(run.get_width(), 1000):
            looks += 1
            run.note_seen(ahead[0], was_needed=False)
    assert looks < 50


def test_a_sample_that_had_to_be_fetched_ends_the_sampling() -> None:
    run = _taken(*range(10))
    for _ in range(3):
        run.note_seen(run.get_unseen(32, 1000)[0], was_needed=False)
    first = run.get_unseen(32, 1000)[0]
    run.note_seen(first, was_needed=True)
    assert run.get_unseen(32, 1000)[0] == first + 1


@pytest.mark.parametrize(("losses", "least"), [(0, 2), (3, 2), (4, 3), (400, 18)])
def test_guesses_in_vain_ask_for_more_evidence(losses: int, least: int) -> None:
    caution = Caution()
    for _ in range(losses):
        caution.guessed()
        caution.lost()
    assert caution.least == least
    for _ in range(losses):
        caution.guessed()
        caution.won()
    assert caution.least == 2


def test_guesses_that_come_true_allow_more_of_them() -> None:
    caution, most = Caution(), 0
    for _ in range(3):
        caution.guessed()
        caution.won()
    while caution.allows_more:
        caution.guessed()
        most = caution.open
    assert most == Caution.FIRST + 3
    caution.lost()
    allowed = caution.allows_more
    assert not allowed
