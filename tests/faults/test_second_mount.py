"""A second mount with the cache folder of a first one (faults.md F10): refused at once, and told by whom."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted, needs_fuse, start_mount
from tests.support.waiting import SLOW_VARIABLE
from tests.support.workspace import Served

pytestmark = [needs_fuse, pytest.mark.mounted]

TRIES = 100 if os.environ.get(SLOW_VARIABLE) else 2

#: Of the exit of a mount whose folder or surroundings are not right.
REFUSED = 4

#: As in a container: process numbers begin anew.
OWN_NUMBERS = ("unshare", "--pid", "--fork", "--kill-child")


def has_own_numbers() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*OWN_NUMBERS, "true"], capture_output=True, check=False).returncode == 0


def refused(
    workspace: Served, folder: Path, first: LiveMount, wrapper: tuple[str, ...] = ()
) -> tuple[str, float]:
    """Start a second mount on the first one's cache; what it says, and processor seconds."""
    began = os.times()
    second = start_mount(workspace, folder, "--disk-cache-dir", first.cache, wrapper=wrapper)
    try:
        code = second.process.wait(60)
        assert code == REFUSED, (code, second.log)
        assert not second.is_mounted
        assert "Traceback" not in second.log
        ended = os.times()
        used = ended.children_user - began.children_user + ended.children_system - began.children_system
        return second.log, used
    finally:
        second.clean_up()


@pytest.mark.timeout(60 + 10 * TRIES)
def test_a_second_mount_is_refused_and_told_by_whom(workspace: Served, tmp_path: Path) -> None:
    (workspace.volume / "a").write_bytes(b"first")
    slowest = most = 0.0
    with mounted(workspace, tmp_path) as first:
        for number in range(TRIES):
            began = time.monotonic()
            said, used = refused(workspace, tmp_path / f"second-{number}", first)
            slowest, most = max(slowest, time.monotonic() - began), max(most, used)
            assert f"process {first.process.pid} " in said
        assert (first.path / "main/sales/raw/a").read_bytes() == b"first"
        assert first.stop() == 0
    print(f"{TRIES} refused, in {slowest:.2f} s and {most:.2f} CPU s at most")


@pytest.mark.skipif(not has_own_numbers(), reason="no process numbers of one's own here")
def test_across_containers_too(workspace: Served, tmp_path: Path) -> None:
    """Both are process 1, as far as they know."""
    (workspace.volume / "a").write_bytes(b"first")
    with mounted(workspace, tmp_path, wrapper=OWN_NUMBERS) as first:
        said, _ = refused(workspace, tmp_path / "second", first, OWN_NUMBERS)
        assert "process 1 " in said
        assert (first.path / "main/sales/raw/a").read_bytes() == b"first"
