"""What a small read costs on a slow line: the first 4 KiB of a listed file, and 4 KiB anywhere in 16 GiB."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.line import SLOW
from benchmarks.scene import BIG, HUGE, HUGE_BYTES, Measure, Scene
from benchmarks.subjects import Live, Place, ours, rclone, upstream
from fuse4dbricks.units import KIB

Mount = Callable[..., AbstractContextManager[Live]]

#: Random reads per round; upstream takes a second for each.
READS = 20


def first_bytes(mount: Mount) -> Measure:
    """Milliseconds from open to the first 4 KiB of a file that was listed."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            (live.volume / BIG).stat()
            os.listdir(live.volume)
            began = time.perf_counter()
            descriptor = os.open(live.volume / BIG, os.O_RDONLY)
            os.pread(descriptor, 4 * KIB, 0)
            spent = time.perf_counter() - began
            os.close(descriptor)
            return 1000 * spent

    return measure


def anywhere(mount: Mount, size: int, report: Callable[[Place], float] | None = None) -> Measure:
    """Median milliseconds of a read of ``size`` bytes; or what ``report`` makes of the run."""

    def measure(place: Place) -> float:
        places = random.Random(5)
        with mount(place) as live:
            os.listdir(live.volume)
            place.server.clear_counts()
            descriptor = os.open(live.volume / HUGE, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            spent = []
            for _ in range(READS):
                offset = places.randrange(0, HUGE_BYTES - size, 4 * KIB)
                began = time.perf_counter()
                os.pread(descriptor, size, offset)
                spent.append(time.perf_counter() - began)
            os.close(descriptor)
            return 1000 * statistics.median(spent) if report is None else report(place)

    return measure


def _fetched_per_byte(place: Place) -> float:
    return float(sum(place.server.get_counts()["bytes"].values())) / (READS * 4 * KIB)


def run(scene: Scene) -> None:
    """Ask all of it."""
    peers: dict[str, Mount] = {"ours": ours, "upstream": upstream, "rclone": rclone}
    firsts = {peer: first_bytes(mount) for peer, mount in peers.items()}
    scene.compare("first 4 KiB, line", firsts, unit="ms", is_better_when="lower", line=SLOW)
    for size in (4 * KIB, 128 * KIB):
        reads = {peer: anywhere(mount, size) for peer, mount in peers.items()}
        scene.compare(
            f"random {size // KIB} KiB in 16 GiB, line", reads, unit="ms", is_better_when="lower", line=SLOW
        )
    # rclone does not ask the workspace, whose counts these are.
    amounts = {peer: anywhere(peers[peer], 4 * KIB, _fetched_per_byte) for peer in ("ours", "upstream")}
    scene.compare("random 4 KiB, bytes fetched per byte", amounts, unit="x", is_better_when="lower")
