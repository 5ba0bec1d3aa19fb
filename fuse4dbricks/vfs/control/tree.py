"""Names, attributes and contents of the control files.

The difficulty: their inodes are common to all local users and what some of them say is not. So these have no size (as
files in ``/proc`` have none), are read past the kernel's page cache, and are composed when they are opened, for whoever
opens them. And nothing may be listed that cannot be read, or ``cp -r`` and ``tar`` of the whole mount would fail.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from fuse4dbricks.errors import AccessDenied, ReadOnly
from fuse4dbricks.vfs.attributes import Attributes, Look
from fuse4dbricks.vfs.control.asking import AskingHandle, Questions
from fuse4dbricks.vfs.control.desk import Desk
from fuse4dbricks.vfs.control.texts import AUTH_README, EXPLAIN_USAGE, LOGIN_SCRIPT, README
from fuse4dbricks.vfs.control.writing import WritingHandle
from fuse4dbricks.vfs.inodes import ROOT_INO

README_INO = 2
AUTH_INO = 3
AUTH_README_INO = 4
TOKEN_INO = 5
LOGIN_INO = 6
SCRIPT_INO = 7
STATUS_INO = 8
STATUS_JSON_INO = 9
EXPLAIN_INO = 10

README_NAME = "README.txt"
AUTH_NAME = ".auth"
TOKEN_NAME = "personal_access_token"  # noqa: S105 - the name of a file

_CHILDREN = {
    ROOT_INO: {README_NAME: README_INO, AUTH_NAME: AUTH_INO},
    AUTH_INO: {
        README_NAME: AUTH_README_INO,
        "explain": EXPLAIN_INO,
        "login": LOGIN_INO,
        "login.sh": SCRIPT_INO,
        TOKEN_NAME: TOKEN_INO,
        "status": STATUS_INO,
        "status.json": STATUS_JSON_INO,
    },
}
_NAMES = {ino: name for children in _CHILDREN.values() for name, ino in children.items()}

_MODES = {
    AUTH_INO: stat.S_IFDIR | 0o555,
    TOKEN_INO: stat.S_IFREG | 0o222,
    LOGIN_INO: stat.S_IFREG | 0o666,
    EXPLAIN_INO: stat.S_IFREG | 0o666,
    SCRIPT_INO: stat.S_IFREG | 0o555,
}
_TEXT_MODE = stat.S_IFREG | 0o444

WRITABLE = frozenset({TOKEN_INO, LOGIN_INO, EXPLAIN_INO})
_VARYING = frozenset({TOKEN_INO, LOGIN_INO, STATUS_INO, STATUS_JSON_INO, EXPLAIN_INO})


@dataclass(frozen=True, slots=True)
class ControlText:
    """The content of an opened control file.

    Attributes:
        is_fixed: the same for everybody and for ever, so that the kernel may keep it.
    """

    content: bytes
    is_fixed: bool


class ControlTree:
    """The control files of a mount."""

    def __init__(self, look: Look, desk: Desk, questions: Questions) -> None:
        self._look = look
        self._desk = desk
        self._questions = questions
        self._texts = {
            README_INO: README.format(place=look.shown_place, outline=look.outline).encode(),
            AUTH_README_INO: AUTH_README.encode(),
            SCRIPT_INO: LOGIN_SCRIPT.encode(),
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
        """What ``stat`` shows."""
        timeout = 0.0 if ino in _VARYING else 60.0
        return Attributes(
            ino,
            mode=_MODES.get(ino, _TEXT_MODE),
            size=len(self._texts.get(ino, b"")),
            mtime=self._look.mounted_at,
            uid=self._look.uid,
            gid=self._look.gid,
            entry_timeout=timeout,
            attr_timeout=timeout,
        )

    async def open(self, uid: int, ino: int, flags: int) -> ControlText | WritingHandle | AskingHandle:
        """The content of a text, or a handle that takes one.

        Raises:
            ReadOnly: a text cannot be written.
            AccessDenied: the token cannot be read, or what ``uid`` writes does not count.
        """
        wanted = flags & os.O_ACCMODE
        if ino == EXPLAIN_INO:
            return AskingHandle(uid, self._questions, EXPLAIN_USAGE.encode())
        if ino == TOKEN_INO:
            if wanted != os.O_WRONLY:
                raise AccessDenied("a token can be written, not read")
            return WritingHandle(self._desk.draft_token(uid))
        if wanted == os.O_RDONLY:
            return await self._text(uid, ino)
        if ino == LOGIN_INO:
            return WritingHandle(self._desk.draft_word(uid), answer=self._desk.get_login_text(uid))
        raise ReadOnly(f"{_NAMES[ino]} is read-only")

    async def _text(self, uid: int, ino: int) -> ControlText:
        fixed = self._texts.get(ino)
        if fixed is not None:
            return ControlText(fixed, is_fixed=True)
        if ino == LOGIN_INO:
            return ControlText(self._desk.get_login_text(uid), is_fixed=False)
        status = await self._desk.resolve_status(uid)
        return ControlText(status.as_json() if ino == STATUS_JSON_INO else status.as_text(), is_fixed=False)

    def check_access(self, ino: int, mode: int) -> None:
        """``access(2)`` on a control file.

        Raises:
            ReadOnly, AccessDenied: as the mode bits say, for root too.
        """
        bits = _MODES.get(ino, _TEXT_MODE)
        if mode & os.R_OK and not bits & 0o444:
            raise AccessDenied("a token can be written, not read")
        if mode & os.X_OK and not bits & 0o111:
            raise AccessDenied("not a program")
        if mode & os.W_OK and ino not in WRITABLE:
            raise ReadOnly("the mount is read-only")
