"""All token sources in the order of precedence, asked as one."""

from __future__ import annotations

from collections.abc import Sequence

from fuse4dbricks.auth.source import Report, TokenSource
from fuse4dbricks.errors import NoToken, RemoteError
from fuse4dbricks.tokens import Token


class TokenChain:
    """The first source with an answer wins.

    With ``single_uid`` there is one identity, that user's, whoever asks; nobody else's sources are looked at.
    """

    def __init__(self, sources: Sequence[TokenSource], *, single_uid: int | None = None) -> None:
        self._sources = tuple(sources)
        self._single_uid = single_uid

    def identity_of(self, uid: int) -> int:
        """The local user whose sources serve ``uid``."""
        return uid if self._single_uid is None else self._single_uid

    def get_token(self, uid: int) -> Token | None:
        """The token that would be used now, as far as is known without I/O."""
        uid = self.identity_of(uid)
        for source in self._sources:
            token = source.get_token(uid)
            if token is not None:
                return token
            if source.is_due(uid):
                return None  # it comes first, and has not been asked
        return None

    async def resolve_token(self, uid: int, *, rejected: Token | None = None) -> Token:
        """The token to use for ``uid``, other than ``rejected``.

        Raises:
            NoToken: no source has one.
            RemoteError: no source has one, and one of them could not reach whoever issues its tokens.
        """
        identity = self.identity_of(uid)
        outage: RemoteError | None = None
        for source in self._sources:
            token = source.get_token(identity)
            if token is None or token == rejected:
                try:
                    token = await source.fetch_token(identity, rejected=rejected)
                except RemoteError as error:
                    outage = outage or error
                    continue
            if token is not None:
                return token
        raise outage or NoToken(uid)

    def get_source_name(self, uid: int, token: Token) -> str | None:
        """Which source holds this token for him."""
        identity = self.identity_of(uid)
        return next((each.name for each in self._sources if each.get_token(identity) == token), None)

    def get_reports(self, uid: int) -> list[Report]:
        """How each source stands for him, in order."""
        reports = (source.get_report(self.identity_of(uid)) for source in self._sources)
        return [report for report in reports if report is not None]
