"""A volume seen from both ends: on the server's disk and in the mount.

The difficulty: a start and an end take a second that a hundred tests do not have, but what one test has made a mount
cache changes what the next one counts. So a module shares a mount, and every test in it works in a volume of its
own, which nobody has asked for before. A ``conftest.py`` shares the fixtures by importing them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.workspace import Served, serve

_numbers = itertools.count()


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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One workspace for a module."""
    with serve(tmp_path_factory.mktemp("tree")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    """One mount for a module."""
    with mounted(served, tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def place(served: Served, shared: LiveMount) -> Place:
    """A volume of the test's own in the shared mount, of which the mount knows nothing yet."""
    return Place.make(served, shared.path, f"volume{next(_numbers)}")
