"""Room for open files, made before it is needed.

The difficulty: the kernel's table of a process's descriptors starts with 64 places and grows by doubling, and where
threads share it each growth waits until every processor has let go of the old one: the event loop stood still for 7
to 16 ms (measured) when a sequential reader opened its 65th chunk, a twelfth of the time of reading 512 MiB. With one
thread nobody else can have hold of it, and nothing is waited for.
"""

from __future__ import annotations

import fcntl
import os
import resource
from contextlib import suppress

#: The usual limit of a process; 8 KiB.
PLACES = 1024


def make_room(places: int = PLACES) -> None:
    """Have the table grow to ``places``, or to what the process may have; before threads are started."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = places - 1 if soft == resource.RLIM_INFINITY else min(places, soft) - 1
    # What is not possible here is only slower later.
    with suppress(OSError), open(os.devnull, "rb") as some:  # noqa: PTH123 - no pathlib needed before everything else
        os.close(fcntl.fcntl(some, fcntl.F_DUPFD_CLOEXEC, last))
