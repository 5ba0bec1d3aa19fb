"""The real workspace client before a local workspace with one file: what its fault tests share.

Time limits are short here, so that running into them costs tenths of a second; that they hold to the figure is
tested with a mock clock beside the client's unit tests.

Use it so: ``from tests.support.wire_client import client, read, server`` with ``__all__ = ["server"]``, the fixture.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.clock import SystemClock
from fuse4dbricks.devworkspace.server import LocalWorkspace
from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace import Patience, Ticket, Workspace
from tests.support.workspace import Served, serve

VOLUME = RemotePath(("main", "sales", "raw"))
FILE = VOLUME.child("a b?#%.bin")
CONTENT = random.Random(1).randbytes(300_000)
MODIFIED = 1_721_302_400
GET = "fs.files.get"
LIST = "fs.directories.list"
#: A thousandth of a person's patience; the minimum rate is what a drip of a byte per 50 ms is far below.
HASTY = Patience(connect=2.0, response=1.0, stall=0.8, total=4.0, min_rate=10_000, first_pause=0.01)


def put(server: Served, content: bytes = CONTENT, modified: float = MODIFIED) -> None:
    file = server.volume / FILE.name
    file.write_bytes(content)
    os.utime(file, (modified, modified))


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with serve(tmp_path / "tree") as running:
        put(running)
        yield running


@asynccontextmanager
async def client(
    server: LocalWorkspace, *, metrics: Metrics | None = None, patience: Patience = HASTY, **options: Any
) -> AsyncIterator[tuple[Workspace, Token]]:
    async with Workspace.at(
        server.url, clock=SystemClock(), metrics=metrics or Metrics(), patience=patience, **options
    ) as workspace:
        yield workspace, Token(server.token)


async def read(
    workspace: Workspace,
    token: Token,
    start: int = 0,
    stop: int = len(CONTENT),
    version: Version | None = None,
) -> bytes:
    version = version or Version(len(CONTENT), MODIFIED)
    async with workspace.files.stream_range(token, FILE, start, stop, version, Ticket()) as pieces:
        return b"".join([piece async for piece in pieces])
