"""Faults at the system call: the n-th one kills, fails or hangs.

The difficulty: what a disk does wrong reaches a program as the answer to a system call, and each of the hundreds of calls
of a workload is another place to fail. strace can make any of them fail, and counts them by thread; a fault that
never struck proves nothing, so what struck is counted here.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Seconds for strace to attach; a loaded machine needs some.
ATTACH_TIMEOUT = 20.0


def _why_not() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = [
        "strace",
        "-qq",
        "-f",
        "-o",
        os.devnull,
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EIO",
        "true",
    ]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=30)
    return None if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()}"


_reason = _why_not()

#: Put it on tests that use this module.
needs_strace = pytest.mark.skipif(_reason is not None, reason=_reason or "")


def run_killed(call: str, when: int, *arguments: str | Path, timeout: float = 120.0) -> bool:
    """Run ``python -m ARGUMENTS``, killed as a thread of it is about to do its ``when``-th ``call``.

    Returns:
        Whether it was killed; if not, it came to its end.

    Raises:
        AssertionError: it ended otherwise.
    """
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    done = subprocess.run(
        # Not --seccomp-bpf: with it strace 6.1 sends no signal.
        ["strace", "-f", "-qq", "-o", os.devnull, *inject, sys.executable, "-m", *arguments],
        # A compiled module that is written would be counted too.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL, 128 + signal.SIGKILL}, done.stderr.decode()
    return done.returncode != 0


class Injection:
    """A fault that strikes a running process now.

    Attributes:
        log: what strace has seen.
    """

    def __init__(self, log: Path) -> None:
        self.log = log

    @property
    def fired(self) -> int:
        """How often it struck so far."""
        text = self.log.read_text(errors="replace")
        return text.count("(INJECTED)") + text.count("(DELAYED)")


@contextmanager
def injected(
    pid: int, calls: Sequence[str], fault: str, log: Path, *, paths: Sequence[Path] = ()
) -> Iterator[Injection]:
    """For the length of a block each of ``calls`` of a process has a fault.

    Args:
        pid: the process, with all its threads.
        calls: names of system calls.
        fault: as strace has it: ``error=EIO``, ``delay_enter=5s``, ``error=ENOSPC:when=3+7``.
        log: where strace writes what it sees.
        paths: only calls on these files or folders, by path or by descriptor; all if there are none.
    """
    names = ",".join(calls)
    only = [word for path in paths for word in ("-P", str(path))]
    with subprocess.Popen(
        [
            "strace",
            "-f",
            "-p",
            str(pid),
            "-o",
            log,
            *only,
            "-e",
            f"trace={names}",
            "-e",
            f"inject={names}:{fault}",
        ],
        stderr=subprocess.PIPE,
    ) as tracer:
        try:
            _wait_until_attached(tracer)
            yield Injection(log)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(ATTACH_TIMEOUT)


def _wait_until_attached(tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.stderr is not None
    deadline, said = time.monotonic() + ATTACH_TIMEOUT, b""
    while b"attached" not in said:
        ready, _, _ = select.select([tracer.stderr], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(tracer.stderr.fileno(), 4096) if ready else b""
        assert piece, f"strace did not attach: {said!r}"
        said += piece
