"""Chunk labels for tests: one file of a given size, unless told otherwise."""

from pathlib import Path

from fuse4dbricks.chunks import ChunkLabel
from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath

PATH = RemotePath(("main", "sales", "raw", "2024 über.csv"))
VERSION = Version(size=2500, last_modified=1_700_000_000)
CHUNK_SIZE = 1000


def label(
    index: int = 0,
    *,
    path: RemotePath = PATH,
    version: Version = VERSION,
    chunk_size: int = CHUNK_SIZE,
    workspace: str = "adb-1.azuredatabricks.net",
    owner: str = "42",
) -> ChunkLabel:
    return ChunkLabel(workspace, path, version, index, chunk_size, owner)


def chunk_file(folder: Path, wanted: ChunkLabel) -> Path:
    """Where the documented layout puts the chunk."""
    name = wanted.name().hex()
    return folder / "chunks" / name[:2] / f"{name}.chunk"
