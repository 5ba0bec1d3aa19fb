"""Device logins that outlive the mount (``--keep-logins``, off by default).

The difficulty: a kept login holds a refresh token, which is good for months and for whoever reads it. So each is a
file of its own in the cache folder, 0600 from its first moment on, written whole or not at all, and taken up again
only by the same local user, for the same workspace, at the same Entra tenant and for the same client.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

#: msal keeps an access, a refresh and an id token: about 8 KB.
MAX_FILE_BYTES = 1024 * 1024

_NAME = re.compile(r"login-(\d{1,10})\.json")


@dataclass(frozen=True, slots=True)
class KeptLogins:
    """The kept logins of one cache folder. Every method blocks.

    Attributes:
        folder: descriptor of the cache folder.
        purpose: workspace, authority, tenant and client that a login is good for.
    """

    folder: int
    purpose: tuple[str, ...]

    def load(self) -> Iterator[tuple[int, str]]:
        """(uid, serialised login) of all that serve this purpose; what is not as it was written is passed by."""
        for name in os.listdir(self.folder):  # noqa: PTH208 - Path takes no descriptor
            match = _NAME.fullmatch(name)
            kept = self._load_one(name) if match else None
            if match and kept is not None:
                yield int(match[1]), kept

    def save(self, uid: int, login: str) -> None:
        """Keep it, in place of an older one.

        Raises:
            OSError: the folder does not take it; the older one stays.
        """
        content = json.dumps({"purpose": self.purpose, "login": login}).encode()
        temporary = f"login-{uid}.{secrets.token_hex(8)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=self.folder)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, f"login-{uid}.json", src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self.folder)
            raise

    def forget(self, uid: int) -> None:
        """Keep none of his."""
        with suppress(FileNotFoundError):
            os.unlink(f"login-{uid}.json", dir_fd=self.folder)

    def forget_all(self) -> None:
        """Keep none, nor what a crash left half-written: the flag is off now."""
        for name in os.listdir(self.folder):  # noqa: PTH208 - Path takes no descriptor
            if name.startswith("login-") and name.endswith((".json", ".tmp")):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self.folder)

    def _load_one(self, name: str) -> str | None:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.folder)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as stream:
            status = os.fstat(stream.fileno())
            is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
            if not is_ours or stat.S_IMODE(status.st_mode) & 0o077:
                return None
            content = stream.read(MAX_FILE_BYTES + 1)
        try:
            kept = json.loads(content) if len(content) <= MAX_FILE_BYTES else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(kept, dict) or kept.get("purpose") != list(self.purpose):
            return None
        login = kept.get("login")
        return login if isinstance(login, str) else None
