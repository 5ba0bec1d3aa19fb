"""Showing how far a filling of the cache is: lines into a pipe, a bar on a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import sys
from typing import Any

import pytest

from fuse4dbricks.cli.filling import planned, shown

BASE: dict[str, Any] = {
    "phase": "looking", "folders": 3, "files": 10, "bytes": 4096, "cached_bytes": 1024, "to_fetch_files": 8,
    "to_fetch_bytes": 3072, "calls": 8, "fetched_bytes": 0, "checked_bytes": 0,
}  # fmt: skip
STATES = [
    BASE,
    {**BASE, "phase": "fetching", "fetched_bytes": 1024},
    {**BASE, "phase": "fetching", "fetched_bytes": 3072},
    {**BASE, "phase": "checking", "fetched_bytes": 3072, "checked_bytes": 2048},
    {**BASE, "phase": "done", "fetched_bytes": 3072, "checked_bytes": 4096},
]


def test_the_plan_is_told_before_the_first_byte() -> None:
    line = planned(BASE)
    assert "3.0 KiB" in line
    assert "8 calls" in line
    assert "all of it cached already" in planned({**BASE, "to_fetch_files": 0})


def test_a_pipe_gets_lines_without_a_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(is_quiet=False) as tell:
        for state in STATES:
            tell(state)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "\x1b" not in told
    with shown(is_quiet=True) as tell:
        tell(STATES[1])
    assert capsys.readouterr().err == ""


def read_terminal(file: int, *, until: str) -> str:
    """What was drawn up to a word: the kernel hands a terminal's output over in pieces, each when it gets to it."""
    drawn = b""
    while until.encode() not in drawn and select.select([file], [], [], 30)[0]:
        drawn += os.read(file, 65536)
    return drawn.decode(errors="replace")


def test_a_terminal_gets_a_bar_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    try:
        with io.TextIOWrapper(io.FileIO(theirs, "w"), write_through=True) as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            monkeypatch.setenv("TERM", "xterm")
            with shown(is_quiet=False) as tell:
                for state in STATES:
                    tell(state)
            drawn = read_terminal(ours, until="checking")
    finally:
        os.close(ours)
    assert "to fetch: 3.0 KiB" in " ".join(drawn.split())
    assert "checking" in drawn
