"""How long from the command to a mount that answers, with an empty cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.scene import Measure, Scene
from benchmarks.subjects import Live, Place, ours, passthrough, rclone, upstream


def ready_after(mount: Callable[..., AbstractContextManager[Live]]) -> Measure:
    """Milliseconds."""

    def measure(place: Place) -> float:
        with mount(place) as live:
            return 1000 * live.ready_after

    return measure


def run(scene: Scene) -> None:
    """Ask it."""
    peers = {"ours": ours, "upstream": upstream, "rclone": rclone, "pyfuse3": passthrough}
    measures = {peer: ready_after(mount) for peer, mount in peers.items()}
    scene.compare("start, empty cache", measures, unit="ms", is_better_when="lower")
