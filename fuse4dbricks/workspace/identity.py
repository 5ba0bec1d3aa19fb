"""Whose token is this?

The difficulty: a 403 may refuse the principal or the token, and on a HEAD it comes without a word. The first ends a
grant, the second the token, so guessing costs somebody his access. SCIM Me, which needs a good token and nothing
else, settles it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fuse4dbricks.errors import NotFound, PermissionDenied, ProtocolViolation
from fuse4dbricks.tokens import Principal, Token
from fuse4dbricks.workspace.calls import Caller
from fuse4dbricks.workspace.exchange import Call
from fuse4dbricks.workspace.limits import Lane
from fuse4dbricks.workspace.replies import UnconfirmedDenial
from fuse4dbricks.workspace.wire import parse_principal

_ME = Call("identity", Lane.CATALOG, "GET", "/api/2.0/preview/scim/v2/Me")


class Identity:
    """SCIM, as far as a reader needs it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def fetch_principal(self, token: Token) -> Principal:
        """The principal that ``token`` belongs to.

        Raises:
            InvalidToken: the workspace does not accept it.
            RemoteError: the workspace could not say.
        """
        try:
            return await self._caller.fetch_json(_ME, token, lambda payload, _: parse_principal(payload))
        except NotFound as error:
            status, request_id = error.status, error.request_id
        raise ProtocolViolation(
            "the host has no SCIM Me: it is not a Databricks workspace", status=status, request_id=request_id
        )

    @asynccontextmanager
    async def settling_denials(self, token: Token) -> AsyncIterator[None]:
        """Turn a 403 of the block that does not say what it refuses into one of the two that it can be.

        Raises:
            InvalidToken: the token is refused for SCIM Me too.
            PermissionDenied: the token is good; it is the principal that may not.
            RemoteError: the workspace could not say.
        """
        try:
            yield
        except UnconfirmedDenial as error:
            denial = error
        else:
            return
        await self.fetch_principal(token)
        raise PermissionDenied(
            str(denial),
            status=denial.status,
            error_code=denial.error_code,
            request_id=denial.request_id,
            said=denial.said,
        )
