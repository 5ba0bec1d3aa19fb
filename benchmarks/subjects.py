"""What is measured: this program and its peers, each as a mount that comes and goes.

The difficulty: peers differ in how they are started, become ready and end, and a benchmark that dies must leave
neither a mount nor a process. So every subject is a context manager over a process of its own, which ends by SIGTERM,
then SIGKILL, then a lazy unmount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.line import Server

UPSTREAM = "fuse4dbricks==0.7.5"
READY_SECONDS = 30.0
END_SECONDS = 10.0


class Skipped(Exception):
    """A subject or a figure cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Live:
    """A mount that answers.

    Attributes:
        volume: the folder that shows ``main/sales/raw``.
        process: of the daemon.
        ready_after: seconds from the start of the process to the mount.
        answers_after: seconds to the first answer about the volume.
    """

    volume: Path
    process: subprocess.Popen[bytes]
    ready_after: float
    answers_after: float

    def get_peak_rss(self) -> int:
        """Bytes, from VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subject works.

    Attributes:
        tree: the folder that the server serves.
        folder: for mount point, cache and log of this subject.
        tools: where the upstream's virtual environment is kept from run to run.
    """

    server: Server
    tree: Path
    folder: Path
    tools: Path


@contextmanager
def ours(place: Place, *options: str) -> Iterator[Live]:
    """This program; the cache in the place's folder stays for the next mount."""
    command = [sys.executable, "-m", "fuse4dbricks", "--workspace", place.server.url]
    command += [
        "--ca-file",
        place.server.authority,
        "--disk-cache-dir",
        str(place.folder / "cache"),
        *options,
    ]
    yield from _mounted(command, place, {"DATABRICKS_TOKEN": place.server.token}, "main/sales/raw")


@contextmanager
def upstream(place: Place, *options: str) -> Iterator[Live]:
    """The original program, from PyPI, in an environment of its own."""
    program = _install_upstream(place.tools)
    command = [str(program), "--workspace", place.server.url, "--single-principal", "--read-only"]
    command += ["--disk-cache-dir", str(place.folder / "cache"), *options]
    variables = {
        "DATABRICKS_TOKEN": place.server.token,
        "DATABRICKS_HOST": place.server.url,
        "SSL_CERT_FILE": place.server.authority,
        "REQUESTS_CA_BUNDLE": place.server.authority,
        # Has a package of the same name as ours, which this variable would put before it.
        "PYTHONPATH": "",
    }
    yield from _mounted(command, place, variables, "main/sales/raw")


@contextmanager
def rclone(place: Place, *options: str) -> Iterator[Live]:
    """Rclone, over the same tree as web pages, with a full cache."""
    program = shutil.which("rclone")
    if program is None:
        raise Skipped("rclone is not installed")
    command = [program, "mount", "--config", os.devnull, "--http-url", place.server.pages, "--read-only"]
    command += ["--ca-cert", place.server.authority, "--vfs-cache-mode", "full"]
    command += ["--cache-dir", str(place.folder / "cache"), *options, ":http:"]
    yield from _mounted(command, place, {}, "main/sales/raw")


@contextmanager
def passthrough(place: Place, *options: str) -> Iterator[Live]:
    """Bare pyfuse3 over the tree on disk: no server, no cache."""
    command = [sys.executable, "-m", "benchmarks.passthrough", *options, str(place.tree)]
    yield from _mounted(command, place, {}, "main/sales/raw")


def _install_upstream(tools: Path) -> Path:
    program = tools / "upstream" / "bin" / "fuse4dbricks"
    if program.exists():
        return program
    tools.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", tools / "upstream"], check=True, capture_output=True)
        pip = [str(program.with_name("pip")), "install", "--quiet", UPSTREAM]
        subprocess.run(pip, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(tools / "upstream", ignore_errors=True)
        raise Skipped(f"{UPSTREAM} cannot be installed: {type(error).__name__}") from None
    return program


def _mounted(command: Sequence[str], place: Place, variables: dict[str, str], inner: str) -> Iterator[Live]:
    mountpoint = place.folder / "mnt"
    mountpoint.mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    # As an installed program has it, whatever the variables of this shell say.
    clean |= {"PYTHONPYCACHEPREFIX": str(place.tools / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    began = time.perf_counter()
    with (place.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(mountpoint)],
            env=clean | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_mounted(mountpoint, process, place.folder / "log")
        ready_after = time.perf_counter() - began
        volume = mountpoint / inner
        volume.stat()
        yield Live(volume, process, ready_after, time.perf_counter() - began)
    finally:
        _end(process, mountpoint)


def _wait_until_mounted(mountpoint: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while f" {mountpoint} " not in Path("/proc/self/mountinfo").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Skipped(f"it did not mount: {log.read_text(errors='replace')[-300:]}")
        time.sleep(0.002)


def _end(process: subprocess.Popen[bytes], mountpoint: Path) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait(END_SECONDS)
    if f" {mountpoint} " in Path("/proc/self/mountinfo").read_text():
        subprocess.run(["fusermount3", "-uz", mountpoint], check=False, capture_output=True)
