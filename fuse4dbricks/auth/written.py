"""Tokens that local users wrote into ``.auth/personal_access_token``; they live in RAM and end with the mount."""

from __future__ import annotations

from fuse4dbricks.tokens import Token


class WrittenTokens:
    """One token per local user."""

    name = "written to .auth/personal_access_token"

    def __init__(self) -> None:
        self._by_uid: dict[int, Token] = {}

    def set(self, uid: int, token: Token) -> None:
        """Use ``token`` for ``uid`` from now on."""
        self._by_uid[uid] = token

    def forget(self, uid: int) -> None:
        """Drop what ``uid`` wrote, if anything."""
        self._by_uid.pop(uid, None)

    def get_token(self, uid: int) -> Token | None:
        """What ``uid`` wrote last."""
        return self._by_uid.get(uid)

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """What ``uid`` wrote last, unless the service has refused it."""
        token = self._by_uid.get(uid)
        return None if token == rejected else token
