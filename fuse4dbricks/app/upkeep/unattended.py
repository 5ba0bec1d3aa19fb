"""Pins of a folder that nobody is mounted on.

The difficulty: such a folder may hold the pins of several workspaces, and none of them is ours.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fuse4dbricks.app.upkeep.wire import Answer
from fuse4dbricks.app.warming.keeper import settle_all
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.index.contents import Contents, contents_of
from fuse4dbricks.index.index import Index
from fuse4dbricks.index.records import Pin
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics


def recorded_pins(folder: CacheFolder) -> Answer:
    """All pins, as a mount tells them, but for how they are.

    Raises:
        CacheFolderError: the index cannot be read.
    """
    if not folder.index_path.exists():
        return {"pins": [], "pinned_bytes": 0, "max_bytes": None}
    with contents_of(folder.index_path) as contents:
        return {
            "pins": [_described(host, pin) for host, pin in _active(contents)],
            "pinned_bytes": contents.pinned_bytes(),
            "max_bytes": None,
        }


def _active(contents: Contents) -> list[tuple[str, Pin]]:
    now = time.time()
    return [(host, pin) for host, pin in contents.pins() if not pin.has_ended(now)]


def _described(host: str, pin: Pin) -> dict[str, Any]:
    return {
        "path": str(pin.path),
        "workspace": host,
        "uid": pin.created_by,
        "created_at": pin.created_at,
        "expires_at": pin.expires_at,
    }


def find_pins(folder: CacheFolder, place: RemotePath) -> list[tuple[str, RemotePath]]:
    """The workspaces that have a pin of ``place``, each with the path that it was recorded under.

    Raises:
        CacheFolderError: the index cannot be read.
    """
    if not folder.index_path.exists():
        return []
    with contents_of(folder.index_path) as contents:
        return [(host, pin.path) for host, pin in _active(contents) if pin.path.folded == place.folded]


async def unpin_alone(path: Path, host: str, pinned: RemotePath) -> bool:
    """End the pin of one workspace; whether there was one.

    Raises:
        CacheFolderError: the folder cannot be used, or a mount uses it by now.
        CacheError: the index does not let us.
    """
    clock = SystemClock()
    with CacheFolder.open(path) as folder:
        index = await Index.open(folder.index_path, workspace=host, clock=clock, metrics=Metrics())
        try:
            ended = await index.pins.end(pinned)
            await settle_all(index.pins, clock)
            return ended
        finally:
            await index.aclose()
