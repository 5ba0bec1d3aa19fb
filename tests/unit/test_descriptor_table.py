"""The kernel's table of descriptors, as /proc shows it; each case in a process of its own, since a table never shrinks."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CHILD = """
import resource
from fuse4dbricks.app import descriptor_table
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
before = len(__import__("os").listdir("/proc/self/fd"))
descriptor_table.make_room({places})
after = len(__import__("os").listdir("/proc/self/fd"))
size = next(line for line in open("/proc/self/status") if line.startswith("FDSize:"))
print(size.split()[1], after - before)
"""


@pytest.mark.parametrize(
    ("places", "limit", "least"), [(1024, 1024, 1024), (1024, 4096, 1024), (1024, 300, 257), (64, 16, 1)]
)
def test_there_is_room_before_it_is_needed_and_nothing_stays_open(
    places: int, limit: int, least: int
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CHILD.format(places=places, limit=limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    size, opened = map(int, ran.stdout.split())
    assert size >= least
    assert opened == 0
