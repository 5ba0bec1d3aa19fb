"""The seam to the data cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.handles import Reader


class Content(Protocol):
    """Opens files for reading."""

    def open(self, viewer_of: Callable[[], Awaitable[Viewer]], path: RemotePath, version: Version) -> Reader:
        """A reader pinned to ``version``; ``viewer_of`` is asked in whose name to fetch, when that is needed."""
        ...
