"""A workspace that takes connections and says nothing: a computer that stands still, a line that swallows everything."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.mounts import mounted, needs_fuse
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME_NAME

#: A call by itself goes on for 25 s; what all calls together know takes 8 at most.
KNOWN = 16.0
BACK = 40.0
SIZE = 3_000_000

pytestmark = needs_fuse


@dataclass
class Other:
    """A workspace in another process, over TLS."""

    process: subprocess.Popen[str]
    url: str
    token: str
    authority: str

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def other(root: Path) -> Iterator[Other]:
    command = [sys.executable, "-m", "fuse4dbricks", "local-workspace", str(root), "--tls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            words = shlex.split(process.stdout.readline())
            yield Other(
                process,
                url=words[words.index("--workspace") + 1],
                token=words[0].partition("=")[2],
                authority=words[words.index("--ca-file") + 1],
            )
        finally:
            process.terminate()


def number_of(file: Path) -> int:
    try:
        file.read_bytes()
    except OSError as error:
        return error.errno or 0
    return 0


def test_reading_what_is_not_there_ends_soon_and_the_next_at_once(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    top = root.joinpath(*VOLUME_NAME.split("."))
    top.mkdir(parents=True)
    contents = {name: os.urandom(SIZE) for name in ("read", "first", "second")}
    for name, content in contents.items():
        (top / name).write_bytes(content)
    with (
        other(root) as workspace,
        mounted(
            workspace.url, tmp_path / "m", "--ca-file", workspace.authority, token=workspace.token
        ) as live,
    ):
        shown = live.path.joinpath(*VOLUME_NAME.split("."))
        assert sorted(each.name for each in shown.iterdir()) == sorted(contents)
        assert (shown / "read").read_bytes() == contents["read"]
        with workspace.frozen():
            began = time.monotonic()
            assert number_of(shown / "first") == errno.EHOSTUNREACH
            assert number_of(shown / "second") == errno.EHOSTUNREACH
            assert time.monotonic() - began < KNOWN
            assert (shown / "read").read_bytes() == contents["read"]
        assert wait_for(lambda: number_of(shown / "second") == 0, BACK)
        assert (shown / "first").read_bytes() == contents["first"]
