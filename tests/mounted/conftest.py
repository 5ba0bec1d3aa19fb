"""What tests of real mounts share: a workspace and a mount of it, for a whole module or for one test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.places import Place
from tests.support.workspace import Served, serve, workspace

__all__ = ["live", "place", "served", "shared", "workspace"]

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.mounted)
            item.add_marker(needs_fuse)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One workspace for a module."""
    with serve(tmp_path_factory.mktemp("tree")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    """One mount for a module: a start and an end take a second that a hundred tests do not have."""
    with mounted(served, tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def place(served: Served, shared: LiveMount) -> Place:
    """A volume of the test's own in the shared mount, of which the mount knows nothing yet."""
    return Place.make(served, shared.path, f"volume{next(_numbers)}")


@pytest.fixture
def live(workspace: Served, tmp_path: Path) -> Iterator[LiveMount]:
    """A mount of the test's own workspace, fresh for each test."""
    with mounted(workspace, tmp_path) as running:
        yield running
