"""Beginnings and ends that are not in order: a dead workspace, a stalled one, a slow download, a busy mount.

Signals on an idle or busy mount, crashes, neighbours and leftovers are in ``tests/cli/test_life.py``.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace.body_effects import Bandwidth
from fuse4dbricks.devworkspace.effects import Hang, Reset
from fuse4dbricks.fuse.connection import READ_AHEAD_KB, find_mount
from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, mounted
from tests.support.places import Place, names
from tests.support.trees import put_file
from tests.support.waiting import slow, wait_for
from tests.support.workspace import Served

RAW = "main/sales/raw"

#: The promise is 5 seconds; the rest is for a machine that does something else as well.
END_TIMEOUT = 8.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_it_starts_while_the_workspace_is_dead(tmp_path: Path) -> None:
    with mounted(f"http://127.0.0.1:{_free_port()}", tmp_path, token="dapi123") as live:
        assert (live.path / "README.txt").read_text()
        with pytest.raises(OSError) as failed:
            names(live.path)
        assert failed.value.errno == errno.EHOSTUNREACH
        with pytest.raises(OSError) as failed:
            (live.path / "main").stat()
        assert failed.value.errno == errno.EHOSTUNREACH
        assert live.stop() == 0
        assert "cannot be reached" in live.log


def test_it_recovers_when_the_workspace_comes_back(workspace: Served, live: LiveMount) -> None:
    put_file(workspace.volume / "a", 100)
    outage = workspace.faults.add(Reset(), kind="*")
    with pytest.raises(OSError) as failed:
        names(live.path)
    assert failed.value.errno in {errno.EHOSTUNREACH, errno.ETIMEDOUT}
    assert outage.fired
    outage.remove()
    assert wait_for(lambda: _is_readable(live.path / RAW / "a"), timeout=15)


def _is_readable(path: Path) -> bool:
    try:
        return len(path.read_bytes()) == 100
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_slow_download(workspace: Served, tmp_path: Path, number: int) -> None:
    put_file(workspace.volume / "a", 8 * MIB)
    expected = (workspace.volume / "a").read_bytes()
    slowly = workspace.faults.add(Bandwidth(1_000_000), kind="fs.files.get")
    with mounted(workspace, tmp_path) as live:
        path = live.path / RAW / "a"
        reader = subprocess.Popen(["cat", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        assert reader.stdout is not None
        first = reader.stdout.read(1000)
        for _ in range(2):
            live.process.send_signal(number)
        assert live.process.wait(END_TIMEOUT) == 0
        assert not live.is_mounted
        rest = reader.communicate(timeout=30)[0]
        assert expected.startswith(first + rest)
    assert slowly.fired
    slowly.remove()
    # Half-written chunks are no obstacle, nor are they served.
    with mounted(workspace, tmp_path) as live:
        assert path.read_bytes() == expected
        # Those of this reader are on their way.
        assert wait_for(lambda: not list(live.cache.glob("**/*.tmp")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_with_a_working_directory_inside(workspace: Served, tmp_path: Path, number: int) -> None:
    with mounted(workspace, tmp_path) as live:
        inside = subprocess.Popen(["cat"], cwd=live.path / RAW, stdin=subprocess.PIPE)
        try:
            assert live.stop(number, END_TIMEOUT) == 0
            assert not live.is_mounted
        finally:
            inside.communicate(timeout=10)


#: 200 threads with one O_DIRECT read each, which no page cache gathers; prints the errors once all have ended.
STALLED = """
import errno, mmap, os, sys, threading
descriptor = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
ended = []
def read(number):
    aligned = mmap.mmap(-1, 4096)
    try:
        os.preadv(descriptor, [aligned], number * 1_048_576)
        ended.append("read")
    except OSError as error:
        ended.append(errno.errorcode[error.errno])
threads = [threading.Thread(target=read, args=(number,)) for number in range(200)]
for thread in threads:
    thread.start()
print("asked", flush=True)
for thread in threads:
    thread.join()
print(*sorted(set(ended)), len(ended), flush=True)
"""


def _start_stalled(path: Path) -> subprocess.Popen[str]:
    reader = subprocess.Popen([sys.executable, "-c", STALLED, path], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "asked\n"
    return reader


def test_200_stuck_reads_hold_up_nobody_else(served: Served, shared: LiveMount, place: Place) -> None:
    with (place.source / "stalled").open("wb") as stream:
        stream.truncate(200 * MIB)
    os.utime(place.source / "stalled", (1_600_000_000, 1_600_000_000))
    cached = place.put("cached", 100_000)
    assert (place.top / "cached").read_bytes() == cached
    stall = served.faults.add(Hang(), kind="fs.files.get", path="*/stalled")
    reader = _start_stalled(place.top / "stalled")
    try:
        assert served.journal.wait_until(lambda journal: journal.get_in_flight()["fs.files.get"] >= 4)
        # Cached bytes (asked of the daemon, in the background requests that the stuck ones are too), cached names,
        # and what only the workspace knows.
        with (place.top / "cached").open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert stream.read() == cached
        assert names(place.top) == ["cached", "stalled"]
        place.put("folder/new", 10)
        assert names(place.top.parent.parent) == ["sales"]
        assert reader.poll() is None
    finally:
        stall.remove()
    assert reader.communicate(timeout=60)[0] == "read 200\n"


@slow[0]
@slow[1]
def test_200_stuck_reads_are_freed_by_the_deadline(served: Served, shared: LiveMount, place: Place) -> None:
    with (place.source / "stalled").open("wb") as stream:
        stream.truncate(200 * MIB)
    os.utime(place.source / "stalled", (1_600_000_000, 1_600_000_000))
    stall = served.faults.add(Hang(), kind="fs.files.get", path="*/stalled")
    reader = _start_stalled(place.top / "stalled")
    try:
        # 30 s are promised for each request; libfuse starts all of them at once.
        assert reader.communicate(timeout=40)[0] == "ETIMEDOUT 200\n"
        assert stall.fired
    finally:
        stall.remove()
    assert len((place.top / "stalled").read_bytes()) == 200 * MIB


def test_a_signal_frees_200_stuck_reads(workspace: Served, tmp_path: Path) -> None:
    with (workspace.volume / "stalled").open("wb") as stream:
        stream.truncate(200 * MIB)
    os.utime(workspace.volume / "stalled", (1_600_000_000, 1_600_000_000))
    with mounted(workspace, tmp_path) as live:
        stall = workspace.faults.add(Hang(), kind="fs.files.get")
        reader = _start_stalled(live.path / RAW / "stalled")
        assert workspace.journal.wait_until(lambda journal: journal.get_in_flight()["fs.files.get"] >= 4)
        assert live.stop(signal.SIGTERM, END_TIMEOUT) == 0
        assert not live.is_mounted
        said = reader.communicate(timeout=10)[0]
        assert said.endswith(" 200\n")
        assert "read" not in said
        assert stall.fired


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise read-ahead")
def test_the_kernel_reads_ahead_as_far_as_it_was_told(live: LiveMount) -> None:
    # What is written before the kernel's INIT was answered, it takes back to 128 KiB.
    mount = find_mount(live.path)
    assert mount is not None
    assert Path(f"/sys/class/bdi/{mount.device}/read_ahead_kb").read_text() == f"{READ_AHEAD_KB}\n"
