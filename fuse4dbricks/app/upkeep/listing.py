"""What is cached below a path, told while a mount may be at work, to who may take his time.

The difficulty: a folder in which nothing was ever cached has no index, and an answer of a million files must not be held
before the first is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fuse4dbricks.app.below import Below
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.contents import CachedFile, contents_of
from fuse4dbricks.paths import RemotePath


def list_files(path: Path, below: Below) -> Iterator[CachedFile]:
    """What is cached of the files in the cache folder ``path``, one after the other in the order of their paths.

    Raises:
        CacheFolderError: the folder or its index cannot be used; at the first file, or when damage is come upon.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        if not folder.index_path.exists():
            return
        with contents_of(folder.index_path) as contents:
            for each in contents.files(below.under, below.host):
                if below.visibility.shows(each.path):
                    yield each


def load_spelled(path: Path, asked: RemotePath, host: str | None) -> RemotePath:
    """``asked`` as the cache folder ``path`` has it: names of catalogs, schemas and volumes are case-insensitive."""
    try:
        with CacheFolder.open(path, exclusive=False) as folder, contents_of(folder.index_path) as contents:
            return contents.spelled(asked, host)
    except CacheFolderError:
        return asked  # what is wrong with the folder is told by whatever needs it


def load_disk_use(path: Path, below: Below) -> dict[str, int]:
    """Bytes on the disk by the names of the entries of a folder; a file's own are under the empty name.

    Raises:
        CacheFolderError: the cache folder or its index cannot be used.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        if not folder.index_path.exists():
            return {}
        with contents_of(folder.index_path) as contents:
            return contents.disk_use(below.under, below.host, below.visibility.shows)
