"""Two users, three tokens each, two volumes, in any order of events, against a reference of who may read what.

S1, S3 and S5 of the list of faults. Each success must be one that the user's own present token was good for within the
TTL; each refusal, once a remembered one has had its five seconds, one that a fresh question would get as well. For
the figure of the list set FUSE4DBRICKS_MODEL_EXAMPLES=5000, which is a quarter of a million steps.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.errors import InvalidToken, NotFound, NoToken, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token
from tests.support.fakes import (
    ADA,
    BOB,
    PERMISSION_TTL,
    VOLUME,
    Bench,
    FakeGrants,
    FakeTree,
    FakeWorkspace,
    Setting,
    bench_of,
    principal_of,
    token_of,
    workspace_with,
)
from tests.support.kernel import Kernel

EXAMPLES = int(os.environ.get("FUSE4DBRICKS_MODEL_EXAMPLES", "120"))
REFUSAL_SECONDS = 5

UIDS = {"ada": ADA, "bob": BOB}
VOLUMES = [VOLUME, VOLUME.parent.child("other")]
TOKENS = {
    "ada": token_of("ada"),
    "bob": token_of("bob"),
    "ada again": Token("ada-second"),
    "bad": Token("made-up"),
}
PRINCIPALS = {
    TOKENS["ada"]: principal_of("ada").id,
    TOKENS["ada again"]: principal_of("ada").id,
    TOKENS["bob"]: principal_of("bob").id,
}

#: What was done in all examples together.
counted: Counter[str] = Counter()


@dataclass
class Held:
    """What the kernel and the users hold of one volume: numbers that outlive any right."""

    folder: int
    file: int
    handles: dict[int, int] = field(default_factory=dict)
    folders: dict[int, int] = field(default_factory=dict)


class Reference:
    """Whose token is good, whose principal may read what, now and until when.

    A right is a good token of a principal who may read. The two may have been seen by different questions.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._good_at: dict[Token, float] = {}
        self._granted_at: dict[tuple[str, RemotePath], float] = {}

    def may(self, uid: int, volume: RemotePath) -> bool:
        token = self._bench.written.get_token(uid)
        return token in self._bench.workspace.people and self._is_granted(token, volume)

    def _is_granted(self, token: Token, volume: RemotePath) -> bool:
        return (PRINCIPALS[token], volume) in self._bench.workspace.readers

    def note_time(self) -> None:
        """Before anything changes."""
        now = self._bench.clock.seconds
        for token in self._bench.workspace.people:
            self._good_at[token] = now
        for key in self._bench.workspace.readers:
            self._granted_at[key] = now

    def age_of_right(self, uid: int, volume: RemotePath) -> float:
        token = self._bench.written.get_token(uid)
        if token not in PRINCIPALS:
            return float("inf")
        never = float("-inf")
        granted_at = self._granted_at.get((PRINCIPALS[token], volume), never)
        return self._bench.clock.seconds - min(self._good_at.get(token, never), granted_at)


Act = Callable[[Bench, int, RemotePath, Held], Awaitable[None]]


async def walk(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    assert (await Kernel(bench.filesystem, uid).walk(volume.child("d").child("f"))).size == 5


async def list_the_volume(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    assert await Kernel(bench.filesystem, uid).list_folder(volume) == ["d"]


async def read_by_path(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    assert len(await Kernel(bench.filesystem, uid).read_file(volume.child("d").child("f"))) == 5


async def stat_held(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    assert (await bench.filesystem.getattr(uid, held.file)).size == 5


async def look_up_in_held(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    assert (await bench.filesystem.lookup(uid, held.folder, b"f")).ino == held.file


async def miss_in_held(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    with pytest.raises(NotFound):
        await bench.filesystem.lookup(uid, held.folder, b"none")


async def ask_for_access(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    await bench.filesystem.check_access(uid, held.file, os.R_OK)


async def ask_for_attributes(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    assert b"user.fuse4dbricks.version" in await bench.filesystem.listxattr(uid, held.file)


async def open_held(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    opened = await bench.filesystem.open(uid, held.file, os.O_RDONLY)
    if uid in held.handles:
        bench.filesystem.release(opened.number)
    else:
        held.handles[uid] = opened.number


async def list_held(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    number = await bench.filesystem.opendir(uid, held.folder)
    if uid in held.folders:
        bench.filesystem.releasedir(number)
    else:
        held.folders[uid] = number


async def read_handle(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    if uid not in held.handles:
        await open_held(bench, uid, volume, held)
    assert len(await bench.filesystem.read(held.handles[uid], 0, 100)) == 5


async def read_folder_handle(bench: Bench, uid: int, volume: RemotePath, held: Held) -> None:
    if uid not in held.folders:
        await list_held(bench, uid, volume, held)
    names = [name for name, _, _ in await Kernel(bench.filesystem, uid).read_entries(held.folders[uid], 0)]
    assert names == [b".", b"..", b"f"]


ACTS: list[Act] = [
    walk, list_the_volume, read_by_path, stat_held, look_up_in_held, miss_in_held, ask_for_access, ask_for_attributes,
    open_held, list_held, read_handle, read_folder_handle,
]  # fmt: skip

who = st.sampled_from(sorted(UIDS))
where = st.sampled_from([0, 1])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("act"), who, where, st.sampled_from(ACTS)),
        st.tuples(st.just("act"), who, where, st.sampled_from(ACTS)),
        st.tuples(st.just("act"), who, where, st.sampled_from(ACTS)),
        st.tuples(st.sampled_from(["allow", "revoke"]), who, where, st.none()),
        st.tuples(st.just("write"), who, st.sampled_from(["none", *TOKENS]), st.none()),
        st.tuples(
            st.sampled_from(["kill", "revive"]),
            st.sampled_from(["ada", "bob", "ada again"]),
            where,
            st.none(),
        ),
        st.tuples(st.just("wait"), st.sampled_from([1, 6, 16, 31, 601]), where, st.none()),
    ),
    min_size=20,
    max_size=60,
)


def new_workspace() -> FakeWorkspace:
    workspace = workspace_with("ada", "bob")
    workspace.people[TOKENS["ada again"]] = principal_of("ada")
    for volume in VOLUMES:
        workspace.put(volume.child("d").child("f"))
        workspace.allow("ada", volume)
    workspace.revoke("bob", VOLUMES[0])
    return workspace


async def hold(bench: Bench, volume: RemotePath) -> Held:
    ada = Kernel(bench.filesystem, ADA)
    folder = await ada.walk(volume.child("d"))
    return Held(folder.ino, (await ada.walk(volume.child("d").child("f"))).ino)


def change(bench: Bench, kind: str, name: str, what: object) -> None:
    if kind == "write":
        token = TOKENS.get(str(what))
        if token is None:
            bench.written.forget(UIDS[name])
        else:
            bench.written.set(UIDS[name], token)
    elif kind == "kill":
        bench.workspace.people.pop(TOKENS[name], None)
    elif kind == "revive":
        bench.workspace.people[TOKENS[name]] = principal_of(name.split(maxsplit=1)[0])
    elif kind == "allow":
        bench.workspace.allow(name, VOLUMES[int(str(what))])
    else:
        bench.workspace.revoke(name, VOLUMES[int(str(what))])


async def judge(bench: Bench, reference: Reference, uid: int, place: int, act: Act, held: Held) -> None:
    volume = VOLUMES[place]
    counted["steps"] += 1
    for is_last in (False, True):
        try:
            await act(bench, uid, volume, held)
        except (RemoteError, NoToken, InvalidToken):
            counted["refused"] += 1
            if not reference.may(uid, volume):
                return
            assert not is_last, f"{act.__name__} is refused to who may"
            reference.note_time()
            bench.clock.step(REFUSAL_SECONDS + 1)
        else:
            counted["shown"] += 1
            if not reference.may(uid, volume):
                counted["shown within the TTL"] += 1
                assert reference.age_of_right(uid, volume) < PERMISSION_TTL, f"{act.__name__} is a leak"
            return


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS)
def test_each_sees_what_a_fresh_question_with_his_own_token_would_show(
    events: list[tuple[str, str, int | str, Act | None]],
) -> None:
    async def main() -> None:
        setting = Setting(new_workspace(), is_shared=True, tree=FakeTree(), grants=FakeGrants())
        async with bench_of(setting) as bench:
            bench.written.set(ADA, TOKENS["ada"])
            bench.written.set(BOB, TOKENS["bob"])
            reference = Reference(bench)
            held = [await hold(bench, volume) for volume in VOLUMES]
            for kind, name, what, act in events:
                reference.note_time()
                if kind == "wait":
                    bench.clock.step(int(name))
                elif act is not None:
                    await judge(bench, reference, UIDS[name], int(what), act, held[int(what)])
                    await wait_all_tasks_blocked()
                else:
                    change(bench, kind, name, what)

    trio.run(main)


def test_the_model_saw_both_sides() -> None:
    """The other way of passing: an act that always fails, or a user who is never refused."""
    assert counted["shown"] > EXAMPLES
    assert counted["refused"] > EXAMPLES
