"""``ls -lR`` of 100 folders of 100 files: cold over the line, after a restart, and what a mount for all users adds.

The difficulty: a walk is one call after the other, unless somebody goes ahead of it, so the line decides what it costs; and
after a restart nothing but the requests of the kernel should be left, which bare pyfuse3 over a local folder has too.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.line import SLOW
from benchmarks.scene import WIDE, WIDE_FOLDERS, Measure, Scene
from benchmarks.subjects import Live, Place, ours, passthrough, upstream

Mount = Callable[..., AbstractContextManager[Live]]

#: Names per folder of the tree; the listing has a line for each and some for each folder.
LEAST_LINES = WIDE_FOLDERS * WIDE_FOLDERS


def walk(folder: Path, *command: str) -> float:
    """Milliseconds that a walk takes; all names must come."""
    began = time.perf_counter()
    done = subprocess.run([*(command or ("ls", "-lR")), folder], capture_output=True, check=True, timeout=300)
    spent = 1000 * (time.perf_counter() - began)
    if done.stdout.count(b"\n") < LEAST_LINES:
        raise OSError("the walk missed something")
    return spent


def cold(mount: Mount, report: Callable[[Place], float] | None = None) -> Measure:
    """Milliseconds of the first walk of a mount, from a folder that was looked at; or what ``report`` says of it."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            os.listdir(live.volume)
            place.server.clear_counts()
            spent = walk(live.volume / WIDE)
            return spent if report is None else report(place)

    return measure


def count_calls(place: Place) -> float:
    """Calls that the workspace has answered."""
    return float(sum(place.server.get_counts()["calls"].values()))


def again(mount: Mount, *options: str, report: Callable[[Place], float] | None = None) -> Measure:
    """Milliseconds of the first walk of the next mount with the same cache."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            walk(live.volume / WIDE)
        with mount(place, *options) as live:
            os.listdir(live.volume)
            place.server.clear_counts()
            spent = walk(live.volume / WIDE)
            return spent if report is None else report(place)

    return measure


def warm(mount: Mount, command: tuple[str, ...], *options: str) -> Measure:
    """Milliseconds of the second walk of a mount."""

    def measure(place: Place) -> float:
        with mount(place, *options) as live:
            walk(live.volume / WIDE, *command)
            return walk(live.volume / WIDE, *command)

    return measure


def run(scene: Scene) -> None:
    """Ask all of it."""
    colds = {"ours": cold(ours), "upstream": cold(upstream)}
    scene.compare("ls -lR 100 x 100, line, cold", colds, unit="ms", is_better_when="lower", line=SLOW)
    calls = {"ours": cold(ours, count_calls), "upstream": cold(upstream, count_calls)}
    scene.compare("ls -lR 100 x 100, calls", calls, unit="calls", is_better_when="lower", line=SLOW)
    restarted = {"ours": again(ours), "pyfuse3": again(passthrough)}
    scene.compare(
        "ls -lR 100 x 100, after a restart", restarted, unit="ms", is_better_when="lower", line=SLOW
    )
    none = {"ours": again(ours, report=count_calls)}
    scene.compare("ls -lR after a restart, calls", none, unit="calls", is_better_when="lower", line=SLOW)
    for name, command in {"ls -lR": ("ls", "-lR"), "find": ("find",)}.items():
        mounts = {
            "ours": warm(ours, command),
            "for all users": warm(ours, command, "--allow-other"),
            "pyfuse3": warm(passthrough, command),
        }
        scene.compare(f"{name} 100 x 100, again", mounts, unit="ms", is_better_when="lower")
