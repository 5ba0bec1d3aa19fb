"""Real mounts for tests: the command in a process of its own, on a folder of its own, always cleaned up.

The difficulty: a mount that misbehaves is what such tests are for, and it must take neither the test run nor the
machine with it. So every wait has an end, and the end of a mount goes from polite to certain: SIGTERM, abort of the
FUSE connection (which frees callers that not even SIGKILL frees), SIGKILL, lazy unmount.

The local workspace usually runs in a thread of the test process. Python code that blocks in the mount while it
holds the interpreter lock would then wait for itself: touch an ``mmap`` of a mounted file only in another process
(:meth:`LiveMount.run`). ``os.read``, ``os.stat``, ``open`` and their kin let go of the lock and are fine.
"""

from __future__ import annotations

import contextlib
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

from fuse4dbricks.app.surroundings import check_fuse, unmount_lazily
from fuse4dbricks.devworkspace.server import LocalWorkspace
from fuse4dbricks.errors import MountError
from fuse4dbricks.fuse.connection import find_mount

#: Seconds. The promise is an end within 5; a loaded machine gets more before the test calls it stuck.
READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
RUN_TIMEOUT = 60.0

CONNECTIONS = Path("/sys/fs/fuse/connections")

READY = "mounted"


def why_not() -> str | None:
    """Why this machine cannot mount, or None when it can."""
    try:
        check_fuse(allow_other=False)
    except MountError as error:
        return f"no FUSE here: {error}"
    return None


#: Put it on tests of real mounts: they say why they skip.
needs_fuse = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


#: A test run that is killed cannot clean up: the kernel then tells the mount to end.
_LEASH = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


class LiveMount:
    """A running ``fuse4dbricks`` and what a test wants to know of it.

    Attributes:
        path: the mount point.
        cache: the folder of its disk cache.
        process: the daemon.
    """

    def __init__(self, path: Path, cache: Path, log_file: Path, process: subprocess.Popen[bytes]) -> None:
        self.path = path
        self.cache = cache
        self.process = process
        self._log_file = log_file
        self._said = b""

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self._log_file.read_text(errors="replace")

    @property
    def said(self) -> str:
        """What it wrote to stdout until it was ready."""
        return self._said.decode(errors="replace")

    @property
    def is_mounted(self) -> bool:
        """Whether the kernel has the mount, dead or alive."""
        return find_mount(self.path) is not None

    def wait_until_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait for the line that says that the mount answers.

        Raises:
            RuntimeError: it ended or stayed silent.
        """
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while READY not in self.said:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise RuntimeError(f"not mounted after {timeout:.0f} s; its log: {self.log}")
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise RuntimeError(f"ended with {self.process.wait(timeout)}; its log: {self.log}")
            self._said += piece

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Send a signal, wait for the end, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it is stuck.
        """
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, and wait: what a crash leaves is left."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT)

    def run(self, *command: str | Path, timeout: float = RUN_TIMEOUT) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the mount point; a failure is for the test to judge.

        Raises:
            subprocess.TimeoutExpired: it hangs.
        """
        return subprocess.run(command, cwd=self.path, capture_output=True, timeout=timeout, check=False)

    def run_python(self, code: str, *arguments: str | Path, timeout: float = RUN_TIMEOUT) -> str:
        """Run Python code in the mount point, in a process of its own; returns what it printed.

        Raises:
            AssertionError: it failed.
        """
        done = self.run(sys.executable, "-c", code, *arguments, timeout=timeout)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    def abort(self) -> None:
        """Cut the FUSE connection: every call in the mount fails, and whoever hangs in it is free."""
        mount = find_mount(self.path)
        if mount is None:
            return
        _mount_fusectl()
        with contextlib.suppress(OSError):
            (CONNECTIONS / mount.device.partition(":")[2] / "abort").write_text("1")

    def clean_up(self) -> None:
        """Leave nothing: neither the process nor the mount, whatever state they are in."""
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        if self.process.poll() is None:
            self.abort()
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT)
        if self.is_mounted:
            self.abort()
            unmount_lazily(self.path)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _mount_fusectl() -> None:
    """Make the folder of FUSE connections visible, which not every container has."""
    if os.geteuid() == 0 and CONNECTIONS.exists() and not any(CONNECTIONS.iterdir()):
        subprocess.run(["mount", "-t", "fusectl", "none", CONNECTIONS], capture_output=True, check=False)


def start_mount(
    workspace: LocalWorkspace | str,
    folder: Path,
    *options: str | Path,
    token: str | None = None,
    environment: dict[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> LiveMount:
    """Start ``fuse4dbricks OPTIONS folder/mnt`` with its cache in ``folder/cache``; does not wait.

    Args:
        workspace: where to, with its first user's token; or a URL, with no token unless given.
        folder: for the mount point, the cache and the log. Given again, the cache is warm.
        options: more flags, such as ``"--ram-cache-mb", "16"``.
        token: in place of the workspace's own; ``""`` for none.
        environment: more variables.
        wrapper: what to start it under, such as ``("strace", "-f", …)``.
    """
    folder.mkdir(exist_ok=True, parents=True)
    folder = folder.resolve()
    path, cache, log_file = folder / "mnt", folder / "cache", folder / "log"
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)  # noqa: PTH102 - Path.mkdir(exist_ok=True) looks at what is there, which may be a dead mount
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "FUSE4D"))
    }
    arguments: list[str | Path] = ["--disk-cache-dir", cache, *options]
    if isinstance(workspace, str):
        url, used = workspace, token
    else:
        url, used = workspace.url, workspace.token if token is None else token
        if workspace.authority_file is not None:
            arguments += ["--ca-file", workspace.authority_file]
    if used:
        variables["DATABRICKS_TOKEN"] = used
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*_LEASH, *wrapper, sys.executable, "-m", "fuse4dbricks", "--workspace", url, *arguments, path],
            env={**variables, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is for the test run, which then cleans up
        )
    return LiveMount(path, cache, log_file, process)


@contextmanager
def mounted(
    workspace: LocalWorkspace | str,
    folder: Path,
    *options: str | Path,
    token: str | None = None,
    environment: dict[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Iterator[LiveMount]:
    """A mount that answers, for the length of a block; arguments as for :func:`start_mount`.

    Skips the test where the machine cannot mount.
    """
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    live = start_mount(workspace, folder, *options, token=token, environment=environment, wrapper=wrapper)
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.clean_up()


def has_program(name: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
