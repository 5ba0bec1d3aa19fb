"""What lies where in a cache folder; the one place that knows the names.

::

    fuse4dbricks-cache      marker: "fuse4dbricks cache, format 1"
    CACHEDIR.TAG            backup programs leave the folder out
    lock                    flock held while mounted; process and host of the holder
    control                 socket of the mount for the command's orders
    index.sqlite*           the index, its -wal and -shm, and any that was set aside
    chunks/ab/<32 hex>.chunk
    tmp/<16 hex>-<n>.tmp    chunk files being written, where they cannot do without a name
"""

from __future__ import annotations

import re

FORMAT = 1
MARKER = "fuse4dbricks-cache"
LOCK = "lock"
CONTROL = "control"
TAG = "CACHEDIR.TAG"
INDEX = "index.sqlite"
INDEX_FILES = (INDEX, f"{INDEX}-wal", f"{INDEX}-shm")
CHUNKS = "chunks"
TEMPORARY = "tmp"

SHARDS = 256
#: Shards whose folders lie apart from each other on the disk, where that is possible; files are made there (``apart``).
BIRTHPLACES = range(0, SHARDS, 32)

CHUNK_FILE = re.compile(r"([0-9a-f]{32})\.chunk")
TEMPORARY_FILE = re.compile(r"([0-9a-f]{16})-\d+\.tmp")
