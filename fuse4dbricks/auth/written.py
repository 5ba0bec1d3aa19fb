"""Tokens that local users wrote into ``.auth/personal_access_token``; they live in RAM and end with the mount."""

from __future__ import annotations

from fuse4dbricks.auth.source import Outcome, Report
from fuse4dbricks.errors import InvalidWrite
from fuse4dbricks.tokens import Token

#: One user may own 65,536 uids (subuid(5)), each with 4 KiB to write. Refused, not evicted: nobody's token gives
#: way to somebody else's.
MAX_HOLDERS = 4096


class WrittenTokens:
    """One token per local user."""

    name = "written to .auth/personal_access_token"

    def __init__(self) -> None:
        self._by_uid: dict[int, Token] = {}

    def set(self, uid: int, token: Token) -> None:
        """Use ``token`` for ``uid`` from now on.

        Raises:
            InvalidWrite: too many users have written one.
        """
        if uid not in self._by_uid and len(self._by_uid) >= MAX_HOLDERS:
            raise InvalidWrite(f"{MAX_HOLDERS} users have written a token; there is no room for another")
        self._by_uid[uid] = token

    def forget(self, uid: int) -> None:
        """Drop what ``uid`` wrote, if anything."""
        self._by_uid.pop(uid, None)

    def get_token(self, uid: int) -> Token | None:
        """What ``uid`` wrote last."""
        return self._by_uid.get(uid)

    def is_due(self, uid: int) -> bool:
        """Never: a token is written or not."""
        return False

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """What ``uid`` wrote last, unless the service has refused it."""
        token = self._by_uid.get(uid)
        return None if token == rejected else token

    def get_report(self, uid: int) -> Report:
        """Whether there is one."""
        return Report(self.name, Outcome.ANSWERED if uid in self._by_uid else Outcome.NOTHING)
