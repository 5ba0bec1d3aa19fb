"""All token sources in the order of precedence, asked as one.

The difficulty: any number of them may hold a token that the workspace refuses, and one that mints tokens may mint them
for somebody who is no more. So each source gets two tries, with what it holds and with what it renews that to, and then
it is the next one's turn.
"""

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

    def offers_to(self, uid: int) -> Offers:
        """Every token that ``uid`` might use, one after another, for as long as they are refused."""
        return Offers(self._sources, self.identity_of(uid))

    async def resolve_token(self, uid: int) -> Token:
        """The token to use for ``uid``.

        Raises:
            NoToken: no source has one.
            RemoteError: no source has one, and one of them could not reach whoever issues its tokens.
        """
        offers = self.offers_to(uid)
        token = await offers.fetch_next()
        if token is None:
            raise offers.outage or NoToken(uid)
        return token

    def get_source_name(self, uid: int, token: Token) -> str | None:
        """Which source holds this token for him."""
        identity = self.identity_of(uid)
        return next((each.name for each in self._sources if each.get_token(identity) == token), None)

    def get_reports(self, uid: int) -> list[Report]:
        """How each source stands for him, in order."""
        reports = (source.get_report(self.identity_of(uid)) for source in self._sources)
        return [report for report in reports if report is not None]


class Offers:
    """The tokens of one local user in order of precedence.

    Attributes:
        outage: the first failure to reach whoever issues a source's tokens.
    """

    def __init__(self, sources: Sequence[TokenSource], identity: int) -> None:
        self.outage: RemoteError | None = None
        self._identity = identity
        self._left = iter(sources)
        self._last: tuple[TokenSource, Token] | None = None

    async def fetch_next(self) -> Token | None:
        """The next one, the last having been refused; None when there are no more."""
        if self._last is not None:
            (source, refused), self._last = self._last, None
            token = await self._fetch(source, refused)
            if token is not None and token != refused:
                return token
        for source in self._left:
            token = source.get_token(self._identity) or await self._fetch(source, None)
            if token is not None:
                self._last = (source, token)
                return token
        return None

    async def _fetch(self, source: TokenSource, refused: Token | None) -> Token | None:
        try:
            return await source.fetch_token(self._identity, rejected=refused)
        except RemoteError as error:
            self.outage = self.outage or error
            return None
