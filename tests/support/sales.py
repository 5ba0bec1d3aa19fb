"""A volume with three files, of several chunks and of one, for tests of the commands."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.support.mounts import LiveMount
from tests.support.trees import FIRST_MTIME
from tests.support.workspace import Served

SIZES = {"a.bin": 2_500_000, "b.csv": 1000, "sub/c.bin": 1_200_000}
TOTAL = sum(SIZES.values())
CHUNKS = 3 + 1 + 2


def make(served: Served) -> dict[str, bytes]:
    """The files of :data:`SIZES` on the server."""
    made = {name: random.Random(name).randbytes(size) for name, size in SIZES.items()}
    for name, content in made.items():
        file = served.volume / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (FIRST_MTIME, FIRST_MTIME))
    return made


def read_all(live: LiveMount) -> dict[str, bytes]:
    """The same as a mount has them."""
    return {name: (live.path / "main/sales/raw" / name).read_bytes() for name in SIZES}


def files_in(folder: Path) -> list[Path]:
    """The chunk files of a cache folder."""
    return sorted(folder.rglob("*.chunk"))
