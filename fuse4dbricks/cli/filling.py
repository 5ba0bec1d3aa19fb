"""Showing how far the filling of the cache is: a bar in a terminal, a line now and then elsewhere.

The difficulty: it may take hours, in a terminal, in a log or in a script that reads JSON from the other stream; so all of
this goes to stderr, and where that is no terminal there is a line each ten seconds and no control character.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from fuse4dbricks.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

#: Seconds between two lines where there is no terminal.
LINE_SECONDS = 10.0

State = dict[str, Any]


def planned(state: State) -> str:
    """What is going to happen, in one line."""
    if not state["to_fetch_files"]:
        return f"{state['files']:,} files, {format_bytes(state['bytes'])}, all of it cached already."
    return (
        f"{state['files']:,} files, {format_bytes(state['bytes'])}, of which {format_bytes(state['cached_bytes'])} are "
        f"cached; to fetch: {format_bytes(state['to_fetch_bytes'])} of {state['to_fetch_files']:,} files in "
        f"{state['calls']:,} calls."
    )


def how_far(state: State) -> tuple[int, int]:
    """Bytes done and bytes in all, of the phase that it is in."""
    if state["phase"] == "checking":
        return state["checked_bytes"], state["bytes"]
    return state["fetched_bytes"], state["to_fetch_bytes"]


@contextmanager
def shown(*, is_quiet: bool) -> Iterator[Callable[[State], None]]:
    """A way to show states, for the length of a block."""
    if is_quiet:
        yield lambda _state: None
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _Drawn(bars)
    else:
        yield _Told()


def _bars() -> Bars:
    from rich.console import Console  # noqa: PLC0415 - for terminals only
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Drawn:
    """A bar for each phase."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("looking", total=None)
        self._phase = "looking"

    def __call__(self, state: State) -> None:
        phase = state["phase"]
        if phase == "looking":
            self._bars.update(self._task, description=f"looking: {state['files']:,} files")
            return
        if phase not in {self._phase, "done"}:
            self._bars.remove_task(self._task)
            if self._phase == "looking":
                self._bars.console.print(planned(state), markup=False, highlight=False)
            self._phase = phase
            self._task = self._bars.add_task(phase, total=how_far(state)[1])
        if self._phase != "looking":
            done, of = how_far({**state, "phase": self._phase})
            self._bars.update(self._task, completed=done, total=of)


class _Told:
    """Lines."""

    def __init__(self) -> None:
        self._phase = "looking"
        self._began = (time.monotonic(), 0)
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, state: State) -> None:
        now, phase = time.monotonic(), state["phase"]
        if phase != self._phase:
            if self._phase == "looking":
                click.echo(planned(state), err=True)
            self._phase, self._began = phase, (now, how_far(state)[0])
        elif now >= self._next and phase != "done":
            self._next = now + LINE_SECONDS
            click.echo(self._line(state, now), err=True)

    def _line(self, state: State, now: float) -> str:
        if state["phase"] == "looking":
            return f"looking: {state['folders']:,} folders, {state['files']:,} files so far"
        done, of = how_far(state)
        rate = (done - self._began[1]) / max(now - self._began[0], 0.001)
        left = f", {format_seconds((of - done) / rate)} left" if rate > 0 else ""
        percent = 100 * done // of if of else 100
        return f"{state['phase']}: {percent}%, {format_bytes(done)} of {format_bytes(of)}, {format_bytes(rate)}/s{left}"
