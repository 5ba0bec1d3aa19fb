"""Two users, three tokens each, two volumes, in any order of events, against a reference of who may read what.

S1, S3 and S5 of the list of faults. The rule, to the letter: what is shown of a volume to a local user, be it a byte, a
name, a size, or that its schema exists, must be something that **a fresh question with his own present token about that
very volume would have been answered with, at some moment within the TTL**. What another token may, of the same
principal or not, counts for nothing, nor does what this token may elsewhere, or could while it was somebody else's.
And whoever such a question would let in now is let in, at the latest when a refusal that is remembered has had its
five seconds. While the workspace is out of reach the moment may lie further back, by the offline grace.

The reference keeps its own books of tokens and grants, and knows nothing of how the driver keeps its.

The figure that the list asks for: FUSE4DBRICKS_MODEL_EXAMPLES=4000 makes more than 10^5 steps.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.errors import NotFound, NoToken, RemoteError, Unreachable
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import (
    ADA,
    BOB,
    EVE,
    PERMISSION_TTL,
    VOLUME,
    FakeWorkspace,
    principal_of,
    token_of,
    workspace_with,
)
from tests.support.kernel import Kernel

EXAMPLES = int(os.environ.get("FUSE4DBRICKS_MODEL_EXAMPLES", "120"))
REFUSAL_SECONDS = 5
OFFLINE_GRACE = 8 * 3600
#: Longer than the permission TTL: what is known of the tree for long must not be shown for long.
TREE_TTLS = Ttls(inner=10 * PERMISSION_TTL, boundary=10 * PERMISSION_TTL)

UIDS = {"ada": ADA, "bob": BOB}
#: Each in a schema of its own, which is seen by those who may read it.
VOLUMES = [VOLUME, RemotePath(("main", "walled", "other"))]
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


@dataclass
class Reference:
    """Whose token is good, whose principal may read what, and when each token last was good for each volume."""

    seconds: float = 0.0
    is_down: bool = False
    token_of_uid: dict[int, Token | None] = field(default_factory=dict)
    good: set[Token] = field(default_factory=lambda: {*PRINCIPALS})
    granted: set[tuple[str, int]] = field(default_factory=set)
    last_good: dict[tuple[Token, int], float] = field(default_factory=dict)

    def may(self, uid: int, place: int) -> bool:
        token = self.token_of_uid[uid]
        return token is not None and token in self.good and (PRINCIPALS[token], place) in self.granted

    def note_time(self) -> None:
        """Before anything changes."""
        for token in self.good:
            for place in range(len(VOLUMES)):
                if (PRINCIPALS[token], place) in self.granted:
                    self.last_good[token, place] = self.seconds

    def is_leak(self, uid: int, place: int) -> bool:
        """Whether what he was just shown is too old a right of his, or none."""
        if self.may(uid, place):
            return False
        counted["shown within the TTL"] += 1
        token = self.token_of_uid[uid]
        since = self.last_good.get((token, place), float("-inf")) if token is not None else float("-inf")
        return self.seconds - since >= PERMISSION_TTL + (OFFLINE_GRACE if self.is_down else 0)


@dataclass
class World:
    """The driver, the workspace and the reference, which hear of the same events."""

    setting: Setting
    bench: Bench
    reference: Reference
    held: list[Held]

    def wait(self, seconds: float) -> None:
        self.bench.clock.step(seconds)
        self.reference.seconds += seconds

    def write(self, uid: int, name: str) -> None:
        token = TOKENS.get(name)
        self.reference.token_of_uid[uid] = token
        if token is None:
            self.bench.written.forget(uid)
        else:
            self.bench.written.set(uid, token)

    def allow(self, name: str, place: int, *, is_allowed: bool) -> None:
        key = (principal_of(name).id, place)
        if is_allowed:
            self.bench.workspace.allow(name, VOLUMES[place])
            self.reference.granted.add(key)
        else:
            self.bench.workspace.revoke(name, VOLUMES[place])
            self.reference.granted.discard(key)

    def kill(self, name: str) -> None:
        self.bench.workspace.people.pop(TOKENS[name], None)
        self.reference.good.discard(TOKENS[name])

    def revive(self, name: str) -> None:
        self.bench.workspace.people[TOKENS[name]] = principal_of(name.split(maxsplit=1)[0])
        self.reference.good.add(TOKENS[name])

    def turn_weather(self, *, is_down: bool) -> None:
        self.bench.workspace.down = Unreachable("no route") if is_down else None
        self.reference.is_down = is_down
        if not is_down:
            self.wait(REFUSAL_SECONDS + 1)  # so long it is believed to be down


#: Does something with a volume; answers with the volumes, by number, that it has shown something of (None: this one).
Act = Callable[[Bench, int, RemotePath, Held], Awaitable[set[int] | None]]


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


def volumes_in(names: list[str]) -> set[int]:
    """The volumes that names of schemas tell of."""
    return {place for place, volume in enumerate(VOLUMES) if volume.parent.name in names}


async def list_the_catalog(bench: Bench, uid: int, volume: RemotePath, held: Held) -> set[int]:
    return volumes_in(await Kernel(bench.filesystem, uid).list_folder(volume.parent.parent))


async def stat_the_schema(bench: Bench, uid: int, volume: RemotePath, held: Held) -> set[int]:
    await Kernel(bench.filesystem, uid).walk(volume.parent)
    return volumes_in([volume.parent.name])


async def list_the_schema(bench: Bench, uid: int, volume: RemotePath, held: Held) -> set[int]:
    names = await Kernel(bench.filesystem, uid).list_folder(volume.parent)
    return volumes_in([volume.parent.name]) if names else set()


ACTS: list[Act] = [
    walk, list_the_volume, read_by_path, stat_held, look_up_in_held, miss_in_held, ask_for_access, ask_for_attributes,
    open_held, list_held, read_handle, read_folder_handle,
    list_the_catalog, stat_the_schema, list_the_schema,
]  # fmt: skip

who = st.sampled_from(sorted(UIDS))
where = st.sampled_from([0, 1])
EVENTS = st.lists(
    st.one_of(
        # Each alternative is as likely as the others.
        *[
            st.tuples(st.just("act"), who, where, st.lists(st.sampled_from(ACTS), min_size=1, max_size=4))
            for _ in range(4)
        ],
        st.tuples(st.sampled_from(["allow", "revoke"]), who, where, st.none()),
        st.tuples(st.just("write"), who, st.sampled_from(["none", *TOKENS]), st.none()),
        st.tuples(
            st.sampled_from(["kill", "revive"]),
            st.sampled_from(["ada", "bob", "ada again"]),
            where,
            st.none(),
        ),
        *[
            st.tuples(st.just("wait"), st.sampled_from([1, 6, 299, 599, 601, 601]), where, st.none())
            for _ in range(2)
        ],
        st.tuples(st.sampled_from(["warm", "restart", "down", "up"]), who, where, st.none()),
    ),
    min_size=20,
    max_size=60,
)


def new_workspace() -> FakeWorkspace:
    workspace = workspace_with("ada", "bob", "eve")
    workspace.people[TOKENS["ada again"]] = principal_of("ada")
    workspace.readers.clear()
    for volume in VOLUMES:
        workspace.put(volume.child("d").child("f"))
        workspace.allow("eve", volume)
    return workspace


async def warm(bench: Bench) -> list[Held]:
    """Eve, who may, reads everything, and what the kernel then holds is held."""
    bench.written.set(EVE, token_of("eve"))
    eve, held = Kernel(bench.filesystem, EVE), []
    for volume in VOLUMES:
        file = volume.child("d").child("f")
        await eve.list_folder(file.parent)
        await eve.read_file(file)
        held.append(Held((await eve.walk(file.parent)).ino, (await eve.walk(file)).ino))
    return held


async def judge(world: World, uid: int, place: int, act: Act) -> None:
    reference = world.reference
    counted["steps"] += 1
    counted[act.__name__] += 1
    for is_last in (False, True):
        refusal = None
        try:
            shown = await act(world.bench, uid, VOLUMES[place], world.held[place])
        except (RemoteError, NoToken) as error:
            refusal = error
        if refusal is None:
            counted["shown"] += 1
            for each in {place} if shown is None else shown:
                assert not reference.is_leak(uid, each), f"{act.__name__} is a leak"
            return
        counted["refused"] += 1
        if not reference.may(uid, place):
            return
        if reference.is_down:
            assert not isinstance(refusal, NotFound), f"{act.__name__}: an outage looks like absence"
            return
        assert not is_last, f"{act.__name__} is refused to who may: {refusal!r}"
        reference.note_time()
        world.wait(REFUSAL_SECONDS + 1)


async def play(world: World, kind: str, name: str, what: int | str) -> None:
    """An event that is no act."""
    counted[kind] += 1
    if kind == "write":
        world.write(UIDS[name], str(what))
    elif kind == "kill":
        world.kill(name)
    elif kind == "revive":
        world.revive(name)
    elif kind in {"allow", "revoke"}:
        world.allow(name, int(what), is_allowed=kind == "allow")
    elif kind in {"down", "up"}:
        world.turn_weather(is_down=kind == "down")
    elif not world.reference.is_down:
        await warm(world.bench)


def split_at_restarts(
    events: list[tuple[str, str, int | str, list[Act] | None]],
) -> Iterator[list[tuple[str, str, int | str, list[Act] | None]]]:
    """One run of the driver after another, over the same cache."""
    run: list[tuple[str, str, int | str, list[Act] | None]] = []
    for event in events:
        if event[0] == "restart":
            yield run
            run = []
        else:
            run.append(event)
    yield run


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS)
def test_each_sees_what_a_fresh_question_with_his_own_token_would_show(
    events: list[tuple[str, str, int | str, list[Act] | None]],
) -> None:
    async def main() -> None:
        setting = Setting(
            new_workspace(), is_shared=True, tree=FakeTree(), grants=FakeGrants(), ttls=TREE_TTLS
        )
        reference = Reference(token_of_uid={ADA: TOKENS["ada"], BOB: TOKENS["bob"]})
        for number, run in enumerate(split_at_restarts(events)):
            counted["restarts"] += number > 0
            async with bench_of(setting) as bench:
                setting.workspace.down, reference.is_down = None, False
                world = World(setting, bench, reference, await warm(bench))
                if not number:
                    for name, place in (("ada", 0), ("ada", 1), ("bob", 1)):
                        world.allow(name, place, is_allowed=True)
                for uid, token in reference.token_of_uid.items():
                    if token is not None:
                        bench.written.set(uid, token)
                for kind, name, what, acts in run:
                    reference.note_time()
                    if kind == "wait":
                        world.wait(int(name))
                    elif acts is not None:
                        for act in acts:
                            await judge(world, UIDS[name], int(what), act)
                        await wait_all_tasks_blocked()
                    else:
                        await play(world, kind, name, what)
                reference.note_time()

    trio.run(main)


def test_the_model_saw_both_sides() -> None:
    """The other way of passing: an act that always fails, a user who is never refused, a fault that never comes."""
    assert counted["shown"] > EXAMPLES
    assert counted["refused"] > EXAMPLES
    assert counted["shown within the TTL"] > 0
    for what in (
        "allow",
        "revoke",
        "write",
        "kill",
        "warm",
        "down",
        "restarts",
        *(act.__name__ for act in ACTS),
    ):
        assert counted[what] > EXAMPLES / 10, what
    print(dict(counted))
