"""The token of ``DATABRICKS_TOKEN``, read once by the command and then removed from the environment."""

from __future__ import annotations

from fuse4dbricks.tokens import Token


class EnvironmentToken:
    """Serves the user who runs the mount, or everybody with ``--single-principal``."""

    name = "DATABRICKS_TOKEN"

    def __init__(self, token: Token, *, owner_uid: int, for_everybody: bool) -> None:
        self._token = token
        self._owner_uid = owner_uid
        self._for_everybody = for_everybody

    def get_token(self, uid: int) -> Token | None:
        """The token, for those who may use it."""
        return self._token if self._for_everybody or uid == self._owner_uid else None

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The same; it cannot be renewed."""
        token = self.get_token(uid)
        return None if token == rejected else token
