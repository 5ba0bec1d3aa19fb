"""All token sources in the order of precedence, asked as one."""

from __future__ import annotations

from collections.abc import Sequence

from fuse4dbricks.auth.source import TokenSource
from fuse4dbricks.errors import NoToken
from fuse4dbricks.tokens import Token


class TokenChain:
    """The first source with an answer wins."""

    def __init__(self, sources: Sequence[TokenSource]) -> None:
        self._sources = tuple(sources)

    def get_token(self, uid: int) -> Token | None:
        """The token that would be used now, as far as is known without I/O."""
        for source in self._sources:
            token = source.get_token(uid)
            if token is not None:
                return token
        return None

    async def resolve_token(self, uid: int, *, rejected: Token | None = None) -> Token:
        """The token to use for ``uid``, other than ``rejected``.

        Raises:
            NoToken: no source has one.
        """
        for source in self._sources:
            token = source.get_token(uid)
            if token is None or token == rejected:
                token = await source.fetch_token(uid, rejected=rejected)
            if token is not None:
                return token
        raise NoToken(uid)
