from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[CacheFolder]:
    with CacheFolder.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def store(folder: CacheFolder) -> Iterator[ChunkStore]:
    opened = ChunkStore(folder)
    yield opened
    opened.close()
