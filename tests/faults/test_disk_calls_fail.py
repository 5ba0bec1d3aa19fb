"""A running mount whose cache disk fails, is full or hangs at the system call (faults.md F4, F5, F6).

Whatever the disk answers, a reader gets right bytes from the workspace, the mount lives, and says so in few lines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.strace import injected, needs_strace
from tests.support.trees import FIRST_MTIME, content_of
from tests.support.waiting import slow, wait_for
from tests.support.workspace import Served

pytestmark = [needs_fuse, needs_strace, pytest.mark.mounted]

SIZE = MIB + 77
FILES = 8
#: Files that nobody has read.
NEW = 90

#: Of the product: a read of the cache disk that takes longer is given up.
READ_DEADLINE = 5.0
#: What a loaded machine takes for the rest.
REST = 15.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A mount half of whose files are cached and verified by nobody yet."""

    live: LiveMount
    contents: dict[str, bytes]

    def read(self, name: str) -> float:
        """Read a file and compare each byte; seconds."""
        began = time.monotonic()
        with (self.live.path / "main/sales/raw" / name).open("rb") as file:
            # Not what the kernel has kept.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == self.contents[name]
        return time.monotonic() - began

    def cached(self) -> list[Path]:
        return list(self.live.cache.rglob("*.chunk"))


@pytest.fixture
def scene(workspace: Served, tmp_path: Path) -> Iterator[Scene]:
    contents = {f"{n}.bin": content_of(f"{n}".encode(), SIZE) for n in range(2 * FILES)}
    for name, content in contents.items():
        (workspace.volume / name).write_bytes(content)
        os.utime(workspace.volume / name, (FIRST_MTIME, FIRST_MTIME))
    (workspace.volume / "new").mkdir()
    for number in range(NEW):
        (workspace.volume / f"new/{number}").write_bytes(b"new")
        os.utime(workspace.volume / f"new/{number}", (FIRST_MTIME, FIRST_MTIME))
    with mounted(workspace, tmp_path, "--ram-cache-mb", "16") as live:
        first = Scene(live, contents)
        for name in list(contents)[:FILES]:
            first.read(name)
        assert live.stop() == 0
        # Some of the others may have been fetched ahead.
        assert len(first.cached()) >= 2 * FILES
    with mounted(workspace, tmp_path, "--ram-cache-mb", "16") as live:
        yield Scene(live, contents)


def put_out_of_memory(file: Path) -> None:
    """Or the disk is not asked."""
    with file.open("rb") as chunk:
        os.fsync(chunk.fileno())
        os.posix_fadvise(chunk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


READING = ("pread64", "preadv2")
WRITING = ("pwrite64", "linkat", "renameat", "fdatasync", "ftruncate")


def fault(name: str, calls: tuple[str, ...], what: str, *, by_hand: bool = False) -> ParameterSet:
    return pytest.param(calls, what, id=name, marks=slow if by_hand else ())


@pytest.mark.parametrize(
    ("calls", "what"),
    [
        fault("reads fail", READING, "error=EIO"),
        fault("full now and then", ("pwrite64", "linkat"), "error=ENOSPC:when=3+7"),
        fault("writes fail", WRITING, "error=EIO", by_hand=True),
        fault("full", WRITING, "error=ENOSPC", by_hand=True),
        fault("each third fails", (*READING, *WRITING), "error=EIO:when=2+3", by_hand=True),
        fault("opening fails", ("openat", "mkdirat", "unlinkat"), "error=EIO", by_hand=True),
    ],
)
def test_a_disk_that_fails_costs_no_read(
    scene: Scene, tmp_path: Path, calls: tuple[str, ...], what: str
) -> None:
    live = scene.live
    cache = live.cache
    # Else the calls of all other files would fail too.
    folders = (
        [*(cache / "chunks").iterdir(), cache / "chunks", cache / "tmp", cache] if "openat" in calls else []
    )
    with injected(live.process.pid, calls, what, tmp_path / "strace", paths=folders) as injection:
        for name in scene.contents:
            scene.read(name)
        for name in scene.contents:
            scene.read(name)
        assert wait_for(lambda: injection.fired > 0)
    assert live.process.poll() is None
    assert "Traceback" not in live.log
    # Reading, writing, recording, deleting and the index have their say, once a minute each.
    assert len(live.log.splitlines()) <= 8, live.log
    for name in scene.contents:
        scene.read(name)
    assert live.stop() == 0


def test_a_disk_that_hangs_costs_one_deadline(scene: Scene, tmp_path: Path) -> None:
    live = scene.live
    for file in scene.cached():
        put_out_of_memory(file)
    with injected(
        live.process.pid, ["pread64"], "delay_enter=20s", tmp_path / "strace", paths=scene.cached()
    ):
        seconds = {name: scene.read(name) for name in scene.contents}
        began = time.monotonic()
        assert len(list((live.path / "main/sales/raw").iterdir())) == 2 * FILES + 1
        listing = time.monotonic() - began
    print({name: round(each, 2) for name, each in seconds.items()}, f"listing {listing:.2f}")
    # Vacuity: without the hang no read takes so long.
    assert max(seconds.values()) >= READ_DEADLINE
    assert max(seconds.values()) < READ_DEADLINE + REST
    assert sum(each >= READ_DEADLINE for each in seconds.values()) <= 2
    assert live.process.poll() is None


@pytest.mark.slow
@slow[1]
@pytest.mark.parametrize("what", ["error=EIO", "error=ENOSPC"])
def test_a_disk_that_is_well_again_is_used_again(scene: Scene, tmp_path: Path, what: str) -> None:
    live = scene.live
    before = len(scene.cached())
    with injected(live.process.pid, WRITING, what, tmp_path / "strace") as injection:
        for name in scene.contents:
            scene.read(name)
        assert wait_for(lambda: injection.fired > 0)
        assert len(scene.cached()) == before
    began, stored = time.monotonic(), False
    for number in range(NEW):
        assert (live.path / f"main/sales/raw/new/{number}").read_bytes() == b"new"
        if wait_for(lambda: len(scene.cached()) > before, timeout=1.0):
            stored = True
            break
    assert stored
    print(f"{what}: used again {time.monotonic() - began:.1f} s after it was well")
