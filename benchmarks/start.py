"""How long from the command to the first answer, with an empty cache and with one of 1,000,000 chunks.

The difficulty: a mount point is there before anything answers on it, so the time runs until a folder has been asked for;
and a terabyte of chunks is not at hand, so the chunk files of the large cache are empty: whoever walked over them at
the start would take as long as with full ones. Time of the processor is given beside, as it says more on a busy machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import trio

from benchmarks.bigindex import make_index
from benchmarks.scene import Measure, Scene
from benchmarks.subjects import Live, Place, ours, passthrough, rclone, upstream

CHUNKS_PER_FILE = 8
#: Nothing of the large cache is to go for its size, its age or the disk's sake.
UNLIMITED = (
    "--disk-cache-gb",
    "4000",
    "--disk-cache-max-days",
    "36500",
    "--disk-cache-min-free-percent",
    "0",
)

Mount = Callable[..., AbstractContextManager[Live]]


def answers_after(mount: Mount, *options: str) -> Measure:
    """Milliseconds."""

    def measure(place: Place) -> float:
        with mount(place, *options) as live:
            return 1000 * live.answers_after

    return measure


def processor_time(mount: Mount, *options: str) -> Measure:
    """Milliseconds of the daemon's own, until it has answered."""

    def measure(place: Place) -> float:
        with mount(place, *options) as live:
            fields = Path(f"/proc/{live.process.pid}/stat").read_text().rpartition(")")[2].split()
            return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    return measure


def run(scene: Scene) -> None:
    """Ask it; the large cache is made once (some minutes) and kept."""
    peers = {"ours": ours, "upstream": upstream, "rclone": rclone, "pyfuse3": passthrough}
    large = (*UNLIMITED, "--disk-cache-dir", str(_ensure_cache(scene)))
    for question, measured in {"start": answers_after, "start, processor": processor_time}.items():
        measures = {peer: measured(mount) for peer, mount in peers.items()}
        measures[f"ours, {scene.many_chunks:,} chunks"] = measured(ours, *large)
        scene.compare(question, measures, unit="ms", is_better_when="lower")


def _ensure_cache(scene: Scene) -> Path:
    folder = scene.tools / f"cache-of-{scene.many_chunks}"
    if not folder.exists():
        unfinished = scene.scratch / folder.name
        scene.say(f"making a cache of {scene.many_chunks:,} chunks")
        trio.run(lambda: make_index(unfinished, scene.many_chunks, CHUNKS_PER_FILE, with_files=True))
        shutil.move(unfinished, folder)
    return folder
