"""How long ``cache-stats`` takes with 1,000,000 chunks; promised are 0.3 s.

The difficulty: what a person waits for is the whole command, Python's own start included, so each run is a process of
its own, and takes turns with one on an empty cache, which shows what the chunks themselves cost. A file for each
chunk is the worst case: the largest files are then chosen from a million.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from benchmarks.bigindex import make_index
from benchmarks.scene import Measure, Scene
from benchmarks.subjects import Place

FORMS = {"table": (), "--json": ("--json",), "--by user": ("--by", "user")}


def run(scene: Scene) -> None:
    """Ask it; the index is made once (5 minutes) and kept."""
    folders = dict(_ensure_indexes(scene))
    for form, options in FORMS.items():
        measures = {name: _whole_command(folder, *options) for name, folder in folders.items()}
        scene.compare(f"cache-stats, {form}", measures, unit="ms", is_better_when="lower")


def _ensure_indexes(scene: Scene) -> Iterator[tuple[str, Path]]:
    for chunks in (0, scene.many_chunks):
        folder = scene.tools / f"index-of-{chunks}"
        # Made under another name: one that was cut short is no index of a million.
        if not folder.exists():
            unfinished = scene.scratch / folder.name
            scene.say(f"making an index of {chunks:,} chunks")
            trio.run(make_index, unfinished, chunks, 1)
            shutil.move(unfinished, folder)
        yield f"{chunks:,} chunks", folder


def _whole_command(folder: Path, *options: str) -> Measure:
    command = [sys.executable, "-m", "fuse4dbricks", "cache-stats", "--disk-cache-dir", str(folder), *options]

    def measure(_: Place) -> float:
        begun = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return 1000 * (time.perf_counter() - begun)

    return measure
