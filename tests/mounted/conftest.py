"""What tests of real mounts share: a workspace and a mount of it, for a whole module or for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.places import place, served, shared
from tests.support.workspace import Served, workspace

__all__ = ["live", "place", "served", "shared", "workspace"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.mounted)
            item.add_marker(needs_fuse)


@pytest.fixture
def live(workspace: Served, tmp_path: Path) -> Iterator[LiveMount]:
    """A mount of the test's own workspace, fresh for each test."""
    with mounted(workspace, tmp_path) as running:
        yield running
