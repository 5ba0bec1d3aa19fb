"""Memory that is about to be written to: of the right size, writable, and nobody else's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fuse4dbricks.buffers import make_blank


@pytest.mark.parametrize("length", [0, 1, 4096, (1 << 15) - 1, 1 << 15, 1 << 20, (1 << 20) + 1])
def test_a_blank_is_as_long_as_asked_and_takes_bytes(length: int) -> None:
    blank = make_blank(length)
    assert type(blank) is bytearray
    assert len(blank) == length
    memoryview(blank)[:] = bytes([7]) * length
    assert blank.count(7) == length


def test_two_blanks_share_nothing() -> None:
    first, second = make_blank(1 << 20), make_blank(1 << 20)
    first[:], second[:] = bytes([1]) * len(first), bytes([2]) * len(second)
    assert first.count(1) == second.count(2) == 1 << 20


def test_what_cannot_be_had_is_an_error_and_no_blank() -> None:
    with pytest.raises(MemoryError):
        make_blank(1 << 60)


def test_what_cannot_be_had_for_want_of_memory_is_an_error_and_nothing_is_said() -> None:
    code = """
import resource
from fuse4dbricks.buffers import make_blank
taken = [make_blank(1 << 20) for _ in range(64)]
for blank in taken:
    blank[:] = b"\\xff" * len(blank)
del taken, blank
resource.setrlimit(resource.RLIMIT_AS, (1 << 28, resource.getrlimit(resource.RLIMIT_AS)[1]))
taken, failures = [], 0
while failures < 100:
    junk = [b"\\x01" * 30 + bytes([number]) for number in range(100)]
    del junk
    try:
        taken.append(make_blank(1 << 20))
    except MemoryError:
        failures += 1
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
