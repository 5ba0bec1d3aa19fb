"""The seam between a local user and wherever his token comes from."""

from __future__ import annotations

from typing import Protocol

from fuse4dbricks.tokens import Token


class TokenSource(Protocol):
    """One place that may have a token for a local user."""

    @property
    def name(self) -> str:
        """What ``auth status`` calls it; says nothing secret."""
        ...

    def get_token(self, uid: int) -> Token | None:
        """The token held right now, without I/O."""
        ...

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The token, after whatever it takes; not ``rejected``, which the service has just refused.

        A source that cannot renew answers None when what it holds is ``rejected``.
        """
        ...
