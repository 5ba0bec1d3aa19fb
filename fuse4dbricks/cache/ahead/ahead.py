"""What the file system tells of openings, and to whom."""

from __future__ import annotations

from dataclasses import dataclass

from fuse4dbricks.cache.ahead.files import FilesAhead, ViewerAt
from fuse4dbricks.cache.ahead.listings import ListingsAhead
from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer


@dataclass(frozen=True, slots=True)
class Ahead:
    """Both kinds of reading ahead of need; None for one that is switched off."""

    listings: ListingsAhead | None = None
    files: FilesAhead | None = None

    def folder_opened(self, viewer: Viewer, path: RemotePath) -> None:
        """The viewer opened a folder that he may read."""
        if self.listings is not None:
            self.listings.folder_opened(viewer, path)

    def file_opened(self, viewer: Viewer, path: RemotePath, version: Version, viewer_at: ViewerAt) -> None:
        """The viewer opened a file that he may read; ``viewer_at`` says who he is when another one is fetched."""
        if self.files is not None:
            self.files.file_opened(viewer, path, version, viewer_at)

    def bytes_asked(self) -> None:
        """Somebody reads what the kernel does not have."""
        if self.files is not None:
            self.files.bytes_asked()


NOTHING_AHEAD = Ahead()
