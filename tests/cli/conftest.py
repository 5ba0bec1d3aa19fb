"""What tests of the commands share: a workspace with some files, and a mount of it, fresh for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted
from tests.support.sales import make
from tests.support.workspace import Served, serve


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "tree") as running:
        make(running)
        yield running


@pytest.fixture
def live(served: Served, tmp_path: Path) -> Iterator[LiveMount]:
    with mounted(served, tmp_path) as running:
        yield running
