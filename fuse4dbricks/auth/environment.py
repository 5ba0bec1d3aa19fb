"""The token of ``DATABRICKS_TOKEN``, read once by the command and then removed from the environment."""

from __future__ import annotations

from fuse4dbricks.auth.source import Outcome, Report
from fuse4dbricks.tokens import Token


class EnvironmentToken:
    """Serves the user who runs the mount."""

    name = "DATABRICKS_TOKEN"

    def __init__(self, token: Token, *, owner_uid: int) -> None:
        self._token = token
        self._owner_uid = owner_uid

    def get_token(self, uid: int) -> Token | None:
        """The token, for him who may use it."""
        return self._token if uid == self._owner_uid else None

    def is_due(self, uid: int) -> bool:
        """Never: it is there from the start."""
        return False

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The same; it cannot be renewed."""
        token = self.get_token(uid)
        return None if token == rejected else token

    def get_report(self, uid: int) -> Report | None:
        """That it is there."""
        if uid != self._owner_uid:
            return None
        return Report(self.name, Outcome.ANSWERED, "from the environment that the mount was started with")
