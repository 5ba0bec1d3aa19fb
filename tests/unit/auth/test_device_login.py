"""The device login from the first call to a silent renewal, with the real msal against a fake Entra over TLS."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.auth.entra import AZURE_CLI_CLIENT, Account, EntraSite, discover_tenant, fetch_service_token
from fuse4dbricks.auth.kept_logins import KeptLogins
from fuse4dbricks.auth.logins import DeviceLogins, LoginState, Phase
from fuse4dbricks.auth.renewing import STALE_SECONDS
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Outcome, SourceFailure
from fuse4dbricks.concurrency.supervise import supervised
from fuse4dbricks.devworkspace.effects import Hang, Page, Reset, Status
from fuse4dbricks.errors import Unreachable
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.fakes import HandClock
from tests.support.signing import site_for
from tests.support.workspace import Served, serve

ADA, BOB = 1001, 1002


@pytest.fixture
def clock() -> MockClock:
    """Ten seconds of waiting between polls for each second; what msal does in its thread takes its time."""
    return MockClock(rate=10)


@pytest.fixture
def entra(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "tree", tls=True) as running:
        running.behaviour.device_interval = 1
        yield running


async def reach(condition: Callable[[], object]) -> None:
    """Wait for what msal's thread and another process's worth of TLS bring about."""
    with trio.fail_after(300):
        while not condition():  # noqa: ASYNC110 - no event tells of it; 20 ms of real time
            await trio.sleep(0.2)


@dataclass
class Desk:
    """Logins, and what a test does with them."""

    logins: DeviceLogins
    clock: HandClock
    entra: Served

    async def until(self, *phases: Phase, uid: int = ADA) -> LoginState:
        await reach(lambda: self.logins.get_state(uid).phase in phases)
        return self.logins.get_state(uid)

    async def until_polled(self, times: int) -> None:
        polls = self.entra.counts["entra.token"] + times
        await reach(lambda: self.entra.counts["entra.token"] >= polls)

    async def begin(self, uid: int = ADA) -> LoginState:
        self.logins.start(uid)
        return await self.until(Phase.WAITING, Phase.FAILED, uid=uid)

    async def sign_in(self, uid: int = ADA) -> LoginState:
        state = await self.begin(uid)
        self.entra.entra.approve(state.code, self.entra.user)
        return await self.until(Phase.DONE, Phase.FAILED, uid=uid)


@asynccontextmanager
async def desk_of(
    entra: Served, *, kept: KeptLogins | None = None, site: Callable[[], EntraSite] | None = None
) -> AsyncIterator[Desk]:
    hand_clock = HandClock()
    find_site = site or (lambda: site_for(entra).entra)
    async with supervised(Metrics()) as supervisor:
        logins = DeviceLogins(
            lambda login: Account(find_site, AZURE_CLI_CLIENT, login),
            supervisor=supervisor,
            clock=hand_clock,
            kept=kept,
        )
        await logins.take_up_kept()
        yield Desk(logins, hand_clock, entra)


async def test_a_login_from_beginning_to_end(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        assert desk.logins.get_state(ADA).phase is Phase.NONE
        desk.logins.start(ADA)
        assert desk.logins.get_state(ADA).phase is Phase.STARTING
        waiting = await desk.until(Phase.WAITING)
        assert waiting.url == f"{entra.authority}/devicelogin"
        assert waiting.code == entra.entra.get_logins()[0].user_code
        assert waiting.url in waiting.message
        assert waiting.code in waiting.message
        assert waiting.ends_at == pytest.approx(desk.clock.wall() + entra.behaviour.device_lifetime)
        assert desk.logins.get_report(ADA).outcome is Outcome.WAITING
        assert desk.logins.get_token(ADA) is None

        # authorization_pending, then slow_down, then an outage: none of them ends it.
        await desk.until_polled(1)
        entra.entra.answer_next_with("slow_down")
        await desk.until_polled(1)
        entra.faults.add(Reset(), kind="entra.token", times=1)
        await desk.until_polled(1)
        assert desk.logins.get_state(ADA).phase is Phase.WAITING

        entra.entra.approve(waiting.code, entra.user)
        done = await desk.until(Phase.DONE, Phase.FAILED)
        assert (done.phase, done.message) == (Phase.DONE, f"signed in as {entra.user}")
        token = desk.logins.get_token(ADA)
        assert token is not None
        known = entra.people.authenticate(token.reveal())
        assert known is not None
        assert known.user_name == entra.user
        # It is Ada's alone.
        assert desk.logins.get_token(BOB) is None
        assert desk.logins.get_report(BOB).outcome is Outcome.NOTHING


async def test_a_silent_renewal_later(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        await desk.sign_in()
        first = desk.logins.get_token(ADA)
        polls = entra.counts["entra.token"]
        desk.clock.step(3600 - STALE_SECONDS)
        assert desk.logins.get_token(ADA) == first
        await reach(lambda: desk.logins.get_token(ADA) != first)
        second = desk.logins.get_token(ADA)
        assert second is not None
        assert entra.people.authenticate(second.reveal()) is not None
        assert entra.counts["entra.token"] == polls + 1
        # And when the workspace refuses it: at once, by the refresh token again.
        third = await desk.logins.fetch_token(ADA, rejected=second)
        assert third not in {None, first, second}
        assert desk.logins.get_report(ADA).outcome is Outcome.ANSWERED


async def test_a_refresh_token_that_was_revoked(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        await desk.sign_in()
        entra.entra.revoke_refresh_tokens()
        desk.clock.step(4000)
        assert await desk.logins.fetch_token(ADA, rejected=None) is None
        report = desk.logins.get_report(ADA)
        assert report.outcome is Outcome.FAILED
        assert "invalid_grant" in report.detail
        assert "log in again" in report.detail
        # Which helps.
        await desk.sign_in()
        assert desk.logins.get_token(ADA) is not None


async def test_entra_out_of_reach_is_no_denial(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        await desk.sign_in()
        token = desk.logins.get_token(ADA)
        entra.go_down()
        desk.clock.step(4000)
        # The expired one says who reads what is cached; there is no other.
        assert await desk.logins.fetch_token(ADA, rejected=None) == token
        with pytest.raises(Unreachable):
            await desk.logins.fetch_token(ADA, rejected=token)


async def test_declined(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        waiting = await desk.begin()
        entra.entra.decline(waiting.code)
        failed = await desk.until(Phase.FAILED, Phase.DONE)
        assert (failed.phase, failed.message) == (Phase.FAILED, "the login was declined")
        assert desk.logins.get_report(ADA).outcome is Outcome.FAILED


async def test_expired_by_entras_word(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        await desk.begin()
        entra.entra.answer_next_with("expired_token")
        failed = await desk.until(Phase.FAILED, Phase.DONE)
        assert failed.message == "the code has expired before anybody signed in"


async def test_expired_by_the_clock(entra: Served, clock: MockClock) -> None:
    entra.behaviour.device_lifetime = 5
    async with desk_of(entra) as desk:
        await desk.begin()
        entra.faults.add(Status(status=503), kind="entra.token")
        failed = await desk.until(Phase.FAILED, Phase.DONE)
        assert failed.message == "the code has expired before anybody signed in"


async def test_a_login_under_way_goes_on_with_its_code(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        first = await desk.begin()
        assert await desk.begin() == first
        assert len(entra.entra.get_logins()) == 1


async def test_cancelled_and_begun_again(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        first = await desk.begin()
        desk.logins.cancel(ADA)
        assert desk.logins.get_state(ADA) == LoginState(Phase.FAILED, "the login was cancelled")
        second = await desk.begin()
        assert second.code != first.code
        entra.entra.approve(second.code, entra.user)
        assert (await desk.until(Phase.DONE, Phase.FAILED)).phase is Phase.DONE


async def test_logged_out(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra) as desk:
        await desk.sign_in()
        desk.logins.log_out(ADA)
        assert desk.logins.get_token(ADA) is None
        assert desk.logins.get_state(ADA).phase is Phase.NONE
        assert await desk.logins.fetch_token(ADA, rejected=None) is None


@pytest.mark.parametrize(
    ("effect", "kind"),
    [
        (Status(status=503), "entra.discovery"),
        (Page(status=200), "entra.discovery"),
        (Status(status=503), "entra.devicecode"),
        (Page(status=200), "entra.devicecode"),
        (Reset(), "entra.devicecode"),
    ],
)
async def test_no_code_can_be_had(entra: Served, clock: MockClock, effect: object, kind: str) -> None:
    fault = entra.faults.add(effect, kind=kind)  # type: ignore[arg-type]  # one of the effects above
    async with desk_of(entra) as desk:
        failed = await desk.begin()
        assert failed.phase is Phase.FAILED
        assert failed.message
        assert fault.fired


async def test_a_certificate_that_is_not_trusted(entra: Served, clock: MockClock) -> None:
    async with desk_of(entra, site=lambda: EntraSite(entra.url, entra.settings.tenant)) as desk:
        failed = await desk.begin()
        assert failed.phase is Phase.FAILED
        assert "certificate is not trusted" in failed.message


async def test_no_secret_is_told(entra: Served, clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Weakness 25: upstream printed msal's whole answer."""
    with caplog.at_level(logging.DEBUG, logger="fuse4dbricks"):
        async with desk_of(entra) as desk:
            state = await desk.sign_in()
            token = desk.logins.get_token(ADA)
            assert token is not None
            await desk.logins.fetch_token(ADA, rejected=token)
            told = [caplog.text, repr(state), repr(desk.logins.get_report(ADA)), repr(desk.logins)]
    assert caplog.text
    login = entra.log
    assert login
    assert not [text for text in told if token.reveal() in text]


# --- kept over restarts --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "cache").mkdir(mode=0o700)
    fd = os.open(tmp_path / "cache", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


async def test_a_kept_login_is_taken_up_without_a_person(
    entra: Served, clock: MockClock, folder: int, tmp_path: Path
) -> None:
    kept = KeptLogins(folder, ("host", "authority"))
    async with desk_of(entra, kept=kept) as desk:
        await desk.sign_in()
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name == f"login-{ADA}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    logins = len(entra.entra.get_logins())
    async with desk_of(entra, kept=kept) as desk:
        assert desk.logins.is_due(ADA)
        token = await desk.logins.fetch_token(ADA, rejected=None)
        assert token is not None
        assert entra.people.authenticate(token.reveal()) is not None
        assert not desk.logins.is_due(BOB)
    assert len(entra.entra.get_logins()) == logins

    for other in (KeptLogins(folder, ("other host", "authority")), KeptLogins(folder, ("host",))):
        assert not list(other.load())
    kept.forget_all()
    assert not list((tmp_path / "cache").iterdir())


async def test_who_logs_out_while_his_login_is_renewed_is_not_kept(
    entra: Served, clock: MockClock, folder: int, tmp_path: Path
) -> None:
    async with desk_of(entra, kept=KeptLogins(folder, ("host",))) as desk:
        await desk.sign_in()
        token = desk.logins.get_token(ADA)
        silence = entra.faults.add(Hang(), kind="entra.token")

        async def renew() -> None:
            await desk.logins.fetch_token(ADA, rejected=token)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(renew)
            await reach(lambda: silence.fired)
            desk.logins.log_out(ADA)
            await reach(lambda: not list((tmp_path / "cache").iterdir()))
            silence.remove()
        assert not list((tmp_path / "cache").iterdir())


def test_only_what_was_written_so_is_taken_up(folder: int, tmp_path: Path) -> None:
    kept = KeptLogins(folder, ("host",))
    kept.save(ADA, "a login")
    assert list(kept.load()) == [(ADA, "a login")]
    file = tmp_path / "cache" / f"login-{ADA}.json"
    content = file.read_bytes()
    file.chmod(0o640)
    assert not list(kept.load())
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(content)
    (tmp_path / "elsewhere").chmod(0o600)
    assert not list(kept.load())
    file.unlink()
    for broken in (b"", b"{", b"[]", b'{"purpose": ["host"]}', b'{"purpose": ["host"], "login": 5}'):
        file.write_bytes(broken)
        file.chmod(0o600)
        assert not list(kept.load())
    kept.forget(ADA)
    kept.forget(ADA)


# --- service principals, tenants -----------------------------------------------------------------


async def test_a_service_principal(entra: Served) -> None:
    client_id, secret = entra.people.add_service_principal("robot")
    site = site_for(entra).entra
    issued = await trio.to_thread.run_sync(lambda: fetch_service_token(site, client_id, Secret(secret)))
    known = entra.people.authenticate(issued.token.reveal())
    assert known is not None
    assert known.user_name == client_id
    assert issued.lifetime == pytest.approx(3600, abs=2)
    with pytest.raises(SourceFailure, match="invalid_client") as info:
        await trio.to_thread.run_sync(lambda: fetch_service_token(site, client_id, Secret("canary")))
    assert "canary" not in str(info.value)
    assert not info.value.is_outage


async def test_the_tenant_is_that_of_the_workspace(entra: Served) -> None:
    site = site_for(entra)
    assert (
        await trio.to_thread.run_sync(lambda: discover_tenant(site.base, site.verify))
        == entra.settings.tenant
    )
    entra.behaviour.login_url = "https://login.example/..%2f.."
    found = await trio.to_thread.run_sync(lambda: discover_tenant(site.base, site.verify))
    assert found == "organizations"
