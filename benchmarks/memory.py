"""Memory that is at hand when the clock starts.

The difficulty: a virtual machine may give memory that is free back to its host (free page reporting), and then the first
touch of a page costs ten times a copy: 512 MiB written to new files took 0.1 s of processor where their pages had been in
use a moment before, and 1.4 s where they had not. A file that is read through a mount takes new pages twice over, for the
mount's own and for the cache's files, while ``http.client`` takes none; so the machine's past, not the subject,
made figures of one and the same program differ by two. Pages that were freed just now stay at hand for about two seconds.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from fuse4dbricks.units import GIB, KIB

#: For a file of 512 MiB in the mount's pages, again in the cache's, and in a subject's own memory.
NEEDED_BYTES = 2 * GIB


def have_at_hand(amount: int = NEEDED_BYTES) -> None:
    """Touch so many bytes, or half of what is available, and free them: call it right before the clock starts."""
    amount = min(amount, _get_available() // 2)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, amount, flags=flags).close()


def _get_available() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("MemAvailable:"))
