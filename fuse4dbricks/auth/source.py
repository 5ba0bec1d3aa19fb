"""The seam between a local user and wherever his token comes from.

The difficulty: a token may be absent, refused, over, or on the other side of an identity provider that does not
answer, and the four call for different things: ask the next source, say so, renew, and (an outage is not a denial)
wait. So a source answers with a token, with None, or with an error of the workspace's tree, and keeps the reason
for ``auth status``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fuse4dbricks.errors import Fuse4dbricksError
from fuse4dbricks.tokens import Credential, Token


class Outcome(StrEnum):
    """What came of asking a source."""

    ANSWERED = "answered"
    NOTHING = "nothing there"
    FAILED = "failed"
    WAITING = "waiting"
    NOT_USED = "not used"
    NOT_ASKED = "not asked yet"


@dataclass(frozen=True, slots=True)
class Report:
    """How a source stands for one local user; holds nothing secret.

    Attributes:
        source: its name.
        outcome: in a word.
        detail: why, or from where, for people.
        expires_at: Unix time at which its token ends, if it is known to.
    """

    source: str
    outcome: Outcome
    detail: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as it came from whoever makes them.

    Attributes:
        token: the secret.
        lifetime: seconds for which it is good from now on; None for one without a known end.
        origin: from where, in a few words that are not secret.
        credential: what it was made from, if that can be known again.
    """

    token: Token
    lifetime: float | None = None
    origin: str = ""
    credential: Credential | None = None


class SourceFailure(Fuse4dbricksError):
    """A source has no token to give.

    Attributes:
        outcome: ``NOTHING`` when it is not set up, ``FAILED`` otherwise.
        is_outage: nobody answered, which says nothing about the user.
        credential: what a token was to be made from, if it came to that.
    """

    def __init__(
        self,
        reason: str,
        *,
        outcome: Outcome = Outcome.FAILED,
        is_outage: bool = False,
        credential: Credential | None = None,
    ) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.is_outage = is_outage
        self.credential = credential


class Refusals:
    """Credentials that their issuers refuse, for whoever wants to hear of them."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Credential], None]] = []

    def tell(self, listener: Callable[[Credential], None]) -> None:
        """From now on."""
        self._listeners.append(listener)

    def note(self, credential: Credential) -> None:
        """One is refused."""
        for listener in self._listeners:
            listener(credential)


def nothing_there(reason: str) -> SourceFailure:
    """The source is not set up."""
    return SourceFailure(reason, outcome=Outcome.NOTHING)


class TokenSource(Protocol):
    """One place that may have a token for a local user."""

    @property
    def name(self) -> str:
        """What ``auth status`` calls it; says nothing secret."""
        ...

    def get_token(self, uid: int) -> Token | None:
        """The token held right now, without I/O."""
        ...

    def is_due(self, uid: int) -> bool:
        """Whether :meth:`fetch_token` is worth a wait although :meth:`get_token` has none: nobody asked yet."""
        ...

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The token, after whatever it takes; not ``rejected``, which the service has just refused.

        A source that cannot renew answers None when what it holds is ``rejected``.

        Raises:
            RemoteError: whoever issues the tokens cannot be reached.
        """
        ...

    def get_report(self, uid: int) -> Report | None:
        """How it stands for this user; None when it is no concern of his."""
        ...
