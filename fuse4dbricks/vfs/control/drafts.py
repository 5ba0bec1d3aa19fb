"""What is done with a text that is written into a control file, and undone when the rest of it is refused."""

from __future__ import annotations

from collections.abc import Callable

from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.tokens import Token


class TokenDraft:
    """A token of ``uid`` in the making. Satisfies :class:`~fuse4dbricks.vfs.control.writing.Draft`."""

    def __init__(self, written: WrittenTokens, uid: int) -> None:
        self._written = written
        self._uid = uid
        self._before: Token | None = None
        self._taken: Token | None = None
        self._is_taken = False

    def take(self, text: str) -> None:
        """Use it, or with an empty one none.

        Raises:
            InvalidWrite: it is no token, or too many users have written one; the one before stays.
        """
        token = Token(text) if text else None
        current = self._written.get_token(self._uid)
        self._put(token)
        if not (self._is_taken and current == self._taken):
            self._before = current
        self._taken, self._is_taken = token, True

    def take_back(self) -> None:
        """Use what was used before, unless another writer has come between."""
        if self._is_taken and self._written.get_token(self._uid) == self._taken:
            self._put(self._before)
        self._is_taken = False

    def _put(self, token: Token | None) -> None:
        if token is None:
            self._written.forget(self._uid)
        else:
            self._written.set(self._uid, token)


class WordDraft:
    """A word that has something done. What was done stays done."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self._act = act

    def take(self, text: str) -> None:
        """Do it.

        Raises:
            InvalidWrite: there is no such word.
        """
        self._act(text)

    def take_back(self) -> None:
        """Nothing can be."""
