"""What a mount costs while nobody uses it: CPU time, and how often it wakes up.

The difficulty: what was read leaves work for a minute or so (proofs that the kernel's pages depend on, the disk's free
space, counts), and after that there is so little left that it takes a minute to see it. Five rounds of that for each
subject would take an hour; idle mounts are in nobody's way, so here, and only here, all are up at once.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.results import Figure
from benchmarks.scene import BIG, Scene
from benchmarks.subjects import Live, Skipped, ours, passthrough, rclone, upstream
from fuse4dbricks.units import MIB

Mount = Callable[..., AbstractContextManager[Live]]

PEERS: dict[str, Mount] = {"ours": ours, "upstream": upstream, "rclone": rclone, "pyfuse3": passthrough}
#: Seconds after the last read, in which what it left to be done is done.
SETTLING = 90.0
#: Seconds that are looked at: what is done once a minute is done twice.
WATCHED = 120.0


def get_cpu_milliseconds(process: int) -> float:
    """CPU time of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def get_wake_ups(process: int) -> float:
    """How often its threads have gone to sleep."""
    statuses = (task / "status" for task in Path(f"/proc/{process}/task").iterdir())
    lines = (line for status in statuses for line in status.read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


COUNTS: dict[str, tuple[str, Callable[[int], float]]] = {
    "CPU": ("ms/min", get_cpu_milliseconds),
    "wake-ups": ("/min", get_wake_ups),
}


def run(scene: Scene) -> None:
    """Ask it."""
    runs: dict[tuple[str, str], list[float]] = {(what, peer): [] for what in COUNTS for peer in PEERS}
    reasons: dict[str, str] = {}
    for _ in range(scene.rounds):
        with scene.place() as place, ExitStack() as mounts:
            processes: dict[str, int] = {}
            for peer, mount in PEERS.items():
                try:
                    live = mounts.enter_context(mount(replace(place, folder=place.folder / peer)))
                    _use(live)
                except (Skipped, OSError, subprocess.SubprocessError) as error:
                    reasons[peer] = f"{type(error).__name__}: {error}"
                else:
                    processes[peer] = live.process.pid
            for key, growth in _watch(processes).items():
                runs[key].append(growth)
    for (what, peer), values in runs.items():
        unit, _ = COUNTS[what]
        scene.note(Figure(f"idle, {what}", peer, unit, tuple(values), "lower", note=reasons.get(peer, "")))


def _use(live: Live) -> None:
    os.listdir(live.volume)
    with (live.volume / BIG).open("rb") as file:
        file.read(16 * MIB)


def _watch(processes: dict[str, int]) -> dict[tuple[str, str], float]:
    """What each count of each process grows by in a minute."""

    def look() -> dict[tuple[str, str], float]:
        return {(what, peer): COUNTS[what][1](pid) for what in COUNTS for peer, pid in processes.items()}

    time.sleep(SETTLING)
    before = look()
    time.sleep(WATCHED)
    return {key: (count - before[key]) * 60 / WATCHED for key, count in look().items()}
