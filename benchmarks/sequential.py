"""How fast is one large file, read from its beginning to its end: cold, from a slow line, from our disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.line import DIRECT, SLOW
from benchmarks.memory import have_at_hand
from benchmarks.scene import BIG, BIG_BYTES, Measure, Scene, drop_from_page_cache
from benchmarks.subjects import Live, Place, ours, passthrough, rclone, upstream
from fuse4dbricks.units import MIB

Mount = Callable[..., AbstractContextManager[Live]]


def read_whole(file: Path) -> float:
    """MiB per second of a plain read loop."""
    buffer, total = bytearray(MIB), 0
    have_at_hand()
    began = time.perf_counter()
    descriptor = os.open(file, os.O_RDONLY)
    try:
        while length := os.readv(descriptor, [buffer]):
            total += length
    finally:
        os.close(descriptor)
    if total != file.stat().st_size:
        raise OSError(f"{total} bytes were read")
    return total / MIB / (time.perf_counter() - began)


def cold(mount: Mount) -> Measure:
    """The first read ever."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            os.listdir(live.volume)
            return read_whole(live.volume / BIG)

    return measure


def restarted(mount: Mount, *, is_dropped: bool) -> Measure:
    """The first read after a restart, with the cache on disk in the page cache or not."""

    def measure(place: Place) -> float:
        if mount is not passthrough:
            with mount(place) as live:
                read_whole(live.volume / BIG)
        else:
            (place.tree / "main/sales/raw" / BIG).read_bytes()
        if is_dropped:
            drop_from_page_cache(place.tree if mount is passthrough else place.folder)
        with mount(place) as live:
            os.listdir(live.volume)
            return read_whole(live.volume / BIG)

    return measure


def limit(place: Place) -> float:
    """What the network gives to the least that a client can do."""
    have_at_hand()
    return place.server.measure_limit(f"main/sales/raw/{BIG}", BIG_BYTES)


def peak_memory(mount: Mount, *options: str) -> Measure:
    """MiB of RSS at most during a cold read."""

    def measure(place: Place) -> float:
        with mount(place, *options) as live:
            read_whole(live.volume / BIG)
            return live.get_peak_rss() / MIB

    return measure


def run(scene: Scene) -> None:
    """Ask all of it."""
    peers: dict[str, Mount] = {"ours": ours, "upstream": upstream, "rclone": rclone}
    for name, line in (("direct", DIRECT), ("line", SLOW)):
        measures = {peer: cold(mount) for peer, mount in peers.items()}
        measures["http.client"] = limit
        scene.compare(f"cold sequential, {name}", measures, unit="MiB/s", is_better_when="higher", line=line)
    for name, is_dropped in (("warm", False), ("dropped", True)):
        measures = {
            peer: restarted(mount, is_dropped=is_dropped)
            for peer, mount in (peers | {"pyfuse3": passthrough}).items()
        }
        scene.compare(f"from disk, page cache {name}", measures, unit="MiB/s", is_better_when="higher")
    memory = {"ours": peak_memory(ours, "--ram-cache-mb", "64"), "rclone": peak_memory(rclone)}
    memory["upstream"] = peak_memory(upstream, "--ram-cache-mb", "64")
    scene.compare("peak memory, cold sequential", memory, unit="MiB", is_better_when="lower")
