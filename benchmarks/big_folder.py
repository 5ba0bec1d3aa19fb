"""A folder of 50,000 files: how long its names take, and what each of them costs in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.scene import MANY, MANY_FILES, Measure, Scene, make_files
from benchmarks.subjects import Live, Place, Skipped, ours, upstream

Mount = Callable[..., AbstractContextManager[Live]]


def _list_all(live: Live) -> float:
    began = time.perf_counter()
    names = os.listdir(live.volume / MANY)
    if len(set(names)) != MANY_FILES or len(names) != MANY_FILES:
        raise Skipped(f"{len(names)} names, {len(set(names))} of them different")
    return time.perf_counter() - began


def names_per_second(mount: Mount) -> Measure:
    """Names per second, cold."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            os.listdir(live.volume)
            return MANY_FILES / _list_all(live)

    return measure


def bytes_per_name(mount: Mount) -> Measure:
    """Growth of the peak of memory."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            os.listdir(live.volume)
            before = live.get_peak_rss()
            _list_all(live)
            return (live.get_peak_rss() - before) / MANY_FILES

    return measure


def run(scene: Scene) -> None:
    """Ask both."""
    make_files(scene.volume / MANY, MANY_FILES, 0)
    peers: dict[str, Mount] = {"ours": ours, "upstream": upstream}
    speeds = {peer: names_per_second(mount) for peer, mount in peers.items()}
    scene.compare("50,000 names", speeds, unit="/s", is_better_when="higher")
    sizes = {peer: bytes_per_name(mount) for peer, mount in peers.items()}
    scene.compare("50,000 names, memory for each", sizes, unit="B", is_better_when="lower")
