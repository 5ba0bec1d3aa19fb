"""Is there a way to the workspace at all?

The difficulty: the question has to cost next to nothing, because it is asked all through an outage, and must not be
mistaken for an answer to a user: it carries no token and is no call. So it is a connection, as far as TLS goes, which
a captive portal cannot fake; the next call uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from fuse4dbricks.errors import RemoteError, Unreachable
from fuse4dbricks.workspace.network import TRANSPORT_ERRORS, before_reply
from fuse4dbricks.workspace.pool import Pool
from fuse4dbricks.workspace.retry import Setback

_WHAT = "looking for the workspace"


@dataclass(frozen=True, slots=True)
class Door:
    """The way to one workspace.

    Attributes:
        pool: makes the connection, and keeps it.
        base: ``https://host``.
        limit: seconds for each step of connecting.
    """

    pool: Pool
    base: str
    limit: float

    async def knock(self) -> None:
        """Return when there is a connection to be had.

        Raises:
            Unreachable: there is none; the route, the name, the proxy or the certificate is to blame.
        """
        try:
            await self.pool.knock(httpx.URL(self.base), self.limit)
        except TRANSPORT_ERRORS as error:
            found = before_reply(_WHAT, error)
        else:
            return
        failure: RemoteError = found.error if isinstance(found, Setback) else found
        raise failure if isinstance(failure, Unreachable) else Unreachable(str(failure))
