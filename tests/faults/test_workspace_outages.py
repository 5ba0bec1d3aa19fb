"""Many callers at once, and no way to the workspace (faults.md N4, N5, N7, N8)."""

from __future__ import annotations

import datetime as dt
import random
import socket
import ssl
from pathlib import Path

import pytest
import trio

from fuse4dbricks.clock import SystemClock
from fuse4dbricks.devworkspace import body_effects, effects
from fuse4dbricks.devworkspace.certificates import make_certificate
from fuse4dbricks.devworkspace.faults import Effect
from fuse4dbricks.devworkspace.gates import ConcurrencyGate, QpsGate
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    Unreachable,
)
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace import Limits, Patience, Ticket, Workspace
from tests.support.wire_client import (
    CONTENT,
    FILE,
    GET,
    HASTY,
    MODIFIED,
    VOLUME,
    client,
    put,
    read,
    server,
)
from tests.support.workspace import Served, serve

__all__ = ["server"]

# --- N4, N7: many at once ------------------------------------------------------------------------


async def test_the_services_limits_are_found_once_and_then_never_hit(server: Served) -> None:
    gate, rate = ConcurrencyGate(10), QpsGate(100)
    for effect in (gate, rate, effects.Latency(0.01)):
        server.faults.add(effect, kind="fs.*")
    metrics = Metrics()

    async def ask(count: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                if number % 3:
                    nursery.start_soon(read, workspace, token, number, number + 1000)
                else:
                    nursery.start_soon(workspace.files.fetch_page, token, VOLUME)

    async with client(server, metrics=metrics, patience=Patience()) as (workspace, token):
        await ask(250)
        # This service counts by the second, which the first burst finds out: what was in flight then is asked again.
        found_out = metrics.get("remote.throttled")
        assert found_out == rate.refused <= 10
        await ask(250)
    assert metrics.get("remote.throttled") == found_out
    assert gate.refused == 0
    assert metrics.get("remote.calls") == 500 + found_out
    assert server.journal.get_peaks()[GET] <= 8


async def test_a_stuck_download_does_not_hold_up_listings(server: Served) -> None:
    hang = server.faults.add(effects.Hang(), kind=GET)
    async with client(server, patience=Patience()) as (workspace, token), trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read, workspace, token)
        await until_in_flight(server, 8)
        assert (await workspace.files.fetch_page(token, VOLUME)).entries
        hang.remove()


async def until_in_flight(server: Served, count: int) -> None:
    def is_so() -> bool:
        return server.journal.wait_until(lambda journal: journal.get_in_flight()[GET] == count)

    assert await trio.to_thread.run_sync(is_so)


async def test_leaving_a_download_ends_it_for_the_server_too(server: Served) -> None:
    server.faults.add(body_effects.Bandwidth(200_000), kind=GET)
    async with client(server, limits=Limits(files_in_flight=1, data_in_flight=1)) as (workspace, token):
        version = Version(len(CONTENT), MODIFIED)
        for _ in range(3):
            async with workspace.files.stream_range(
                token, FILE, 0, len(CONTENT), version, Ticket()
            ) as pieces:
                assert CONTENT.startswith(await anext(pieces))
            await until_in_flight(server, 0)
    assert server.journal.get_bytes()[GET] < len(CONTENT)


async def test_cancelling_at_random_loses_no_slot_and_no_connection(server: Served) -> None:
    server.faults.add(body_effects.Bandwidth(5_000_000), kind=GET)
    dice = random.Random(3)
    limits = Limits(files_in_flight=4, data_in_flight=3)

    async def impatient(workspace: Workspace, token: Token, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await read(workspace, token)

    async with client(server, limits=limits, patience=Patience()) as (workspace, token):
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(impatient, workspace, token, dice.uniform(0, 0.3))
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(read, workspace, token)
                nursery.start_soon(workspace.files.fetch_page, token, VOLUME)


# --- N5, N8: no way there ------------------------------------------------------------------------


async def test_a_refused_connection(server: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with Workspace.at(
        f"http://127.0.0.1:{port}", clock=SystemClock(), metrics=Metrics(), patience=HASTY
    ) as workspace:
        with pytest.raises(Unreachable):
            await workspace.identity.fetch_principal(Token(server.token))


async def test_a_black_hole() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        url = f"https://127.0.0.1:{hole.getsockname()[1]}"
        patience = Patience(connect=0.1, response=0.5, total=1.5, first_pause=0.01)
        async with Workspace.at(url, clock=SystemClock(), metrics=Metrics(), patience=patience) as workspace:
            with pytest.raises(Unreachable):
                await workspace.identity.fetch_principal(Token("dapi0"))


@pytest.mark.parametrize(
    "effect", [effects.Status(status=503), effects.Status(status=500), effects.Redirect(), effects.Page()]
)
async def test_who_is_asked_without_a_token(server: Served, effect: Effect) -> None:
    """The service refuses, which will do; a gateway or a portal says something else."""
    async with client(server) as (workspace, _):
        assert workspace.door is not None
        server.journal.clear()
        await workspace.door.ask()
        throttling = server.faults.add(effects.Status(status=429))
        await workspace.door.ask()
        throttling.remove()
        server.faults.add(effect)
        with pytest.raises(Unreachable):
            await workspace.door.ask()
        server.faults.clear()
        server.go_down()
        try:
            with pytest.raises(Unreachable):
                await workspace.door.ask()
        finally:
            server.come_back()
        records = server.journal.get_log()
        assert len(records) == 3
        assert all(record.token is None for record in records)


async def test_a_name_that_does_not_resolve() -> None:
    url = "https://does-not-exist.invalid"
    async with Workspace.at(url, clock=SystemClock(), metrics=Metrics(), patience=HASTY) as workspace:
        with pytest.raises(Unreachable):
            await workspace.identity.fetch_principal(Token("dapi0"))


NOW = dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    "names, not_after, trusts",
    [
        (("127.0.0.1",), None, False),
        (("other.example",), None, True),
        (("127.0.0.1",), NOW - dt.timedelta(days=1), True),
    ],
    ids=["unknown authority", "another name", "expired"],
)
async def test_a_certificate_that_is_not_good_never_sees_the_token(
    tmp_path: Path, names: tuple[str, ...], not_after: dt.datetime | None, trusts: bool
) -> None:
    not_before = None if not_after is None else not_after - dt.timedelta(days=1)
    certificate = make_certificate(tmp_path / "pki", names, not_before=not_before, not_after=not_after)
    with serve(tmp_path / "tree", certificate=certificate) as server:
        trust = ssl.create_default_context()
        if trusts:
            trust.load_verify_locations(certificate.authority)
        async with client(server, verify=trust) as (workspace, token):
            with pytest.raises(Unreachable, match="certificate"):
                await workspace.identity.fetch_principal(token)
        assert server.log == []


async def test_ssl_cert_file_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path, tls=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority_file))
        async with client(server) as (workspace, token):
            assert (await workspace.identity.fetch_principal(token)).user_name == server.user


async def test_the_server_goes_away_and_comes_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with serve(tmp_path, port=port) as server:
        put(server)
        async with client(server) as (workspace, token):
            assert await read(workspace, token) == CONTENT
            server.stop()
            with pytest.raises(Unreachable):
                await read(workspace, token)
            with serve(tmp_path, port=port, token=server.token):
                assert await read(workspace, token) == CONTENT
