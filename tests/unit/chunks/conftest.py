from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.chunks.placing import Placer


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[CacheFolder]:
    with CacheFolder.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture(params=["unnamed", "named"])
def store(folder: CacheFolder, request: pytest.FixtureRequest) -> Iterator[ChunkStore]:
    """Once as on most file systems, once as where a file cannot do without a name while it is written."""
    opened = ChunkStore(folder, placer=Placer(is_able=request.param == "unnamed"))
    yield opened
    opened.close()
