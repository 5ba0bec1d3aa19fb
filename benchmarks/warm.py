"""10,000 files in 100 folders brought into the cache: by ``cache warm``, and by ``cp -r`` through the mount.

The difficulty: the service takes 100 calls a second, and each file is one, so nobody can be quicker than 106 s: what is asked
is how near to that it comes, and whether a second time costs anything.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

from benchmarks.scene import WIDE, WIDE_FOLDERS, Measure, Scene
from benchmarks.subjects import Place, ours

FILES = WIDE_FOLDERS * WIDE_FOLDERS
TIMEOUT = 900


def _warm(place: Place) -> None:
    command = [
        sys.executable,
        "-m",
        "fuse4dbricks",
        "cache",
        "warm",
        f"/Volumes/main/sales/raw/{WIDE}",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--disk-cache-dir", str(place.folder / "cache")],
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
    )
    told = json.loads(done.stdout)
    if told["files"] != FILES or told["failed"]:
        raise OSError(f"warm missed something: {told}")


def warming(*, is_again: bool) -> Measure:
    """Seconds for ``cache warm``; of a cold cache, or of one that has it all."""

    def measure(place: Place) -> float:
        with ours(place):
            if is_again:
                _warm(place)
            began = time.perf_counter()
            _warm(place)
            return time.perf_counter() - began

    return measure


def copying(place: Place) -> float:
    """Seconds for ``cp -r`` of the same out of the mount."""
    with ours(place) as live:
        target = place.folder / "copy"
        began = time.perf_counter()
        subprocess.run(["cp", "-r", live.volume / WIDE, target], check=True, timeout=TIMEOUT)
        spent = time.perf_counter() - began
        if sum(1 for _ in target.glob("*/*")) != FILES:
            raise OSError("cp missed something")
        shutil.rmtree(target)
        return spent


def run(scene: Scene) -> None:
    """Ask it."""
    subjects: dict[str, Measure] = {
        "cache warm": warming(is_again=False),
        "cp -r": copying,
        "cache warm, again": warming(is_again=True),
    }
    # One round: 10,000 calls at 95 a second are 105 s, more than all noise, and five rounds were half an hour.
    once = replace(scene, rounds=1)
    once.compare("10,000 small files into the cache", subjects, unit="s", is_better_when="lower")
