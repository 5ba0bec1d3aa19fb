"""The file is replaced in the writer thread while the loop reads: neither meets the other's half."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio

from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.indexes import FOLDER, HandClock, file_entry, opened, post_walk


class HeldClock(HandClock):
    """Holds any thread but the loop's that asks for the time, as replacing a file does before the renames."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def wall(self) -> float:
        if threading.current_thread() is not threading.main_thread() and not self.go_on.is_set():
            self.held.set()
            assert self.go_on.wait(60)
        return super().wall()


@pytest.mark.timeout(120)
async def test_while_the_file_is_replaced_the_loop_reads_nothing(tmp_path: Path) -> None:
    clock, metrics = HeldClock(), Metrics()
    path = FOLDER.child("a")
    async with opened(tmp_path, clock=clock, metrics=metrics) as index:
        post_walk(index, FOLDER, [[file_entry("a")]])
        await index.flush()
        assert index.tree.load_entry(path, None) is not None
        clock.go_on.clear()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(index.renew)
                assert await trio.to_thread.run_sync(clock.held.wait, 60)
                assert index.tree.load_entry(path, None) is None
                assert metrics.get("index.misses", reason="busy") > 0
                clock.go_on.set()
        finally:
            clock.go_on.set()
        post_walk(index, FOLDER, [[file_entry("a")]])
        await index.flush()
        assert index.tree.load_entry(path, None) is not None
