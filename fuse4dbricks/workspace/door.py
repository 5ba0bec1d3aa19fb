"""Is there a way to the workspace at all?

The difficulty: the question has to cost next to nothing, because it is asked all through an outage, and must not be
mistaken for an answer to a user: it carries no token and is no call. So it is a connection, as far as TLS goes, which
a captive portal cannot fake; the next call uses it.

But a gateway may take connections for a service that is down, and a proxy that is trusted may show a login page. When
calls fail like that, :meth:`Door.ask` sends one request without a token, which the service itself can only refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from fuse4dbricks import __version__
from fuse4dbricks.errors import RemoteError, Unreachable
from fuse4dbricks.workspace.network import TRANSPORT_ERRORS, before_reply
from fuse4dbricks.workspace.pool import Pool
from fuse4dbricks.workspace.replies import is_page
from fuse4dbricks.workspace.retry import Setback

_WHAT = "looking for the workspace"
_ME = "/api/2.0/preview/scim/v2/Me"


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
            return await self.pool.knock(httpx.URL(self.base), self.limit)
        except TRANSPORT_ERRORS as error:
            found = before_reply(_WHAT, error)
        raise _as_unreachable(found)

    async def ask(self) -> None:
        """Return when the service answers, whatever it says; its own refusal of who shows no token will do.

        Raises:
            Unreachable: nobody does, or somebody else in its place.
        """
        request = httpx.Request(
            "GET",
            f"{self.base}{_ME}",
            headers={"User-Agent": f"fuse4dbricks/{__version__}", "Accept-Encoding": "identity"},
            extensions={"timeout": {"connect": self.limit, "write": self.limit}},
        )
        try:
            response = await self.pool.handle_async_request(request)
        except TRANSPORT_ERRORS as error:
            found = before_reply(_WHAT, error)
        else:
            await response.aclose()
            if _is_refusal(response):
                return
            raise Unreachable(f"{_WHAT}: {response.status_code}, where the service would refuse")
        raise _as_unreachable(found)


def _is_refusal(response: httpx.Response) -> bool:
    """Whether this is what the service says to who shows no token: 401 or 403 as a rule (databricks-api 5.1).

    A 429 is the service's own, too: it has time for others.
    """
    status = response.status_code
    return status in {401, 403} or (400 <= status < 500 and not is_page(response.headers, b""))


def _as_unreachable(found: RemoteError | Setback) -> Unreachable:
    failure: RemoteError = found.error if isinstance(found, Setback) else found
    return failure if isinstance(failure, Unreachable) else Unreachable(str(failure))
