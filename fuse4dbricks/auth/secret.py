"""Secrets that are no bearer tokens: client secrets, which may hold any printable character."""

from __future__ import annotations

from fuse4dbricks.errors import InvalidWrite

#: Databricks' have 36 characters, Entra's 40.
MAX_SECRET_CHARS = 1024


class Secret:
    """A client secret. ``repr``, ``str`` and ``format`` show nothing of it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap a secret.

        Raises:
            InvalidWrite: it is empty, too long, or holds something that is not printable ASCII.
        """
        if not text or len(text) > MAX_SECRET_CHARS or not text.isascii() or not text.isprintable():
            raise InvalidWrite("that is not a client secret: it is empty, too long or not printable")
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the token endpoint."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "Secret(…)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not pickled")
