"""Each user's own profile, read by a mount of root's."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fuse4dbricks.auth.bounded_threads import BoundedThreads
from fuse4dbricks.auth.homes import HomeProfiles
from fuse4dbricks.auth.renewing import FIRST_PAUSE
from fuse4dbricks.auth.source import Outcome, SourceFailure
from fuse4dbricks.concurrency.supervise import supervised
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from tests.support.fakes import HandClock
from tests.support.signing import site_for, write_private
from tests.support.workspace import Served

ME, OWNER = os.getuid(), 64000


@asynccontextmanager
async def homes_at(workspace: Served, home: Path, mountpoint: Path) -> AsyncIterator[HomeProfiles]:
    async with supervised(Metrics()) as supervisor:
        yield HomeProfiles(
            site_for(workspace), mountpoint=mountpoint, is_ours=lambda _: False, owner_uid=OWNER,
            supervisor=supervisor, find_home=lambda _: home,
        )  # fmt: skip


def clock_of(homes: HomeProfiles) -> HandClock:
    clock = homes._site.clock
    assert isinstance(clock, HandClock)
    return clock


async def test_a_token_in_a_home(workspace: Served, tmp_path: Path) -> None:
    file = write_private(tmp_path / ".databrickscfg", f"[DEFAULT]\nhost={workspace.url}\ntoken=t1\n")
    async with homes_at(workspace, tmp_path, tmp_path / "mnt") as homes:
        assert homes.is_due(ME)
        assert homes.get_token(ME) is None
        assert await homes.fetch_token(ME, rejected=None) == homes.get_token(ME) == Token("t1")
        report = homes.get_report(ME)
        assert report is not None
        assert (report.outcome, report.detail) == (Outcome.ANSWERED, "profile 'DEFAULT', pat")
        # The user has written a new one because the old one is refused.
        write_private(file, f"[DEFAULT]\nhost={workspace.url}\ntoken=t2\n")
        assert await homes.fetch_token(ME, rejected=Token("t1")) == Token("t2")


async def test_the_owner_of_the_mount_has_a_source_of_his_own(workspace: Served, tmp_path: Path) -> None:
    async with homes_at(workspace, tmp_path, tmp_path / "mnt") as homes:
        assert not homes.is_due(OWNER)
        assert await homes.fetch_token(OWNER, rejected=None) is None
        assert homes.get_report(OWNER) is None


async def test_a_service_principal_in_a_home(workspace: Served, tmp_path: Path) -> None:
    client_id, secret = workspace.people.add_service_principal("robot")
    write_private(
        tmp_path / ".databrickscfg",
        f"[DEFAULT]\nhost={workspace.url}\nclient_id={client_id}\nclient_secret={secret}\n",
    )
    async with homes_at(workspace, tmp_path, tmp_path / "mnt") as homes:
        token = await homes.fetch_token(ME, rejected=None)
        assert token is not None
        assert workspace.people.authenticate(token.reveal()) is not None


@pytest.mark.parametrize("kind", ["databricks-cli", "azure-cli"])
async def test_no_program_runs_for_somebody_else(workspace: Served, tmp_path: Path, kind: str) -> None:
    program = tmp_path / "databricks"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    program.chmod(0o755)
    write_private(
        tmp_path / ".databrickscfg",
        f"[DEFAULT]\nhost={workspace.url}\nauth_type={kind}\ndatabricks_cli_path={program}\n",
    )
    async with homes_at(workspace, tmp_path, tmp_path / "mnt") as homes:
        assert await homes.fetch_token(ME, rejected=None) is None
        report = homes.get_report(ME)
        assert report is not None
        assert "only the user who mounts" in report.detail
    assert not (tmp_path / "pwned").exists()


async def test_a_token_for_another_workspace_stays_at_home(workspace: Served, tmp_path: Path) -> None:
    write_private(tmp_path / ".databrickscfg", "[DEFAULT]\nhost=https://other.example\ntoken=canary\n")
    async with homes_at(workspace, tmp_path, tmp_path / "mnt") as homes:
        assert await homes.fetch_token(ME, rejected=None) is None
        report = homes.get_report(ME)
        assert report is not None
        assert "is for other.example, so it is not used here" in report.detail
    assert sum(workspace.counts.values()) == 0


async def test_a_file_that_comes_later_is_seen_after_the_pause(workspace: Served, tmp_path: Path) -> None:
    async with homes_at(workspace, tmp_path, tmp_path / "mnt") as homes:
        assert await homes.fetch_token(ME, rejected=None) is None
        write_private(tmp_path / ".databrickscfg", f"[DEFAULT]\nhost={workspace.url}\ntoken=t1\n")
        assert await homes.fetch_token(ME, rejected=None) is None
        clock_of(homes).step(FIRST_PAUSE)
        assert await homes.fetch_token(ME, rejected=None) == Token("t1")


@pytest.mark.parametrize("below", ["", "main/default/home"])
async def test_a_home_inside_the_mount_is_not_touched(workspace: Served, tmp_path: Path, below: str) -> None:
    """By name, before any system call: a daemon that waits for itself cannot be killed."""
    async with homes_at(workspace, tmp_path / "mnt" / below, tmp_path / "mnt") as homes:
        assert await homes.fetch_token(ME, rejected=None) is None
        report = homes.get_report(ME)
        assert report is not None
        assert "inside this mount" in report.detail


# --- threads that hang ---------------------------------------------------------------------------


async def test_a_thread_that_hangs_costs_its_own_user_only() -> None:
    threads: BoundedThreads[str] = BoundedThreads(seconds=0.05, limit=2)
    let_go = threading.Event()
    try:
        with pytest.raises(SourceFailure, match="no answer") as info:
            await threads.run("mallory", let_go.wait)
        assert info.value.is_outage
        # However often he asks: no second thread is given to him.
        for _ in range(20):
            with pytest.raises(SourceFailure, match="still hangs"):
                await threads.run("mallory", let_go.wait)
        assert await threads.run("ada", lambda: 5) == 5
    finally:
        let_go.set()
    with trio.fail_after(10):
        while True:
            try:
                assert await threads.run("mallory", lambda: 6) == 6
            except SourceFailure:
                await trio.lowlevel.checkpoint()
            else:
                break
