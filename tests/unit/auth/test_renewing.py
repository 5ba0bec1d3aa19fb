"""A token that ends: fresh, stale, expired; renewed once for all; and what a failure leaves behind."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.auth.renewing import (
    EXPIRED_EARLY_SECONDS,
    FIRST_PAUSE,
    ISSUE_SECONDS,
    LONGEST_PAUSE,
    REFUSED_AT_ONCE,
    STALE_SECONDS,
)
from fuse4dbricks.auth.source import Issued, Outcome, SourceFailure, nothing_there
from fuse4dbricks.errors import Unreachable
from fuse4dbricks.tokens import Token
from tests.support.fakes import NOW
from tests.support.signing import Mint, renewing_bench

T1, T2 = Token("t1"), Token("t2")
OUTAGE = SourceFailure("down", is_outage=True)
REFUSAL = SourceFailure("invalid_client")


async def test_nobody_is_asked_before_somebody_needs_it() -> None:
    async with renewing_bench() as bench:
        assert bench.renewing.is_untried
        assert bench.renewing.get() is None
        assert bench.renewing.get_report().outcome is Outcome.NOT_ASKED
        await wait_all_tasks_blocked()
        assert bench.mint.calls == []
        assert await bench.renewing.fetch(None) == T1
        report = bench.renewing.get_report()
        assert (report.outcome, report.detail, report.expires_at) == (
            Outcome.ANSWERED,
            "the mint",
            NOW + 3600,
        )


async def test_a_stale_token_serves_and_is_renewed_behind_its_back() -> None:
    async with renewing_bench() as bench:
        await bench.renewing.fetch(None)
        bench.clock.step(3600 - STALE_SECONDS - 1)
        assert bench.renewing.get() == T1
        await wait_all_tasks_blocked()
        assert len(bench.mint.calls) == 1
        bench.clock.step(1)
        # However many look: one renewal, and none of them waits.
        assert {bench.renewing.get() for _ in range(50)} == {T1}
        await wait_all_tasks_blocked()
        assert bench.mint.calls == [False, False]
        assert bench.renewing.get() == T2


async def test_a_token_is_over_before_it_ends() -> None:
    async with renewing_bench() as bench:
        await bench.renewing.fetch(None)
        bench.mint.failure = REFUSAL
        bench.clock.step(3600 - EXPIRED_EARLY_SECONDS - 0.1)
        assert bench.renewing.get() == T1
        await wait_all_tasks_blocked()
        bench.clock.step(0.1)
        assert bench.renewing.get() is None
        assert await bench.renewing.fetch(None) is None


@pytest.mark.parametrize("lifetime", [1.0, 30.0, 60.0, 100.0])
async def test_a_short_life_has_a_fresh_part(lifetime: float) -> None:
    async with renewing_bench(Mint(lifetime)) as bench:
        await bench.renewing.fetch(None)
        assert bench.renewing.get() == T1
        await wait_all_tasks_blocked()
        assert len(bench.mint.calls) == 1
        bench.clock.step(lifetime)
        assert bench.renewing.get() is None


async def test_a_token_without_an_end_stays() -> None:
    async with renewing_bench(Mint(None)) as bench:
        await bench.renewing.fetch(None)
        bench.clock.step(1e7)
        assert bench.renewing.get() == T1
        assert bench.renewing.get_report().expires_at is None


@pytest.mark.parametrize("rejected", [None, T1])
async def test_fifty_readers_cause_one_renewal(rejected: Token | None) -> None:
    """Row S3: all find the token over, or refused, at once; some only when the new one is there."""
    async with renewing_bench() as bench:
        await bench.renewing.fetch(None)
        gate = trio.Event()
        bench.mint.before = gate.wait
        bench.clock.step(3600 if rejected is None else 60)
        got: list[Token | None] = []

        async def read() -> None:
            got.append(await bench.renewing.fetch(rejected))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(read)
            await wait_all_tasks_blocked()
            gate.set()
        got.append(await bench.renewing.fetch(rejected))
        assert got == [T2] * 51
        assert bench.mint.calls == [False, rejected is not None]


async def test_a_first_reader_who_leaves_does_not_strand_the_others() -> None:
    async with renewing_bench() as bench:
        gate = trio.Event()
        bench.mint.before = gate.wait
        got: list[Token | None] = []
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await bench.renewing.fetch(None)

        async def stay() -> None:
            got.append(await bench.renewing.fetch(None))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            nursery.start_soon(stay)
            await wait_all_tasks_blocked()
            leaving.cancel()
            await wait_all_tasks_blocked()
            gate.set()
        assert got == [T1]
        assert len(bench.mint.calls) == 1


async def test_a_refusal_is_remembered_with_its_reason_for_a_growing_pause() -> None:
    async with renewing_bench(Mint(failure=REFUSAL)) as bench:
        pause, waits = FIRST_PAUSE, 0
        while pause < LONGEST_PAUSE:
            assert await bench.renewing.fetch(None) is None
            bench.clock.step(pause - 0.1)
            calls = len(bench.mint.calls)
            assert await bench.renewing.fetch(None) is None
            await wait_all_tasks_blocked()
            assert len(bench.mint.calls) == calls
            bench.clock.step(0.1)
            pause, waits = 2 * pause, waits + 1
        assert waits > 4
        report = bench.renewing.get_report()
        assert (report.outcome, report.detail) == (Outcome.FAILED, "invalid_client")
        bench.mint.failure = None
        bench.clock.step(LONGEST_PAUSE)
        assert await bench.renewing.fetch(None) is not None


async def test_after_a_failure_it_is_tried_again_in_the_background() -> None:
    async with renewing_bench(Mint(failure=nothing_there("no file"))) as bench:
        assert await bench.renewing.fetch(None) is None
        assert bench.renewing.get_report().outcome is Outcome.NOTHING
        bench.mint.failure = None
        bench.clock.step(FIRST_PAUSE)
        # No reader waits for a source that failed: others may answer meanwhile.
        assert not bench.renewing.is_untried
        assert bench.renewing.get() is None
        await wait_all_tasks_blocked()
        assert bench.renewing.get() == T2


async def test_an_outage_is_no_denial() -> None:
    async with renewing_bench(Mint(failure=OUTAGE)) as bench:
        with pytest.raises(Unreachable, match="mint: down"):
            await bench.renewing.fetch(None)
        with pytest.raises(Unreachable):
            await bench.renewing.fetch(None)
        assert len(bench.mint.calls) == 1


async def test_while_the_issuer_is_out_of_reach_the_expired_token_says_who_asks() -> None:
    """What is cached is shown to the principal of that token; the workspace itself would refuse it."""
    async with renewing_bench() as bench:
        await bench.renewing.fetch(None)
        bench.mint.failure = OUTAGE
        bench.clock.step(4000)
        assert await bench.renewing.fetch(None) == bench.renewing.get() == T1
        with pytest.raises(Unreachable):
            await bench.renewing.fetch(T1)
        bench.mint.failure = None
        bench.clock.step(LONGEST_PAUSE)
        bench.renewing.get()
        await wait_all_tasks_blocked()
        assert bench.renewing.get() == Token("t3")


async def test_a_refused_token_is_not_kept_when_no_other_can_be_had() -> None:
    async with renewing_bench() as bench:
        await bench.renewing.fetch(None)
        bench.mint.failure = REFUSAL
        assert await bench.renewing.fetch(T1) is None
        assert bench.renewing.get() is None


async def test_an_issuer_whose_tokens_are_all_refused_is_not_asked_for_ever() -> None:
    async with renewing_bench() as bench:
        await bench.renewing.fetch(None)
        assert await bench.renewing.fetch(T1) == T2
        bench.clock.step(REFUSED_AT_ONCE - 1)
        assert await bench.renewing.fetch(T2) is None
        assert await bench.renewing.fetch(T2) is None
        assert len(bench.mint.calls) == 2
        assert "refuses the token" in bench.renewing.get_report().detail


async def test_an_issuer_that_is_silent_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with renewing_bench() as bench:
        bench.mint.before = trio.sleep_forever
        with pytest.raises(Unreachable, match=f"{ISSUE_SECONDS:.0f} s"):
            await bench.renewing.fetch(None)


async def test_a_token_that_came_by_another_way_ends_the_pause() -> None:
    async with renewing_bench(Mint(failure=REFUSAL)) as bench:
        await bench.renewing.fetch(None)
        bench.renewing.accept(Issued(Token("given"), 100.0))
        assert bench.renewing.get() == await bench.renewing.fetch(None) == Token("given")
