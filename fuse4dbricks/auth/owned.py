"""Sources of the user who runs the mount: his configuration, and nobody else's business."""

from __future__ import annotations

from fuse4dbricks.auth.renewing import Renewing
from fuse4dbricks.auth.source import Outcome, Report
from fuse4dbricks.tokens import Token


class OwnedSource:
    """A renewing token for one local user."""

    def __init__(self, renewing: Renewing, *, owner_uid: int) -> None:
        self._renewing = renewing
        self._owner_uid = owner_uid

    @property
    def name(self) -> str:
        """What ``auth status`` calls it."""
        return self._renewing.name

    def get_token(self, uid: int) -> Token | None:
        """The token held right now."""
        return self._renewing.get() if uid == self._owner_uid else None

    def is_due(self, uid: int) -> bool:
        """Whether it has never been asked."""
        return uid == self._owner_uid and self._renewing.is_untried

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The token, renewed if need be.

        Raises:
            Unreachable: whoever issues it does not answer.
        """
        return await self._renewing.fetch(rejected) if uid == self._owner_uid else None

    def get_report(self, uid: int) -> Report | None:
        """How it stands."""
        return self._renewing.get_report() if uid == self._owner_uid else None


class UnusedSource:
    """A source that is configured and not used; it is here so that ``auth status`` says why."""

    def __init__(self, name: str, reason: str, *, owner_uid: int) -> None:
        self.name = name
        self._reason = reason
        self._owner_uid = owner_uid

    def get_token(self, uid: int) -> Token | None:
        """None."""
        return None

    def is_due(self, uid: int) -> bool:
        """Never."""
        return False

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """None."""
        return None

    def get_report(self, uid: int) -> Report | None:
        """Why it is not used."""
        return Report(self.name, Outcome.NOT_USED, self._reason) if uid == self._owner_uid else None
