"""A writer thread with nothing to do sleeps until somebody says otherwise, and never oversleeps."""

from __future__ import annotations

import threading

import pytest

from fuse4dbricks.index import touches as touch_log
from fuse4dbricks.index.ops import Op, OpQueue
from fuse4dbricks.index.touches import FLUSH_SECONDS, TouchLog
from tests.support.indexes import HandClock


def taken(queue: OpQueue, patience: float | None = None) -> list[Op] | str | None:
    """What ``take`` returns in a thread of its own, or "asleep"."""
    got: list[list[Op] | None] = []
    thread = threading.Thread(target=lambda: got.append(queue.take(lambda: patience)), daemon=True)
    thread.start()
    thread.join(0.2 if patience is None else 10)
    if not thread.is_alive():
        return got[0]
    queue.close()
    thread.join(10)
    return "asleep"


def test_without_patience_to_keep_it_sleeps() -> None:
    assert taken(OpQueue()) == "asleep"
    assert taken(OpQueue(), 0.0) == []


def test_who_wakes_it_before_it_sleeps_is_heard_once() -> None:
    queue = OpQueue()
    queue.wake()
    assert taken(queue, None) == []
    assert taken(queue, None) == "asleep"


def test_the_first_use_wakes_it_and_the_others_wait_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touch_log, "MANY", 3)
    clock = HandClock()
    log = TouchLog(clock)
    assert log.get_patience() is None
    clock.step(10 * FLUSH_SECONDS)
    assert log.note(1), "somebody has to look at the time from now on"
    assert not log.note(1)
    assert not log.note(2)
    assert (log.get_patience(), log.is_due()) == (FLUSH_SECONDS, False)
    clock.step(FLUSH_SECONDS - 1)
    assert (log.get_patience(), log.is_due()) == (1, False)
    clock.step(1)
    assert log.is_due()
    assert set(log.take()) == {1, 2}
    assert (log.get_patience(), log.is_due()) == (None, False)
    assert [log.note(row) for row in (1, 2, 2, 3, 3, 4)] == [True, False, False, True, False, False]
    assert log.is_due()
