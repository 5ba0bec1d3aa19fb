"""Remote reads that are given up when there is no way to the workspace any more.

The difficulty: a call by itself tries for its whole deadline, 25 s, because it cannot tell a slow service from a cut
line. All calls together can: who waits here is a reason for the :class:`~fuse4dbricks.cache.lookout.Lookout` to look, and
ends with what it finds, but for a download that goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.reading.ports import Pieces, RangeSource
from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace.limits import Ticket


@dataclass(frozen=True, slots=True)
class AttendedSource:
    """A :class:`RangeSource`.

    Attributes:
        source: where the bytes come from.
        connectivity: whether they can come just now.
    """

    source: RangeSource
    connectivity: Connectivity

    @asynccontextmanager
    async def stream_range(
        self, token: Token, path: RemotePath, start: int, stop: int, version: Version, ticket: Ticket
    ) -> AsyncIterator[Pieces]:
        """As the source does it; raises NotAsked, too, when nobody can be reached, then or meanwhile."""
        with self.connectivity.receiving() as wait:
            async with self.source.stream_range(token, path, start, stop, version, ticket) as pieces:
                wait.get_received = lambda: pieces.received
                yield pieces
