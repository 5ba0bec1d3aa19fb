"""200 small files with one ``cat`` over the line, and open, read and close of one that is warm."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.line import SLOW
from benchmarks.scene import SMALL, SMALL_BYTES, SMALL_FILES, Measure, Scene
from benchmarks.subjects import Live, Place, ours, passthrough, rclone, upstream

Mount = Callable[..., AbstractContextManager[Live]]

#: Rounds over all small files, of which the quickest counts: the others show who else uses the machine.
REPEATS = 10


def cat_all(mount: Mount, *options: str) -> Measure:
    """Milliseconds for ``cat *`` of a folder that was listed."""

    def measure(place: Place) -> float:
        with mount(place, *options) as live:
            folder = live.volume / SMALL
            names = sorted(os.listdir(folder))
            began = time.perf_counter()
            done = subprocess.run(["cat", *names], cwd=folder, capture_output=True, check=True, timeout=120)
            spent = 1000 * (time.perf_counter() - began)
            if len(done.stdout) != SMALL_FILES * SMALL_BYTES:
                raise OSError("cat missed something")
            return spent

    return measure


def open_warm(mount: Mount) -> Measure:
    """Microseconds for open, read and close of a small file that the kernel and the mount know."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            folder = live.volume / SMALL
            paths = [folder / name for name in sorted(os.listdir(folder))]
            return min(_open_each(paths) for _ in range(REPEATS))

    return measure


def _open_each(paths: list[Path]) -> float:
    began = time.perf_counter()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, SMALL_BYTES)
        os.close(descriptor)
    return 1e6 * (time.perf_counter() - began) / len(paths)


def run(scene: Scene) -> None:
    """Ask both."""
    peers: dict[str, Mount] = {"ours": ours, "upstream": upstream, "rclone": rclone}
    cats = {peer: cat_all(mount) for peer, mount in peers.items()}
    cats["ours, not ahead"] = cat_all(ours, "--no-prefetch-files")
    scene.compare("cat of 200 small files, line", cats, unit="ms", is_better_when="lower", line=SLOW)
    opens = {peer: open_warm(mount) for peer, mount in (peers | {"pyfuse3": passthrough}).items()}
    scene.compare("open + read + close, warm", opens, unit="us", is_better_when="lower")
