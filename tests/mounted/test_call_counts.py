"""What common things cost, in calls, compared with the committed baseline: more is a regression, fewer is news."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from fuse4dbricks.units import KIB, MIB
from tests.support.places import Place, names
from tests.support.trees import put_file
from tests.support.workspace import Served

BASELINE = Path(__file__).resolve().parents[2] / "benchmarks" / "call_counts.json"


def _read_anywhere(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(descriptor, 4 * KIB, 40 * MIB + 12 * KIB)
    os.close(descriptor)


def test_common_things_cost_what_the_baseline_says(served: Served, place: Place) -> None:
    (place.source / "many").mkdir()
    for number in range(1500):
        put_file(place.source / "many" / f"{number:04d}", 3)
    (place.source / "files").mkdir()
    for number in range(40):
        (place.source / "tree" / f"{number:02}").mkdir(parents=True)
        put_file(place.source / "tree" / f"{number:02}" / "file", 300)
        put_file(place.source / "files" / f"{number:02}", 300)
    put_file(place.source / "small", 3 * MIB)
    put_file(place.source / "large", 64 * MIB)
    names(place.top)
    scenes: dict[str, Callable[[], object]] = {
        "list a folder of 1,500 files": lambda: names(place.top / "many"),
        "list it again": lambda: names(place.top / "many"),
        "list a folder of 40 folders": lambda: names(place.top / "tree"),
        "walk through these": lambda: list(os.walk(place.top / "tree")),
        "list 40 small files and read them in order": lambda: [
            (place.top / "files" / name).read_bytes() for name in names(place.top / "files")
        ],
        "read a file of 3 MiB": (place.top / "small").read_bytes,
        "read it again": (place.top / "small").read_bytes,
        "read 4 KiB anywhere in a file of 64 MiB": lambda: _read_anywhere(place.top / "large"),
        "ask for a name that a listed folder does not have": (place.top / "many" / "x").exists,
    }
    counted = {}
    for name, play in scenes.items():
        served.journal.clear()
        play()
        counted[name] = dict(served.counts)
    assert counted == json.loads(BASELINE.read_text())
