"""``--auth-from-process-env``: a token only from a process that is the asking user through and through (row S9)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fuse4dbricks.auth.caller import CALLER_PID
from fuse4dbricks.auth.process_environment import ProcessEnvironment, read_environment
from fuse4dbricks.auth.source import Outcome, SourceFailure
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace.url import parse_workspace_url

HOST = "adb-1.azuredatabricks.net"
ME, OTHER = os.getuid(), 65533
root_only = pytest.mark.skipif(ME != 0, reason="only root can become somebody else")


@contextmanager
def process(uids: tuple[int, int, int] | None = None, /, **environment: str) -> Iterator[int]:
    """A process that waits, with these real, effective and saved uids; its number."""
    code = f"import os, sys; os.setresuid(*{uids}); " if uids else "import sys; "
    child = subprocess.Popen(
        [sys.executable, "-c", code + "print('.', flush=True); sys.stdin.read()"],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        assert child.stdout.readline()
        yield child.pid
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)


def source_for() -> ProcessEnvironment:
    return ProcessEnvironment(host=HOST, normalise=lambda text: parse_workspace_url(text).host)


async def asked_from(source: ProcessEnvironment, pid: int, uid: int = ME) -> Token | None:
    reset = CALLER_PID.set(pid)
    try:
        return await source.fetch_token(uid, rejected=None)
    finally:
        CALLER_PID.reset(reset)


async def test_a_process_of_the_same_user() -> None:
    source = source_for()
    assert source.get_report(ME).outcome is Outcome.NOT_ASKED
    with process(DATABRICKS_TOKEN="t1", DATABRICKS_HOST=f"https://{HOST}/") as pid:
        assert await asked_from(source, pid) == source.get_token(ME) == Token("t1")
    assert source.get_token(OTHER) is None
    assert await asked_from(source, 0) == Token("t1")
    assert source.get_report(ME).outcome is Outcome.ANSWERED


async def test_a_refused_token_is_looked_for_anew() -> None:
    source = source_for()
    with process(DATABRICKS_TOKEN="t1", DATABRICKS_HOST=HOST) as pid:
        await asked_from(source, pid)
        assert await source.fetch_token(ME, rejected=Token("t1")) is None
        assert source.get_token(ME) is None
    with process(DATABRICKS_TOKEN="t2", DATABRICKS_HOST=HOST) as pid:
        assert await asked_from(source, pid) == Token("t2")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"DATABRICKS_TOKEN": "canary"}, "DATABRICKS_HOST is not set"),
        ({"DATABRICKS_TOKEN": "canary", "DATABRICKS_HOST": "adb-2.azuredatabricks.net"}, "another workspace"),
        ({"DATABRICKS_TOKEN": "can ary", "DATABRICKS_HOST": HOST}, "malformed"),
        ({"DATABRICKS_HOST": HOST}, "not set"),
    ],
)
async def test_what_is_no_token_for_this_workspace(environment: dict[str, str], reason: str) -> None:
    source = source_for()
    with process(**environment) as pid:
        assert await asked_from(source, pid) is None
    assert reason in source.get_report(ME).detail
    assert "canary" not in source.get_report(ME).detail


@root_only
@pytest.mark.parametrize("uids", [(OTHER, 0, 0), (0, OTHER, 0), (0, 0, OTHER), (OTHER, OTHER, OTHER)])
@pytest.mark.parametrize("asking", [0, OTHER])
def test_a_setuid_program_is_nobodys(uids: tuple[int, int, int], asking: int) -> None:
    """The attacker's variables in a program that runs as root: root's slot stays empty."""
    with process(uids, DATABRICKS_TOKEN="attackers", DATABRICKS_HOST=HOST) as pid:
        if set(uids) == {asking} and Path(f"/proc/{pid}").stat().st_uid == asking:
            assert read_environment(pid, asking)
        else:
            with pytest.raises(SourceFailure, match="in every respect"):
                read_environment(pid, asking)


def test_a_process_that_is_gone() -> None:
    with process() as pid:
        pass
    with pytest.raises(SourceFailure, match="gone"):
        read_environment(pid, ME)
