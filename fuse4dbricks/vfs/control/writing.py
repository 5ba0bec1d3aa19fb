"""What is written into a control file.

The difficulty: ``echo token > file`` is several system calls, and none of them says "that was all". Programs write in
pieces; a close that could report an error would be a request for each close of *every* file of the mount, which makes
opening a small one half as dear again; and ``release``, which comes anyway, reports nothing and may come late. So what
was written so far counts from each write on: the beginning of a token is a token too, and nobody is disturbed by it
who does not ask just then. What turns out to be unacceptable is refused by the write that makes it so, and takes back
what the pieces before it did: whole, or not at all.
"""

from __future__ import annotations

from typing import Protocol

from fuse4dbricks.errors import InvalidWrite
from fuse4dbricks.tokens import MAX_TOKEN_BYTES


class Draft(Protocol):
    """What one open of a control file changes."""

    def take(self, text: str) -> None:
        """The text so far, without the space around it, counts from now on.

        Raises:
            InvalidWrite: it is not acceptable; nothing was changed.
        """
        ...

    def take_back(self) -> None:
        """What was taken does not count any more: all is as it was before."""
        ...


class WritingHandle:
    """One open-write-close of a control file."""

    def __init__(self, draft: Draft, *, answer: bytes = b"") -> None:
        self.answer = answer
        self._draft = draft
        self._start: int | None = None
        self._text = bytearray()
        self._taken: str | None = None
        self._is_spoilt = False

    @property
    def ends_line(self) -> bool:
        """Whether what was written so far is probably all."""
        return self._text.endswith(b"\n")

    def write(self, offset: int, content: bytes) -> int:
        """Take a piece, from which on the whole counts.

        Raises:
            InvalidWrite: more than a token can hold, a gap between pieces, or what the draft does not take; what was
                before this handle stays, and the rest of its writing is refused, too.
        """
        try:
            self._add(offset, content)
            # Space alone may lead a token; an empty line means "none".
            if self._text.strip() or b"\n" in self._text:
                self._take()
        except InvalidWrite:
            self._spoil()
            raise
        return len(content)

    def end(self) -> None:
        """Nothing more will be written: space alone, without a line's end, counts as an empty line."""
        if self._text and self._taken is None:
            self._take()

    def _add(self, offset: int, content: bytes) -> None:
        # An append starts at whatever size the kernel remembers: the first piece is the beginning.
        self._start = offset if self._start is None else self._start
        at = offset - self._start
        if self._is_spoilt or at < 0 or at > len(self._text) or at + len(content) > MAX_TOKEN_BYTES + 2:
            raise InvalidWrite(f"at most {MAX_TOKEN_BYTES} bytes, written in order")
        self._text[at : at + len(content)] = content

    def _take(self) -> None:
        try:
            text = self._text.decode("ascii").strip()
        except UnicodeDecodeError:
            raise InvalidWrite("it has characters that no token has") from None
        if text != self._taken:
            self._draft.take(text)
            self._taken = text

    def _spoil(self) -> None:
        self._is_spoilt = True
        self._text.clear()
        if self._taken is not None:
            self._taken = None
            self._draft.take_back()
