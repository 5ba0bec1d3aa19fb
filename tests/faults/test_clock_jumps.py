"""The machine's clock is set while a mount runs, or was set while none did (faults.md F11).

No grant lives longer for it, nothing is thrown away for it, and what is cached is read. Only wall time jumps, as when an
administrator or a time server sets it; what counts in a running mount is the other clock.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.trees import FIRST_MTIME, content_of
from tests.support.waiting import slow, wait_for
from tests.support.workspace import VOLUME_NAME, Served, serve

_LIBRARIES = [
    path
    for folder in ("x86_64-linux-gnu", "aarch64-linux-gnu", "")
    if (path := Path("/usr/lib", folder, "faketime/libfaketimeMT.so.1")).exists()
]

pytestmark = [
    needs_fuse,
    pytest.mark.mounted,
    pytest.mark.skipif(not _LIBRARIES, reason="libfaketime is not installed"),
]

FILES = 4
SIZE = 100_000
TTL = 2.0
READER = "reader@example.com"

FORWARD_AND_BACK = ["+1h", "-1h", "+5y", "@1970-01-02 00:00:00"]


class Clock:
    """The wall clock of the mounts of a test."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set("+0")

    def set(self, to: str) -> None:
        """An offset (``+1h``) or a moment (``@1970-01-01 00:00:00``)."""
        # Renamed, for the library reads it at each look at the clock.
        aside = self._file.with_name("aside")
        aside.write_text(to + "\n")
        aside.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def put(workspace: Served) -> dict[str, bytes]:
    contents = {f"{n}.bin": content_of(f"{n}".encode(), SIZE) for n in range(FILES)}
    for name, content in contents.items():
        (workspace.volume / name).write_bytes(content)
        os.utime(workspace.volume / name, (FIRST_MTIME, FIRST_MTIME))
    return contents


def read(live: LiveMount, name: str) -> bytes:
    with (live.path / "main/sales/raw" / name).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def chunks(live: LiveMount) -> int:
    return len(list(live.cache.rglob("*.chunk")))


def test_a_jump_throws_nothing_away_and_keeps_nothing_from_being_read(
    workspace: Served, tmp_path: Path, clock: Clock
) -> None:
    contents = put(workspace)
    options = (
        "--disk-cache-max-days",
        "1",
        "--metadata-cache-ttl-sec",
        "1000",
        "--permission-ttl-sec",
        "1000",
    )
    with mounted(workspace, tmp_path, *options, environment=clock.environment) as live:
        assert {name: read(live, name) for name in contents} == contents
        assert wait_for(lambda: chunks(live) == FILES)
        workspace.journal.clear()
        for jump in FORWARD_AND_BACK:
            clock.set(jump)
            assert {name: read(live, name) for name in contents} == contents
        assert not workspace.counts  # nothing expired
        assert chunks(live) == FILES
        assert live.stop() == 0
        assert "Traceback" not in live.log
        assert chunks(live) == FILES


def test_a_clock_set_back_extends_no_grant(tmp_path: Path, clock: Clock) -> None:
    with serve(tmp_path / "tree", open_to_all=False) as workspace:
        contents = put(workspace)
        token = workspace.people.add_user(READER)
        workspace.grants.let_read(VOLUME_NAME, READER)
        options = ("--permission-ttl-sec", str(TTL))
        with mounted(workspace, tmp_path, *options, token=token, environment=clock.environment) as live:
            for jump in FORWARD_AND_BACK:
                workspace.grants.let_read(VOLUME_NAME, READER)
                # A refusal is believed for some seconds.
                assert wait_for(lambda: is_let_in(live, contents), timeout=20)
                workspace.grants.revoke(VOLUME_NAME, READER)
                revoked = time.monotonic()
                clock.set(jump)
                assert wait_for(lambda: not is_let_in(live, contents), timeout=20)
                print(f"{jump}: refused {time.monotonic() - revoked:.1f} s after it was revoked")
            assert live.stop() == 0


def is_let_in(live: LiveMount, contents: dict[str, bytes]) -> bool:
    try:
        answers = {name: read(live, name) for name in contents}
    except PermissionError:
        return False
    assert answers == contents
    return True


def slowly(jump: str, is_void: bool) -> ParameterSet:
    return pytest.param(jump, is_void, marks=slow)


@pytest.mark.parametrize(
    ("jump", "is_void"),
    [("-1h", True), ("+5y", True), slowly("+1h", False), slowly("@1970-01-02 00:00:00", True)],
)
def test_a_grant_of_an_earlier_run_is_void_where_the_clock_cannot_be_right(
    tmp_path: Path, clock: Clock, jump: str, is_void: bool
) -> None:
    """With no workspace to ask: within the offline grace he is let in, with a clock before the proof he is not."""
    with serve(tmp_path / "tree") as workspace:
        contents = put(workspace)
        with mounted(workspace, tmp_path, environment=clock.environment) as live:
            assert {name: read(live, name) for name in contents} == contents
            assert wait_for(lambda: chunks(live) == FILES)
            assert live.stop() == 0
        workspace.go_down()
        clock.set(jump)
        with mounted(workspace, tmp_path, environment=clock.environment) as live:
            if is_void:
                with pytest.raises(OSError, match=r"Errno"):
                    read(live, "0.bin")
            else:
                assert {name: read(live, name) for name in contents} == contents
        workspace.come_back()
        clock.set("+0")
        with mounted(workspace, tmp_path, environment=clock.environment) as live:
            workspace.journal.clear()
            assert {name: read(live, name) for name in contents} == contents
            # Neither was anything thrown away for its age.
            assert workspace.counts["fs.files.get"] == 0
