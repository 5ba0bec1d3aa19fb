"""Chunk files in a cache folder: the bytes that outlive the mount."""

from fuse4dbricks.chunks.folder import CacheFolder
from fuse4dbricks.chunks.found import FoundChunk
from fuse4dbricks.chunks.label import ChunkLabel, ChunkName
from fuse4dbricks.chunks.store import ChunkStore

__all__ = ["CacheFolder", "ChunkLabel", "ChunkName", "ChunkStore", "FoundChunk"]
