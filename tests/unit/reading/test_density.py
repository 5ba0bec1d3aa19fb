"""Who reads a file all over is told from who reads anywhere in it."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from fuse4dbricks.cache.reading.density import FEWEST_MISSES, SPARSEST, STAKE, TRIAL_READS, Density

#: Chunks that may be fetched, of a file with more.
MOST = 4096


def miss_all(density: Density, chunks: Iterable[int]) -> list[int]:
    """Seeks that all miss: what each was answered, if it was more than nothing."""
    answers = []
    for chunk in chunks:
        density.sought(chunk)
        answers.append(density.missed(chunk))
    return [answer for answer in answers if answer]


def hit_all(density: Density, chunks: Iterable[int]) -> None:
    for chunk in chunks:
        density.sought(chunk)


def shuffled(count: int, seed: int = 1) -> list[int]:
    return random.Random(seed).sample(range(count), count)


OWN = [0, 511, *shuffled(512)[: FEWEST_MISSES - 2]]
OTHERS = [chunk for chunk in shuffled(512, seed=3) if chunk not in OWN]


@pytest.fixture
def trial() -> Density:
    """One whose first bet has been placed on 512 chunks, for misses of ``OWN``, and has come."""
    density = Density(MOST)
    assert miss_all(density, OWN) == [STAKE * FEWEST_MISSES]
    density.settled()
    return density


@pytest.mark.parametrize("seed", range(5))
def test_a_reader_of_an_eighth_is_worth_a_bet_on_three_times_that(seed: int) -> None:
    density = Density(MOST)
    assert miss_all(density, shuffled(SPARSEST * FEWEST_MISSES, seed)[: FEWEST_MISSES - 1]) == []
    assert miss_all(density, [10, 500]) == [STAKE * FEWEST_MISSES]
    assert 500 in density.span


@pytest.mark.parametrize("seed", range(5))
def test_a_reader_of_sixteen_gigabytes_at_random_is_worth_none(seed: int) -> None:
    assert miss_all(Density(MOST), shuffled(16 * 1024, seed)[:1000]) == []


@pytest.mark.parametrize("step", [1, 2, 4, 8, -1, -3])
def test_strides_are_no_shuffling(step: int) -> None:
    chunks = range(0, 4096, step) if step > 0 else range(4096, 0, step)
    assert miss_all(Density(MOST), chunks) == []


def test_where_it_was_right_all_the_rest_is_worth_it(trial: Density) -> None:
    hit_all(trial, OTHERS[:TRIAL_READS])
    assert miss_all(trial, OTHERS[-1:]) == [512]


def test_where_nothing_of_it_was_read_it_stays_at_that_until_there_are_twice_as_many_misses(
    trial: Density,
) -> None:
    assert miss_all(trial, OTHERS[: 2 * FEWEST_MISSES]) == []
    assert miss_all(trial, OTHERS[2 * FEWEST_MISSES :]) == [STAKE * 2 * FEWEST_MISSES]


def test_what_came_by_chance_alone_is_no_proof_before_enough_reads(trial: Density) -> None:
    hit_all(trial, OTHERS[: TRIAL_READS - 2])
    assert miss_all(trial, OTHERS[-1:]) == []
    assert miss_all(trial, OTHERS[-2:-1]) == [512]


def test_what_he_has_missed_himself_proves_nothing_when_he_reads_it_again(trial: Density) -> None:
    hit_all(trial, 20 * OWN)
    assert miss_all(trial, OTHERS[:1]) == []


def test_one_chunk_of_the_bet_read_a_thousand_times_is_one(trial: Density) -> None:
    hit_all(trial, 1000 * OTHERS[:2])
    assert miss_all(trial, OTHERS[2 : 2 + TRIAL_READS]) == []


def test_the_same_few_chunks_missed_again_and_again_are_not_dense() -> None:
    rng = random.Random(1)
    assert miss_all(Density(MOST), rng.choices([0, 100, 300, 500], k=1000)) == []


@pytest.mark.parametrize("far", [3000, 100_000])
def test_one_miss_far_away_after_many_hits_is_no_reason_to_fetch_all_that_lies_between(
    trial: Density, far: int
) -> None:
    hit_all(trial, 100 * OTHERS[:100])
    assert all(answer <= 512 for answer in miss_all(trial, [far]))
    assert len(trial.span) <= 512


def test_hits_of_long_ago_prove_nothing_of_what_is_missed_now(trial: Density) -> None:
    hit_all(trial, OTHERS)
    assert miss_all(trial, [600]) == [], "its misses are an eighth of 512 chunks, and no more"


def test_a_look_at_the_end_of_an_archive_does_not_make_him_blind_for_its_parts() -> None:
    density = Density(MOST)
    assert miss_all(density, [16_000, *shuffled(512)])[0] == STAKE * FEWEST_MISSES
    assert density.span.stop <= 512


def test_where_the_first_bet_is_all_the_rest_another_part_of_the_file_is_another_bet() -> None:
    density = Density(MOST)
    assert miss_all(density, shuffled(100)[:FEWEST_MISSES]) == [STAKE * FEWEST_MISSES]
    density.settled()
    assert len(density.span) == 0


def test_another_part_of_the_file_is_another_bet(trial: Density) -> None:
    hit_all(trial, OTHERS[:TRIAL_READS])
    miss_all(trial, OTHERS[-1:])
    trial.settled()
    assert len(trial.span) == 0
    elsewhere = [100_000 + chunk for chunk in shuffled(256)]
    assert miss_all(trial, elsewhere[:FEWEST_MISSES]) == [STAKE * FEWEST_MISSES]
    assert trial.span.start >= 100_000
