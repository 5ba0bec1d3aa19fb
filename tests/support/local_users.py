"""Other local users: processes that act under another uid in a mount, and keep what they hold.

The difficulty: what somebody may still do after he lost a right depends on what he holds: a descriptor, a working
folder, a mapping. So each user is one process for the length of a test, which is told line by line what to do and
answers with a value or an errno. It becomes that user after its start, because a user need not be able to read the
interpreter's folder; and it is a process, because a read through ``mmap`` keeps the interpreter lock.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

#: Uids that no test machine gives a name to.
ALICE, BOB, CAROL = 61_001, 61_002, 61_003

ANSWER_TIMEOUT = 40.0

_LOOP = """
import array, errno, json, mmap, os, socket, stat, sys, threading, time
uid = int(sys.argv[1])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
os.chdir(sys.argv[2])
here = {name: globals()[name] for name in ("array", "errno", "mmap", "os", "socket", "stat", "threading", "time")}
for line in sys.stdin:
    try:
        exec(json.loads(line), here)
        answer = {"value": here.pop("out", None)}
    except OSError as error:
        answer = {"errno": error.errno}
    print(json.dumps(answer), flush=True)
"""


class LocalUser:
    """One local user. What ``out`` is set to by a piece of code is what he answers."""

    class Killed(Exception):
        """His process was ended by signal ``number``."""

        def __init__(self, number: int) -> None:
            super().__init__(f"killed by {signal.Signals(number).name}")
            self.number = number

    def __init__(self, uid: int, folder: Path) -> None:
        self.uid = uid
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LOOP, str(uid), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(ANSWER_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(ANSWER_TIMEOUT)
        self._process.stdout.close()

    def do(self, code: str, **names: Any) -> Any:
        """Run a piece of code with ``os``, ``mmap`` and what earlier pieces left; returns its ``out``.

        Raises:
            OSError: as it did there.
            Killed: it ended the process.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        self._process.stdin.write(json.dumps(given + code).encode() + b"\n")
        self._process.stdin.flush()
        assert select.select([self._process.stdout], [], [], ANSWER_TIMEOUT)[0], f"stuck in: {code}"
        line = self._process.stdout.readline()
        if not line:
            raise self.Killed(-self._process.wait(ANSWER_TIMEOUT))
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], f"uid {self.uid}: {code}")
        return answer["value"]

    def fail(self, code: str, **names: Any) -> str:
        """The name of the errno that it fails with; ``""`` when it works."""
        try:
            self.do(code, **names)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    def write_token(self, mountpoint: Path, token: str) -> None:
        """Present himself to the mount."""
        self.do(
            "with open(path, 'w') as stream: stream.write(token + chr(10))",
            path=str(mountpoint / ".auth/personal_access_token"),
            token=token,
        )


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every local user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="fuse4dbricks-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


#: Put it on tests that act as other users.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as other users takes root")
