"""Waiting for what another process does, and tests that are run by hand.

The difficulty: a mount is another process, whose log, files and end no event of ours tells about. A fixed pause is
too short on a busy machine and too long on an idle one, so a condition is looked at again and again, until a deadline
that only a failing test reaches.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

#: Between two looks, seconds.
LOOK_S = 0.02

#: Set to anything to run the tests that take minutes: real deadlines, gibibytes.
SLOW_VARIABLE = "FUSE4DBRICKS_SLOW_TESTS"


def wait_for(condition: Callable[[], object], timeout: float = 10.0) -> bool:
    """Look until ``condition`` is true; False when ``timeout`` seconds passed first."""
    never = threading.Event()
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        never.wait(LOOK_S)
    return True


#: Put both on a test: ``pytestmark = slow`` or ``@slow[0] @slow[1]``.
slow = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get(SLOW_VARIABLE), reason=f"takes minutes: set {SLOW_VARIABLE}=1 to run it"
    ),
]
