"""A volume seen from both ends: on the server's disk and in the mount.

The difficulty: what one test has made the mount cache changes what the next one counts. Every test that shares a
mount with others therefore works in a volume of its own, which nobody has asked for before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.trees import put_file
from tests.support.workspace import Served


@dataclass(frozen=True, slots=True)
class Place:
    """One volume.

    Attributes:
        source: its folder on the server's disk.
        top: its folder in the mount.
        remote: ``/Volumes/…``, as in requests.
    """

    source: Path
    top: Path
    remote: str

    @classmethod
    def make(cls, served: Served, mountpoint: Path, name: str) -> Place:
        """A new, empty volume ``main.sales.NAME``."""
        source = served.volume.parent / name
        source.mkdir()
        return cls(source, mountpoint / "main/sales" / name, f"/Volumes/main/sales/{name}")

    def put(self, name: str, size: int) -> bytes:
        """Make a file on the server; returns its bytes."""
        (self.source / name).parent.mkdir(parents=True, exist_ok=True)
        put_file(self.source / name, size)
        return (self.source / name).read_bytes()


def names(folder: Path) -> list[str]:
    """What a folder shows, sorted."""
    return sorted(each.name for each in folder.iterdir())
