"""Who he was, when no token of his can be had: only with the same credential, only for a while, only in an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.auth.owned import OwnedSource
from fuse4dbricks.auth.renewing import Renewing
from fuse4dbricks.auth.source import Issued, Refusals, SourceFailure
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.concurrency.supervise import supervised
from fuse4dbricks.errors import InvalidToken, NotAsked, NoToken, RemoteError, Unreachable
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Credential, StandIn, Token, Viewer
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, VOLUME, at, principal_of, token_of, workspace_with

GRACE = 8 * 3600.0
DOWN = Unreachable("no route")
SECRET = Credential("m2m", "client", "secret")


@dataclass
class Issuer:
    """Makes Ada's tokens from a credential, while there is a network."""

    connectivity: Connectivity
    setting: Setting
    credential: Credential = SECRET
    refusal: str = ""
    made: list[Token] = field(default_factory=list)

    async def issue(self, _forced: bool) -> Issued:
        await trio.lowlevel.checkpoint()
        try:
            with self.connectivity.reaching():
                pass
        except Unreachable as error:
            raise SourceFailure(str(error), is_outage=True, credential=self.credential) from None
        if self.refusal:
            raise SourceFailure(self.refusal, credential=self.credential)
        token = Token(f"made-{len(self.setting.workspace.people)}")
        self.setting.workspace.people[token] = principal_of("ada")
        self.made.append(token)
        return Issued(token, 3600.0, credential=self.credential)


@dataclass
class Mount:
    """One run of a mount."""

    bench: Bench
    issuer: Issuer

    def go_down(self) -> None:
        self.bench.workspace.down = DOWN
        self.bench.connectivity.note_failure(DOWN, 1e9)

    def come_back(self) -> None:
        self.bench.workspace.down = None
        self.bench.connectivity.note_answer()

    async def read(self, uid: int = ADA) -> Viewer:
        viewer = await self.bench.access.resolve_viewer(uid)
        await self.bench.access.require(viewer, VOLUME)
        return viewer


@asynccontextmanager
async def mount(
    setting: Setting, *, is_down: bool = False, credential: Credential = SECRET
) -> AsyncIterator[Mount]:
    async with supervised(Metrics()) as supervisor:
        connectivity, refusals = Connectivity(setting.clock), Refusals()
        issuer = Issuer(connectivity, setting, credential)
        renewing = Renewing(
            "m2m",
            issuer.issue,
            supervisor=supervisor,
            clock=setting.clock,
            weather=connectivity,
            refusals=refusals,
        )
        setting.sources = [OwnedSource(renewing, owner_uid=ADA)]
        setting.connectivity = connectivity
        async with bench_of(setting) as bench:
            refusals.tell(bench.access.note_refused)
            run = Mount(bench, issuer)
            if is_down:
                run.go_down()
            yield run
            await wait_all_tasks_blocked()


@pytest.fixture
def setting() -> Setting:
    made = Setting(workspace_with("ada", "bob"), tree=FakeTree(), grants=FakeGrants())
    made.workspace.put(at("f"))
    return made


async def proved(setting: Setting) -> None:
    async with mount(setting) as run:
        await run.read()
    setting.workspace.calls.clear()


async def test_with_the_same_credential_he_is_who_he_was(setting: Setting) -> None:
    await proved(setting)
    setting.clock.step(PERMISSION_TTL + 60)
    async with mount(setting, is_down=True) as run:
        viewer = await run.read()
        assert isinstance(viewer.token, StandIn)
        assert viewer.principal == principal_of("ada")
        assert setting.workspace.count() == 0
        with pytest.raises(NoToken):
            await run.read(BOB)


async def test_what_stands_for_a_token_cannot_be_sent(setting: Setting) -> None:
    await proved(setting)
    async with mount(setting, is_down=True) as run:
        viewer = await run.read()
        with pytest.raises(NotAsked):
            viewer.token.reveal()
        assert "secret" not in f"{viewer.token} {viewer.token!r} {viewer.token.credential!r}"


async def test_another_credential_is_nobody(setting: Setting) -> None:
    await proved(setting)
    async with mount(setting, is_down=True, credential=Credential("m2m", "client", "other")) as run:
        with pytest.raises(RemoteError):
            await run.read()


async def test_past_the_grace_nothing_is_served(setting: Setting) -> None:
    await proved(setting)
    setting.clock.step(PERMISSION_TTL + GRACE - 1)
    async with mount(setting, is_down=True) as run:
        await run.read()
        setting.clock.step(1)
        with pytest.raises(Unreachable):
            await run.read()


async def test_a_clock_that_has_gone_back_voids_it(setting: Setting) -> None:
    await proved(setting)
    setting.clock.wall_at -= 3600
    async with mount(setting, is_down=True) as run:
        with pytest.raises(Unreachable):
            await run.read()


async def test_with_a_network_there_is_no_standing_in(setting: Setting) -> None:
    await proved(setting)
    async with mount(setting, is_down=True) as run:
        assert isinstance((await run.read()).token, StandIn)
        run.come_back()
        viewer = await run.read()
        assert viewer.token == run.issuer.made[-1], "at once"


async def test_a_credential_that_its_issuer_refuses_is_nobody_from_then_on(setting: Setting) -> None:
    await proved(setting)
    async with mount(setting) as run:
        run.issuer.refusal = "invalid_client"
        with pytest.raises(NoToken):
            await run.read()
        run.go_down()
        for _ in range(3):
            setting.clock.step(400)
            with pytest.raises((NoToken, RemoteError)):
                await run.read()
    async with mount(setting, is_down=True) as run:
        with pytest.raises(RemoteError):
            await run.read()


@pytest.mark.parametrize("refusal", ["token", "volume"])
async def test_a_refusal_by_the_workspace_ends_it(setting: Setting, refusal: str) -> None:
    async with mount(setting) as run:
        viewer = await run.read()
        if refusal == "token":
            run.bench.access.note_error(viewer, VOLUME, InvalidToken("401"))
        else:
            setting.workspace.revoke("ada")
            setting.clock.step(PERMISSION_TTL)
            with pytest.raises(RemoteError):
                await run.read()
    async with mount(setting, is_down=True) as run:
        with pytest.raises(RemoteError):
            await run.read()


async def test_a_token_that_ends_in_an_outage_goes_on(setting: Setting) -> None:
    async with mount(setting) as run:
        viewer = await run.read()
        run.go_down()
        setting.clock.step(4000)
        assert (await run.read()).token == viewer.token
        run.come_back()
        assert (await run.read()).token != viewer.token


async def test_no_row_of_the_index_says_more_than_a_keyed_hash(setting: Setting) -> None:
    await proved(setting)
    assert setting.grants is not None
    text = repr((setting.grants.proofs, setting.grants.principals))
    assert "secret" not in text
    assert "made-" not in text
    assert token_of("ada").reveal() not in text
