"""The files of the mount itself: ``README.txt`` and ``.auth/``.

The difficulty: ``echo token > file`` is several system calls. The shell opens the file, duplicates the descriptor
and closes the first (a flush before anything is written), the program writes, perhaps in pieces, and each close of
each copy is a flush of its own; ``release`` comes after the last one and cannot report an error. So what has been
written through one handle is checked and committed at every flush that follows a write: whole, or not at all.
"""

from __future__ import annotations

import os
import stat
from typing import Protocol

from fuse4dbricks.errors import AccessDenied, InvalidWrite, ReadOnly
from fuse4dbricks.tokens import MAX_TOKEN_BYTES, Token
from fuse4dbricks.vfs.attributes import Attributes, Look
from fuse4dbricks.vfs.inodes import ROOT_INO

README_INO = 2
AUTH_INO = 3
AUTH_README_INO = 4
TOKEN_INO = 5

README_NAME = "README.txt"
AUTH_NAME = ".auth"
TOKEN_NAME = "personal_access_token"  # noqa: S105 - the name of a file

_CHILDREN = {
    ROOT_INO: {README_NAME: README_INO, AUTH_NAME: AUTH_INO},
    AUTH_INO: {README_NAME: AUTH_README_INO, TOKEN_NAME: TOKEN_INO},
}
_NAMES = {ino: name for children in _CHILDREN.values() for name, ino in children.items()}

_README = """\
This folder shows the Unity Catalog volumes of {workspace}, read-only:

    CATALOG/SCHEMA/VOLUME/...

You see the catalogs that your own Databricks identity may use. If you see none, the mount has no valid token
of yours. Give it one (it is kept in memory, and read by nobody, you included):

    cat > .auth/{token_name}        paste the token, press Enter, then Ctrl-D

A token is made in the workspace under Settings, Developer, Access tokens. Whoever runs the mount can also set
DATABRICKS_TOKEN before starting it, which serves that user alone.
"""

_AUTH_README = """\
Write a Databricks token into {token_name} to use this mount as yourself:

    cat > {token_name}              paste the token, press Enter, then Ctrl-D

It serves your local user only, lives in memory, cannot be read back, and is gone when the mount ends. An empty
line makes the mount forget it. A token that is malformed is refused as a whole when the file is closed.
"""


class TokenShelf(Protocol):
    """Where written tokens go."""

    def set(self, uid: int, token: Token) -> None:
        """Use it for this user."""
        ...

    def forget(self, uid: int) -> None:
        """Use none."""
        ...


class TokenHandle:
    """One open-write-close of the token file."""

    def __init__(self, uid: int, shelf: TokenShelf) -> None:
        self._uid = uid
        self._shelf = shelf
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
            raise InvalidWrite(f"a token has at most {MAX_TOKEN_BYTES} bytes, written in order")
        self._text[at : at + len(content)] = content
        return len(content)

    def flush(self) -> None:
        """Commit what was written since the last flush, if anything.

        Raises:
            InvalidWrite: it is not a token; the one in use stays.
        """
        if not self._is_dirty:
            return
        self._is_dirty = False
        if self._is_spoilt:
            raise InvalidWrite("that is not a token")
        try:
            text = self._text.decode("ascii").strip()
        except UnicodeDecodeError:
            raise InvalidWrite("that is not a token: it has characters that no token has") from None
        if text:
            self._shelf.set(self._uid, Token(text))
        else:
            self._shelf.forget(self._uid)


class ControlTree:
    """Names, attributes and contents of the control files."""

    def __init__(self, look: Look, shelf: TokenShelf) -> None:
        self._look = look
        self._shelf = shelf
        fill = {"workspace": look.workspace, "token_name": TOKEN_NAME}
        self._texts = {
            README_INO: _README.format(**fill).encode(),
            AUTH_README_INO: _AUTH_README.format(**fill).encode(),
        }

    @staticmethod
    def find(parent_ino: int, name: str) -> int | None:
        """The number of a control file."""
        return _CHILDREN.get(parent_ino, {}).get(name)

    @staticmethod
    def is_control(ino: int) -> bool:
        """Whether the number is a control file's."""
        return ino in _NAMES

    def children(self, parent_ino: int, *, has_token: bool) -> list[tuple[str, int]]:
        """What a listing shows. The token file can be written but not read, so once it has served its purpose
        it is not listed, and ``cp -r`` or ``tar`` of the whole mount do not stumble over it.
        """
        return [
            (name, ino)
            for name, ino in _CHILDREN.get(parent_ino, {}).items()
            if not (ino == TOKEN_INO and has_token)
        ]

    def get_attributes(self, ino: int) -> Attributes:
        """What ``stat`` shows; the kernel keeps the token file's for no time, since its size is made up."""
        if ino == AUTH_INO:
            mode = stat.S_IFDIR | 0o555
        elif ino == TOKEN_INO:
            mode = stat.S_IFREG | 0o222
        else:
            mode = stat.S_IFREG | 0o444
        timeout = 0.0 if ino == TOKEN_INO else 60.0
        return Attributes(
            ino,
            mode=mode,
            size=len(self._texts.get(ino, b"")),
            mtime=self._look.mounted_at,
            uid=self._look.uid,
            gid=self._look.gid,
            entry_timeout=timeout,
            attr_timeout=timeout,
        )

    def open(self, uid: int, ino: int, flags: int) -> bytes | TokenHandle:
        """The content of a text, or a handle that takes a token.

        Raises:
            ReadOnly: a text cannot be written.
            AccessDenied: the token cannot be read.
        """
        wanted = flags & os.O_ACCMODE
        if ino == TOKEN_INO:
            if wanted != os.O_WRONLY:
                raise AccessDenied("a token can be written, not read")
            return TokenHandle(uid, self._shelf)
        if wanted != os.O_RDONLY:
            raise ReadOnly("the README is read-only")
        return self._texts[ino]

    def check_access(self, ino: int, mode: int) -> None:
        """``access(2)`` on a control file.

        Raises:
            ReadOnly, AccessDenied: as the mode bits say, for root too.
        """
        if ino == TOKEN_INO:
            if mode & (os.R_OK | os.X_OK):
                raise AccessDenied("a token can be written, not read")
        elif mode & os.W_OK:
            raise ReadOnly("the mount is read-only")
        elif mode & os.X_OK and ino != AUTH_INO:
            raise AccessDenied("not a program")
