"""What a mount costs while nobody uses it: CPU time, and how often it wakes up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.scene import BIG, Measure, Scene
from benchmarks.subjects import Live, Place, ours, passthrough, rclone, upstream
from fuse4dbricks.units import MIB

Mount = Callable[..., AbstractContextManager[Live]]

#: Seconds after the last read, in which what it left to be done is done and idle threads end.
SETTLING = 15.0
#: Seconds that are looked at.
WATCHED = 20.0


def idle(mount: Mount, count: Callable[[int], float]) -> Measure:
    """What ``count`` (of a process) grows by per minute, after something was read."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            os.listdir(live.volume)
            with (live.volume / BIG).open("rb") as file:
                file.read(16 * MIB)
            time.sleep(SETTLING)
            before = count(live.process.pid)
            time.sleep(WATCHED)
            return (count(live.process.pid) - before) * 60 / WATCHED

    return measure


def get_cpu_milliseconds(process: int) -> float:
    """CPU time of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def get_wake_ups(process: int) -> float:
    """How often its threads have gone to sleep."""
    statuses = (task / "status" for task in Path(f"/proc/{process}/task").iterdir())
    lines = (line for status in statuses for line in status.read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def run(scene: Scene) -> None:
    """Ask it."""
    peers: dict[str, Mount] = {
        "ours": ours,
        "upstream": upstream,
        "rclone": rclone,
        "pyfuse3": passthrough,
    }
    for what, unit, count in (
        ("CPU", "ms/min", get_cpu_milliseconds),
        ("wake-ups", "/min", get_wake_ups),
    ):
        measures = {peer: idle(mount, count) for peer, mount in peers.items()}
        scene.compare(f"idle, {what}", measures, unit=unit, is_better_when="lower")
