"""``DATABRICKS_TOKEN`` of the requesting process (``--auth-from-process-env``, off by default).

The difficulty: a process is no identity. It may run for another user than the one who set its environment (a setuid
program carries the caller's variables into root's uid: upstream gave root's slot the attacker's token), may end and
leave its number to another between the request and the look, and may be told by anybody who can start it what to
have in its environment. So a token counts only when real, effective and saved uid of the process and the owner of
its ``/proc`` folder are all the uid that asks, before and after reading; and only when its ``DATABRICKS_HOST`` is this
workspace. What is left of the race is one user's processes against each other, which the README says.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fuse4dbricks.auth.bounded_threads import BoundedThreads
from fuse4dbricks.auth.caller import CALLER_PID
from fuse4dbricks.auth.profiles import Normalise
from fuse4dbricks.auth.source import Outcome, Report, SourceFailure
from fuse4dbricks.errors import ConfigError, InvalidWrite
from fuse4dbricks.tokens import Token

#: The kernel's ARG_MAX bounds arguments and environment together to 2 MiB by default.
MAX_ENVIRONMENT_BYTES = 2 * 1024 * 1024
READ_SECONDS = 2.0
MAX_USERS = 4096

_READ = os.O_RDONLY | os.O_CLOEXEC


class ProcessEnvironment:
    """A token per uid, from the first process of his that had one; read anew when it is refused."""

    name = "DATABRICKS_TOKEN of the requesting process"

    def __init__(
        self, *, host: str, normalise: Normalise, read: Callable[[int, int], dict[bytes, bytes]] | None = None
    ) -> None:
        self._host = host
        self._normalise = normalise
        self._read = read or read_environment
        self._threads: BoundedThreads[int] = BoundedThreads(seconds=READ_SECONDS)
        self._by_uid: dict[int, Token] = {}
        self._reasons: dict[int, str] = {}

    def get_token(self, uid: int) -> Token | None:
        """What was found."""
        return self._by_uid.get(uid)

    def is_due(self, uid: int) -> bool:
        """Never: whether it answers depends on the process, so it comes last and only when nobody else answers."""
        return False

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """The token in the environment of the process that asks, if that is really ``uid``'s."""
        pid = CALLER_PID.get()
        if pid:
            try:
                token = self._token_of(await self._threads.run(uid, lambda: self._read(pid, uid)))
            except SourceFailure as failure:
                self._note(uid, str(failure))
            else:
                if token == rejected:
                    self._by_uid.pop(uid, None)
                    return None
                self._note(uid, None)
                self._by_uid[uid] = token
                return token
        token_before = self._by_uid.get(uid)
        if token_before == rejected:
            self._by_uid.pop(uid, None)
            return None
        return token_before

    def get_report(self, uid: int) -> Report:
        """What was found, or why nothing."""
        if uid in self._by_uid:
            return Report(self.name, Outcome.ANSWERED)
        reason = self._reasons.get(uid)
        return Report(self.name, Outcome.NOT_ASKED if reason is None else Outcome.NOTHING, reason or "")

    def _note(self, uid: int, reason: str | None) -> None:
        self._reasons.pop(uid, None)
        if reason is not None:
            self._reasons[uid] = reason
        for remembered in (self._reasons, self._by_uid):
            while len(remembered) > MAX_USERS:
                remembered.pop(next(iter(remembered)))

    def _token_of(self, environment: dict[bytes, bytes]) -> Token:
        text = environment.get(b"DATABRICKS_TOKEN", b"").strip()
        if not text:
            raise SourceFailure("it is not set")
        try:
            host = self._normalise(environment.get(b"DATABRICKS_HOST", b"").decode("ascii"))
        except (ConfigError, UnicodeDecodeError):
            raise SourceFailure("its DATABRICKS_HOST is not set, or not usable") from None
        if host != self._host:
            raise SourceFailure(f"its DATABRICKS_HOST is {host}, another workspace")
        try:
            return Token(text.decode("ascii"))
        except (InvalidWrite, UnicodeDecodeError):
            raise SourceFailure("it is malformed") from None


def read_environment(pid: int, uid: int) -> dict[bytes, bytes]:
    """The environment of a process that is ``uid`` through and through. Blocks.

    Raises:
        SourceFailure: it is gone, or somebody else's in any respect.
    """
    try:
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise SourceFailure("the process is gone") from None
    try:
        _check_uids(folder, uid)
        content = _read(folder, "environ", MAX_ENVIRONMENT_BYTES)
        # It may have become another program meanwhile; the descriptor still means this very process, or none.
        _check_uids(folder, uid)
    except OSError as error:
        raise SourceFailure(f"the process cannot be looked at: {error.strerror}") from None
    finally:
        os.close(folder)
    pairs = (item.partition(b"=") for item in content.split(b"\0"))
    return {name: value for name, equals, value in reversed(list(pairs)) if equals}


def _check_uids(folder: int, uid: int) -> None:
    status = _read(folder, "status", 64 * 1024)
    line = next((each for each in status.splitlines() if each.startswith(b"Uid:")), b"")
    uids = {int(number) for number in line.split()[1:4]}
    if uids != {uid} or os.fstat(folder).st_uid != uid:
        raise SourceFailure("the process does not run as the asking user in every respect")


def _read(folder: int, name: str, limit: int) -> bytes:
    fd = os.open(name, _READ, dir_fd=folder)
    try:
        content = bytearray()
        while piece := os.read(fd, limit + 1 - len(content)):
            content += piece
        if len(content) > limit:
            raise SourceFailure("its environment is too large")
        return bytes(content)
    finally:
        os.close(fd)
