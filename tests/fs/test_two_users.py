"""A second local user beside the one who warmed every cache: he sees what his own token may see, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.errors import InvalidToken, NotFound, NoToken, PermissionDenied, RemoteError, Unreachable
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import (
    ADA,
    BOB,
    EVE,
    PERMISSION_TTL,
    VOLUME,
    Call,
    at,
    principal_of,
    token_of,
    workspace_with,
)
from tests.support.kernel import Kernel

OTHER = VOLUME.parent.child("other")
REFUSED = (PermissionDenied, NoToken, InvalidToken)


@asynccontextmanager
async def shared_mount(*, bob_may: bool = False, eve_may: bool = False) -> AsyncIterator[Bench]:
    """Ada has read everything; bob has a token, which may read another volume of the same schema; eve has none."""
    workspace = workspace_with("ada", "bob", "eve")
    workspace.make_folder(OTHER)
    workspace.allow("bob", OTHER)
    if not bob_may:
        workspace.revoke("bob")
    if not eve_may:
        workspace.revoke("eve")
    for name in ("f", "g"):
        workspace.put(at("d", name))
    setting = Setting(workspace, is_shared=True, tree=FakeTree(), grants=FakeGrants())
    async with bench_of(setting) as bench:
        bench.written.set(ADA, token_of("ada"))
        bench.written.set(BOB, token_of("bob"))
        await warm(bench)
        yield bench


async def warm(bench: Bench) -> None:
    ada = Kernel(bench.filesystem, ADA)
    for path in (RemotePath(), VOLUME.parent.parent, VOLUME.parent, VOLUME, at("d")):
        await ada.list_folder(path)
    for name in ("f", "g"):
        await ada.read_file(at("d", name))


Attempt = Callable[[Bench, int], Awaitable[object]]


async def inner_inos(bench: Bench) -> tuple[int, int]:
    """A folder and a file inside the volume, by numbers that the kernel has from ada."""
    ada = Kernel(bench.filesystem, ADA)
    return (await ada.walk(at("d"))).ino, (await ada.walk(at("d", "f"))).ino


async def stat_the_volume(bench: Bench, uid: int) -> object:
    return await Kernel(bench.filesystem, uid).walk(VOLUME)


async def stat_a_file(bench: Bench, uid: int) -> object:
    return await bench.filesystem.getattr(uid, (await inner_inos(bench))[1])


async def look_up_a_file(bench: Bench, uid: int) -> object:
    return await bench.filesystem.lookup(uid, (await inner_inos(bench))[0], b"f")


async def look_up_a_missing_name(bench: Bench, uid: int) -> object:
    return await bench.filesystem.lookup(uid, (await inner_inos(bench))[0], b"none")


async def list_a_folder(bench: Bench, uid: int) -> object:
    return await bench.filesystem.opendir(uid, (await inner_inos(bench))[0])


async def open_a_file(bench: Bench, uid: int) -> object:
    return await bench.filesystem.open(uid, (await inner_inos(bench))[1], os.O_RDONLY)


async def ask_for_access(bench: Bench, uid: int) -> object:
    await bench.filesystem.check_access(uid, (await inner_inos(bench))[1], os.R_OK)
    return None


ATTEMPTS: list[Attempt] = [
    stat_the_volume,
    stat_a_file,
    look_up_a_file,
    look_up_a_missing_name,
    list_a_folder,
    open_a_file,
    ask_for_access,
]


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
@pytest.mark.parametrize("uid", [BOB, EVE], ids=["other-grant", "no-token"])
async def test_nothing_that_somebody_else_warmed_is_shown(attempt: Attempt, uid: int) -> None:
    async with shared_mount() as bench:
        with pytest.raises(REFUSED):
            await attempt(bench, uid)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
async def test_who_may_read_is_shown_what_is_cached_at_the_cost_of_a_proof(attempt: Attempt) -> None:
    async with shared_mount(bob_may=True) as bench:
        await stat_the_volume(bench, BOB)
        before = bench.workspace.count()
        try:
            await attempt(bench, BOB)
        except NotFound:
            assert attempt is look_up_a_missing_name
        assert bench.workspace.count() == before


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
async def test_an_outage_opens_nothing(attempt: Attempt) -> None:
    async with shared_mount(bob_may=True) as bench:
        bench.workspace.down = Unreachable("no route")
        with pytest.raises(Unreachable):
            await attempt(bench, BOB)
        await attempt_as_ada(bench, attempt)


async def attempt_as_ada(bench: Bench, attempt: Attempt) -> None:
    try:
        await attempt(bench, ADA)
    except (NotFound, Unreachable):
        assert attempt is look_up_a_missing_name


async def test_catalogs_and_volumes_are_listed_for_each_by_his_own_rights() -> None:
    async with shared_mount() as bench:
        ada, bob = Kernel(bench.filesystem, ADA), Kernel(bench.filesystem, BOB)
        assert await ada.list_folder(VOLUME.parent) == ["files"]
        assert await bob.list_folder(VOLUME.parent) == ["other"]
        assert await Kernel(bench.filesystem, EVE).list_inode(ROOT_INO) == ["README.txt", ".auth"]


async def test_every_step_of_a_walk_is_asked_for_and_only_what_a_file_is_may_be_kept() -> None:
    """From a folder that somebody holds, a walk passes by no volume: the names inside must be asked for, too."""
    async with shared_mount() as bench:
        ada = Kernel(bench.filesystem, ADA)
        for path in (VOLUME.parent.parent, VOLUME.parent, VOLUME, at("d")):
            shown = await ada.walk(path)
            assert (shown.entry_timeout, shown.attr_timeout) == (0, 0)
        shown = await ada.walk(at("d", "f"))
        assert shown.entry_timeout == 0
        assert shown.attr_timeout > 0


async def test_a_handle_reads_in_the_name_of_who_opened_it_and_a_revocation_ends_it() -> None:
    async with shared_mount() as bench:
        file = (await inner_inos(bench))[1]
        opened = await bench.filesystem.open(ADA, file, os.O_RDONLY)
        assert await bench.filesystem.read(opened.number, 0, 5)
        bench.workspace.revoke("ada")
        bench.clock.step(PERMISSION_TTL)
        with pytest.raises(PermissionDenied):
            await bench.filesystem.read(opened.number, 0, 5)
        bench.written.forget(ADA)
        with pytest.raises(NoToken):
            await bench.filesystem.read(opened.number, 0, 5)


async def test_an_open_folder_is_no_way_round_a_revocation() -> None:
    async with shared_mount() as bench:
        ada, folder = Kernel(bench.filesystem, ADA), (await inner_inos(bench))[0]
        number = await bench.filesystem.opendir(ADA, folder)
        begun = await ada.read_entries(number, 0, 3)
        bench.workspace.revoke("ada")
        bench.clock.step(PERMISSION_TTL)
        for offset in (0, begun[-1][2]):
            with pytest.raises(PermissionDenied):
                await ada.read_entries(number, offset)


@pytest.mark.parametrize("name", [b"f", b"none"])
async def test_a_listing_that_arrives_while_a_stranger_asks_tells_him_nothing(name: bytes) -> None:
    """He finds nothing cached and starts to ask; in that very moment ada's listing arrives.

    Which of the two tasks runs first is trio's dice: over forty folders, both orders come.
    """
    workspace = workspace_with("ada", "bob")
    workspace.revoke("bob")
    folders = [f"d{number}" for number in range(40)]
    for folder in folders:
        workspace.put(at(folder, "f"))
    async with bench_of(Setting(workspace, is_shared=True)) as bench:
        bench.written.set(ADA, token_of("ada"))
        bench.written.set(BOB, token_of("bob"))
        await bench.access.resolve_viewer(BOB)
        inos = [(await Kernel(bench.filesystem, ADA).walk(at(folder))).ino for folder in folders]
        release = trio.Event()

        async def hold(call: Call) -> None:
            if call.token == token_of("ada").reveal():
                await release.wait()

        workspace.before_reply = hold
        for ino in inos:
            release = trio.Event()
            bench.clock.step(6)  # a refusal is believed for five seconds, and would answer at once
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.filesystem.opendir, ADA, ino)
                await wait_all_tasks_blocked()
                nursery.start_soon(be_refused, bench, ino, name)
                release.set()


async def be_refused(bench: Bench, ino: int, name: bytes) -> None:
    with pytest.raises(PermissionDenied):
        await bench.filesystem.lookup(BOB, ino, name)


async def test_every_call_carries_the_token_of_who_asked() -> None:
    async with shared_mount(bob_may=True) as bench:
        bench.workspace.calls.clear()
        bench.clock.step(PERMISSION_TTL)
        await Kernel(bench.filesystem, BOB).read_file(at("d", "f"))
        assert bench.workspace.calls
        assert {call.token for call in bench.workspace.calls} == {token_of("bob").reveal()}


async def test_a_slow_answer_for_one_user_is_no_wait_for_the_other() -> None:
    async with shared_mount(bob_may=True) as bench, trio.open_nursery() as nursery:
        await stat_the_volume(bench, BOB)
        folder = (await inner_inos(bench))[0]

        async def hold_bob(call: Call) -> None:
            if call.token == token_of("bob").reveal():
                await trio.sleep_forever()

        bench.workspace.before_reply = hold_bob
        bench.clock.step(60)
        nursery.start_soon(bench.filesystem.lookup, BOB, folder, b"f")
        await wait_all_tasks_blocked()
        assert (await bench.filesystem.lookup(ADA, folder, b"f")).size == 5
        nursery.cancel_scope.cancel()


# --- any order of events -------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["allow", "revoke"]), st.sampled_from(["ada", "bob"])),
        st.tuples(st.sampled_from(["good", "bad", "none"]), st.sampled_from(["ada", "bob"])),
        st.tuples(st.sampled_from(["stat", "list", "read", "absent"]), st.sampled_from(["ada", "bob"])),
        st.tuples(st.just("wait"), st.sampled_from(["6", "61", "601"])),
    ),
    max_size=30,
)
UID_OF = {"ada": ADA, "bob": BOB}


class Ledger:
    """What the workspace would have said, and until when an older answer may still stand."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.last_right = {"ada": bench.clock.seconds, "bob": bench.clock.seconds}
        self.token: dict[str, str] = {"ada": "good", "bob": "good"}

    def may(self, name: str) -> bool:
        is_reader = (principal_of(name).id, VOLUME) in self.bench.workspace.readers
        return is_reader and self.token[name] == "good"

    def note_time(self) -> None:
        for name in self.last_right:
            if self.may(name):
                self.last_right[name] = self.bench.clock.seconds


async def act(bench: Bench, kind: str, uid: int) -> None:
    kernel = Kernel(bench.filesystem, uid)
    if kind == "stat":
        await kernel.walk(at("d", "f"))
    elif kind == "list":
        assert await kernel.list_folder(at("d")) == ["f", "g"]
    elif kind == "read":
        await kernel.read_file(at("d", "f"))
    else:
        with pytest.raises(NotFound):
            await kernel.walk(at("d", "none"))


def change(bench: Bench, ledger: Ledger, kind: str, name: str) -> None:
    if kind == "allow":
        bench.workspace.allow(name)
    elif kind == "revoke":
        bench.workspace.revoke(name)
    else:
        ledger.token[name] = kind
        if kind == "none":
            bench.written.forget(UID_OF[name])
        else:
            bench.written.set(UID_OF[name], token_of(name) if kind == "good" else Token(f"bad-{name}"))


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_each_sees_what_his_own_token_may_see_within_the_ttl(events: list[tuple[str, str]]) -> None:
    async def main() -> None:
        async with shared_mount(bob_may=True) as bench:
            ledger = Ledger(bench)
            for kind, name in events:
                if kind == "wait":
                    ledger.note_time()
                    bench.clock.step(int(name))
                elif kind in {"stat", "list", "read", "absent"}:
                    await judge(bench, ledger, kind, name)
                    await wait_all_tasks_blocked()
                else:
                    ledger.note_time()
                    change(bench, ledger, kind, name)

    trio.run(main)


async def judge(bench: Bench, ledger: Ledger, kind: str, name: str) -> None:
    try:
        await act(bench, kind, UID_OF[name])
    except (RemoteError, NoToken):
        if ledger.may(name):
            # A refusal is believed for five seconds; after that there is no excuse.
            bench.clock.step(5)
            await act(bench, kind, UID_OF[name])
        return
    if not ledger.may(name):
        assert ledger.token[name] == "good", "a token that is not good opens nothing, however short a time"
        assert bench.clock.seconds - ledger.last_right[name] < PERMISSION_TTL
