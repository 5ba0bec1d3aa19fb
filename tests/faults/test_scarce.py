"""A mount that may open no more files (faults.md F12): a call may fail, the mount lives."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, mounted, needs_fuse, start_mount
from tests.support.trees import FIRST_MTIME, content_of
from tests.support.waiting import wait_for
from tests.support.workspace import Served

pytestmark = [needs_fuse, pytest.mark.mounted]

FILES = 24
SIZE = 2 * MIB + 5

#: What a call may say that did not get what it needed.
SCARCE = {errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ETIMEDOUT, errno.EHOSTUNREACH}


@contextmanager
def limited(pid: int, what: int, amount: int) -> Iterator[None]:
    """Bound a resource of a running process."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (amount, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def read(live: LiveMount, name: str) -> bytes | int | None:
    """The bytes of a file, or the error."""
    try:
        return (live.path / "main/sales/raw" / name).read_bytes()
    except OSError as error:
        return error.errno


def test_the_mount_lives_when_no_file_can_be_opened(workspace: Served, tmp_path: Path) -> None:
    contents = {f"{n}.bin": content_of(f"{n}".encode(), SIZE) for n in range(FILES)}
    for name, content in contents.items():
        (workspace.volume / name).write_bytes(content)
        os.utime(workspace.volume / name, (FIRST_MTIME, FIRST_MTIME))
    with mounted(workspace, tmp_path) as live:
        pid = live.process.pid
        assert read(live, "0.bin") == contents["0.bin"]
        amount = len(os.listdir(f"/proc/{pid}/fd")) + 2  # noqa: PTH208
        with limited(pid, resource.RLIMIT_NOFILE, amount), ThreadPoolExecutor(8) as pool:
            answers = dict(zip(contents, pool.map(lambda name: read(live, name), contents), strict=True))
        failed = {name: answer for name, answer in answers.items() if answer != contents[name]}
        assert set(failed.values()) <= SCARCE, live.log
        print(f"{len(failed)} of {FILES} reads failed: {sorted({str(each) for each in failed.values()})}")
        assert live.process.poll() is None
        for name, content in contents.items():
            assert wait_for(lambda name=name, content=content: read(live, name) == content, timeout=30)  # type: ignore[misc]
        # Vacuity: something was short.
        assert failed or "resources" in live.log or "open files" in live.log or "not used for" in live.log, (
            live.log
        )
        assert live.stop() == 0


def test_a_mount_that_starts_with_few_files_to_open(workspace: Served, tmp_path: Path) -> None:
    content = content_of(b"a", 40 * MIB)
    (workspace.volume / "a.bin").write_bytes(content)
    with mounted(workspace, tmp_path, wrapper=("prlimit", "--nofile=64")) as live:
        answer = read(live, "a.bin")
        assert answer == content or answer in SCARCE
        with ThreadPoolExecutor(16) as pool:
            listings = list(pool.map(lambda _: os.listdir(live.path / "main/sales/raw"), range(100)))  # noqa: PTH208
        assert listings == [["a.bin"]] * 100
        assert live.process.poll() is None
        assert live.stop() == 0


def test_a_mount_that_may_start_no_thread_ends_as_it_should(workspace: Served, tmp_path: Path) -> None:
    content = content_of(b"a", SIZE)
    (workspace.volume / "a.bin").write_bytes(content)
    with mounted(workspace, tmp_path) as live:
        assert read(live, "a.bin") == content
        pid = live.process.pid
        status = Path(f"/proc/{pid}/status").read_text().split()
        # Half a stack of a thread.
        amount = int(status[status.index("VmSize:") + 1]) * 1024 + 4 * MIB
        resource.prlimit(pid, resource.RLIMIT_AS, (amount, resource.RLIM_INFINITY))
        assert live.stop() == 0, live.log
        assert "Traceback" not in live.log
        assert not live.is_mounted


def test_a_mount_that_cannot_start_a_thread_at_all_says_so(workspace: Served, tmp_path: Path) -> None:
    room = 2**31
    live = start_mount(workspace, tmp_path, wrapper=("prlimit", f"--as={room}", f"--stack={2 * room}"))
    try:
        assert live.process.wait(20) == 2
    finally:
        live.clean_up()
    assert live.log.count("\n") == 1
    assert "no more threads" in live.log


def test_the_ram_tier_gives_way_where_there_is_little_memory(workspace: Served, tmp_path: Path) -> None:
    """``ulimit -v`` on a mount that has more to keep in RAM: readers get the memory."""
    contents = {f"{n}.bin": content_of(f"{n}".encode(), 2 * SIZE) for n in range(2 * FILES)}
    for name, content in contents.items():
        (workspace.volume / name).write_bytes(content)
    with mounted(workspace, tmp_path, "--disk-cache-gb", "0") as live:
        pid = live.process.pid
        assert read(live, "0.bin") == contents["0.bin"]
        status = Path(f"/proc/{pid}/status").read_text().split()
        amount = int(status[status.index("VmSize:") + 1]) * 1024 + 64 * MIB
        resource.prlimit(pid, resource.RLIMIT_AS, (amount, resource.RLIM_INFINITY))
        for name, content in contents.items():
            assert read(live, name) == content, live.log
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda name: read(live, name) == contents[name], contents))
        assert live.stop() == 0
