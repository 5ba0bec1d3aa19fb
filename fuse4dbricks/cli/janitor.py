"""Cleans up after a demo, also one that was killed.

The difficulty: ``kill -9`` gives a process no chance to remove its temporary folder or its mount. So a second
process does all of the cleaning, in every case: it waits until its standard input closes, which the kernel does
when the demo is gone however it went, then takes the mount away and removes the folder. It sits in a session of
its own and ignores the signals of the terminal, so that Ctrl-C ends the demo and not the cleaning.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuse4dbricks.app.ending import END_SIGNALS
from fuse4dbricks.app.surroundings import MAX_STACKED, unmount_lazily
from fuse4dbricks.fuse.connection import OUR_TYPE, find_mount

#: Seconds that the demo waits for the cleaning; a slow disk goes on without it.
PATIENCE = 20.0


@contextmanager
def cleaned_up(folder: Path, mountpoint: Path) -> Iterator[None]:
    """When the block or the process ends, unmount ``mountpoint`` and remove ``folder`` with all that is in it."""
    janitor = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", __name__, str(folder), str(mountpoint)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert janitor.stdin is not None
        janitor.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            janitor.wait(PATIENCE)


def main() -> None:
    """Wait for the end of standard input, then clean: ``python -m …janitor FOLDER MOUNTPOINT``."""
    folder, mountpoint = Path(sys.argv[1]), Path(sys.argv[2])
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(MAX_STACKED):
        mount = find_mount(mountpoint)
        if mount is None or mount.fstype != OUR_TYPE or not unmount_lazily(mountpoint):
            break
    # Never into a mount that would not go.
    if find_mount(mountpoint) is None:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
