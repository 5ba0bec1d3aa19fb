"""Any interleaving of readers, failures, cancellations and remote changes against an oracle of plain bytes.

Hypothesis chooses who reads what, how fast pieces come, what fails, and (through trio's plugin) in which order
tasks run. Whatever it chooses: each byte returned is the oracle's for the handle's version, errors come only
where something was broken on purpose, nothing waits for ever, and nothing is left over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import chain, cycle

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from fuse4dbricks.cache.reading.opened import LateReader
from fuse4dbricks.cache.reading.ports import ReadBuffer
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    DeadlineExceeded,
    InvalidToken,
    PermissionDenied,
    ProtocolViolation,
    RemoteError,
    ServerFailure,
    Unreachable,
    VersionChanged,
)
from tests.support.reading import CHUNK, PATH, Opener, Rig, content_of, reading_rig, version_of

FAILURES = (Unreachable, ServerFailure, DeadlineExceeded, ProtocolViolation, PermissionDenied, InvalidToken)


@dataclass(frozen=True)
class Read:
    """One request. ``patience`` is after how many checkpoints it is interrupted; None is never."""

    offset: int
    length: int
    patience: int | None = None


@dataclass(frozen=True)
class Scenario:
    """Everything that hypothesis decides. ``width`` is how many requests the kernel sends at once."""

    size: int
    ram_chunks: int
    window_chunks: int
    handles: list[list[Read]]
    width: int
    paces: list[int]
    stored: set[int]
    bad: set[int]
    disk_takes: bool
    disk_is_slow: bool
    failures: dict[int, type[RemoteError]] = field(default_factory=dict)
    refused: type[RemoteError] | None = None
    changes_after: int | None = None

    @property
    def can_fail(self) -> bool:
        return bool(self.failures) or self.refused is not None or self.changes_after is not None

    @property
    def is_interrupted(self) -> bool:
        return any(read.patience is not None for handle in self.handles for read in handle)


def runs(size: int, patience: st.SearchStrategy[int | None]) -> st.SearchStrategy[list[Read]]:
    """A stretch of reading in order (either way, with or without gaps), or reads anywhere."""

    def spread(start: int, length: int, stride: int, count: int, patient: int | None) -> list[Read]:
        return [Read(max(0, start + n * stride), length, patient) for n in range(count)]

    lengths = st.sampled_from([1, 16, 32, 50, CHUNK, CHUNK + 1, 3 * CHUNK])
    starts = st.one_of(st.just(0), st.integers(0, size))
    in_order = st.tuples(starts, lengths, st.integers(1, 30), patience).map(
        lambda t: spread(t[0], t[1], t[1], t[2], t[3])
    )
    strided = st.tuples(starts, lengths, st.integers(-200, 400), st.integers(1, 8), patience).map(
        lambda t: spread(*t)
    )
    return st.one_of(in_order, strided)


def handles(size: int, patience: st.SearchStrategy[int | None]) -> st.SearchStrategy[list[list[Read]]]:
    script = st.lists(runs(size, patience), min_size=1, max_size=4).map(lambda parts: list(chain(*parts)))
    return st.lists(script, min_size=1, max_size=4)


@st.composite
def scenarios(draw: st.DrawFn, *, hostile: bool) -> Scenario:
    size = draw(st.one_of(st.integers(1, 6 * CHUNK), st.integers(1, 120 * CHUNK)))
    chunks = st.sets(st.integers(0, size // CHUNK), max_size=20)
    patience = st.one_of(st.none(), st.integers(0, 12)) if hostile else st.none()
    plain = Scenario(
        size=size,
        ram_chunks=draw(st.sampled_from([0, 1, 8, 500])),
        window_chunks=draw(st.sampled_from([4, 16, 64, 256])),
        handles=draw(handles(size, patience)),
        width=draw(st.integers(1, 5)),
        paces=draw(st.lists(st.integers(0, 6), min_size=1, max_size=8)),
        stored=draw(chunks),
        bad=draw(chunks) if hostile else set(),
        disk_takes=draw(st.booleans()) if hostile else True,
        disk_is_slow=draw(st.booleans()),
    )
    if not hostile:
        return plain
    errors = st.sampled_from(FAILURES)
    return Scenario(
        **{name: getattr(plain, name) for name in plain.__dataclass_fields__ if name not in _HOSTILE},
        failures=draw(st.dictionaries(st.integers(0, size - 1), errors, max_size=6)),
        refused=draw(st.one_of(st.none(), st.sampled_from([PermissionDenied, InvalidToken]))),
        changes_after=draw(st.one_of(st.none(), st.integers(0, 100))),
    )


_HOSTILE = {"failures", "refused", "changes_after"}


class Play:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, rig: Rig, old: bytes) -> None:
        self.scenario = scenario
        self.rig = rig
        self.oracle: dict[Version, bytes] = {version_of(old): old}
        self.dead: set[Version] = set()
        self.pieces = 0
        self._paces = cycle(scenario.paces)
        rig.source.pace = self.pace
        rig.source.failures.update({at: error("on purpose") for at, error in scenario.failures.items()})
        if scenario.refused is not None:
            rig.source.refused["token-of-eve"] = scenario.refused("on purpose")
        rig.disk.put(PATH, version_of(old), old, scenario.stored)
        rig.disk.stored = {key: payload for key, payload in rig.disk.stored.items() if payload}
        rig.disk.bad.update((PATH, version_of(old), index) for index in scenario.bad)
        rig.disk.takes = scenario.disk_takes
        rig.disk.is_slow = scenario.disk_is_slow

    async def pace(self) -> None:
        """Before each piece: as slow as the scenario says; now and then the file is replaced."""
        for _ in range(next(self._paces)):
            await trio.lowlevel.checkpoint()
        self.pieces += 1
        if self.pieces == self.scenario.changes_after:
            new = content_of(self.scenario.size + 3, 99)
            self.oracle[version_of(new, 2)] = new
            self.rig.source.files[PATH] = version_of(new, 2), new

    async def run(self) -> None:
        """All handles at once."""
        with trio.fail_after(60):  # on a mock clock: it passes only when every task waits for ever
            async with trio.open_nursery() as nursery:
                for number, reads in enumerate(self.scenario.handles):
                    opener = Opener("eve", "token-of-eve") if number % 2 else Opener()
                    nursery.start_soon(self.read_all, opener, reads)
            await self.rig.settle()
        self.check_leftovers()

    async def read_all(self, opener: Opener, reads: list[Read]) -> None:
        reader, width = self.rig.open(opener), self.scenario.width
        for first in range(0, len(reads), width):
            async with trio.open_nursery() as nursery:
                for read in reads[first : first + width]:
                    nursery.start_soon(self.read_one, opener, reader, read)
        reader.close()

    async def read_one(self, opener: Opener, reader: LateReader, read: Read) -> None:
        expected = self.oracle[reader.version][read.offset : read.offset + read.length]
        is_dead = reader.version in self.dead
        try:
            found = await self.answer(reader, read)
        except RemoteError as error:
            self.check_error(opener, reader, error)
            return
        assert found is None or bytes(found) == expected
        assert not found or not is_dead, "nothing of a version that is known to be gone"

    async def answer(self, reader: LateReader, read: Read) -> ReadBuffer | None:
        found = reader.get(read.offset, read.length)
        if found is not None:
            return found
        if read.patience is None:
            return await reader.read(read.offset, read.length)
        return await interrupted(read.patience, lambda: reader.read(read.offset, read.length))

    def check_error(self, opener: Opener, reader: LateReader, error: RemoteError) -> None:
        """Errors come from what was broken, and refusals only to him who was refused."""
        assert self.scenario.can_fail, error
        if isinstance(error, VersionChanged):
            assert self.rig.source.files[PATH][0] != reader.version
            self.dead.add(reader.version)
        elif type(error) is not self.scenario.refused or opener.name != "eve":
            assert type(error) in self.scenario.failures.values()

    def check_leftovers(self) -> None:
        scenario, rig = self.scenario, self.rig
        assert not +rig.disk.held
        for (_, version, index), payload in rig.disk.stored.items():
            assert payload == self.oracle[version][index * CHUNK : (index + 1) * CHUNK]
        rig.disk.store_all()
        gauges = rig.cache.get_gauges()
        assert gauges.publishing == 0
        assert gauges.ram_bytes <= scenario.ram_chunks * CHUNK
        assert rig.metrics.get("tasks.failed") == 0


async def interrupted(patience: int, work: Callable[[], Awaitable[ReadBuffer]]) -> ReadBuffer | None:
    """``work()``, cancelled after so many checkpoints; None if it was."""
    result: ReadBuffer | None = None
    error: RemoteError | None = None

    async def run() -> None:
        nonlocal result, error
        try:
            result = await work()
        except RemoteError as failure:
            error = failure

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for _ in range(patience):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error
    return result


def play(scenario: Scenario, check: Callable[[Play], None]) -> None:
    async def main() -> None:
        content = content_of(scenario.size)
        async with reading_rig(
            content, ram_bytes=scenario.ram_chunks * CHUNK, window_bytes=scenario.window_chunks * CHUNK
        ) as rig:
            a_play = Play(scenario, rig, content)
            await a_play.run()
            check(a_play)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def check_downloads(a_play: Play) -> None:
    """With nothing broken, and a disk that keeps what was fetched, no byte is asked for twice."""
    assert set(a_play.rig.source.sent.values()) <= {1}
    assert not any(
        index in a_play.scenario.stored for _, at in a_play.rig.source.sent for index in [at // CHUNK]
    )


@settings(max_examples=150, deadline=None)
@given(scenarios(hostile=False))
def test_in_fair_weather_each_byte_is_downloaded_at_most_once(scenario: Scenario) -> None:
    play(scenario, check_downloads)


@settings(max_examples=300, deadline=None)
@given(scenarios(hostile=True))
def test_in_foul_weather_each_byte_is_right_or_an_error_and_nothing_hangs(scenario: Scenario) -> None:
    play(scenario, lambda a_play: None)
