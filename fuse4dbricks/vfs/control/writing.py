"""What is written into a control file.

The difficulty: ``echo token > file`` is several system calls. The shell opens the file, duplicates the descriptor
and closes the first (a flush before anything is written), the program writes, perhaps in pieces, and each close of
each copy is a flush of its own; ``release`` comes after the last one and cannot report an error. So what has been
written through one handle is checked and committed at every flush that follows a write: whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable

from fuse4dbricks.errors import InvalidWrite
from fuse4dbricks.tokens import MAX_TOKEN_BYTES


class WritingHandle:
    """One open-write-close of a control file; ``commit`` is given the text without the space around it.

    It may raise InvalidWrite, and nothing is changed then.
    """

    def __init__(self, commit: Callable[[str], None], *, answer: bytes = b"") -> None:
        self.answer = answer
        self._commit = commit
        self._start: int | None = None
        self._text = bytearray()
        self._is_dirty = False
        self._is_spoilt = False

    def write(self, offset: int, content: bytes) -> int:
        """Take a piece.

        Raises:
            InvalidWrite: more than a token can hold, or a gap between pieces; the rest of this handle's
                writing is refused, too.
        """
        # An append starts at whatever size the kernel remembers: the first piece is the beginning.
        self._start = offset if self._start is None else self._start
        at = offset - self._start
        self._is_dirty = True
        if self._is_spoilt or at < 0 or at > len(self._text) or at + len(content) > MAX_TOKEN_BYTES + 2:
            self._is_spoilt = True
            self._text.clear()
            raise InvalidWrite(f"at most {MAX_TOKEN_BYTES} bytes, written in order")
        self._text[at : at + len(content)] = content
        return len(content)

    def flush(self) -> None:
        """Commit what was written since the last flush, if anything.

        Raises:
            InvalidWrite: it is not acceptable; what was before stays.
        """
        if not self._is_dirty:
            return
        self._is_dirty = False
        if self._is_spoilt:
            raise InvalidWrite("too long, or not written in order")
        try:
            text = self._text.decode("ascii").strip()
        except UnicodeDecodeError:
            raise InvalidWrite("it has characters that no token has") from None
        self._commit(text)
