"""Anything by anybody in any order: local users in one real mount, against a reference of who may see what.

S1 of the list of faults with the kernel in between. Each step is a real system call of a user's own process, by a path
or by something that he holds. The rule: a success must be one that a fresh question with his own present token would
have had within the TTL before the call, **to the millisecond, without an allowance**; a refusal, one that such a
question would have had within the seconds for which refusals are remembered.

The reference keeps its own books. FUSE4DBRICKS_MACHINE_STEPS sets how many steps the long run takes.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.local_users import ALICE, BOB, CAROL, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.waiting import slow
from tests.support.workspace import Served, serve

pytestmark = needs_root

TTL = 1.0
#: A refusal is believed for 5 s, and may have been on its way when the right was given.
REFUSAL_SECONDS = 5.0 + 2.0
SHORT_STEPS = 400
LONG_STEPS = int(os.environ.get("FUSE4DBRICKS_MACHINE_STEPS", "10000"))

NAMES = {ALICE: "alice@example.com", BOB: "bob@example.com"}
CATALOG = "main"
#: Each volume in a schema of its own.
SCHEMAS = ["s0", "s1"]

#: What a right is to: ("catalog",), ("schema", number) or ("volume", number).
Key = tuple[str, int]
CATALOG_KEY: Key = ("catalog", 0)


@dataclass
class Reference:
    """Who holds which grants and tokens, and when each token was last good for what."""

    grants: set[tuple[int, Key]] = field(default_factory=set)
    tokens: dict[int, str] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    last_good: dict[tuple[str, Key], float] = field(default_factory=dict)
    gained: dict[tuple[str, Key], float] = field(default_factory=dict)

    def rights(self) -> set[tuple[str, Key]]:
        """What each user's present token is good for."""
        return {
            (token, key)
            for uid, token in self.tokens.items()
            if token in self.good
            for key in self._keys_of(uid)
        }

    def _keys_of(self, uid: int) -> Iterator[Key]:
        if (uid, CATALOG_KEY) not in self.grants:
            return
        yield CATALOG_KEY
        for number in range(len(SCHEMAS)):
            if (uid, ("schema", number)) in self.grants:
                yield ("schema", number)
                if (uid, ("volume", number)) in self.grants:
                    yield ("volume", number)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A block in which rights change, somewhere."""
        before = self.rights()
        yield
        now, after = time.monotonic(), self.rights()
        for right in before:
            self.last_good[right] = now
        for right in after - before:
            self.gained[right] = now

    def is_leak(self, uid: int, key: Key, began: float) -> bool:
        token = self.tokens.get(uid, "")
        if (token, key) in self.rights():
            return False
        return began > self.last_good.get((token, key), float("-inf")) + TTL

    def is_false_denial(self, uid: int, key: Key, began: float) -> bool:
        right = (self.tokens.get(uid, ""), key)
        return right in self.rights() and began > self.gained[right] + REFUSAL_SECONDS


@dataclass
class Deed:
    """Something that a user does with volume ``{n}``: code, and what it shows when it succeeds.

    Attributes:
        code: what he runs; ``out`` is the list of names it saw, if it saw any.
        key: the right that it takes.
        takes: what he must hold, "" for nothing.
    """

    code: str
    key: Callable[[int], Key] = lambda number: ("volume", number)
    takes: str = ""


def schema_of(number: int) -> Key:
    return ("schema", number)


DEEDS = {
    "stat": Deed("os.stat(top + '/d/f')"),
    "stat the volume": Deed("os.stat(top)"),
    "readdir": Deed("out = os.listdir(top + '/d')"),
    "open": Deed("os.close(os.open(top + '/d/f', os.O_RDONLY))"),
    "open a path only": Deed("os.close(os.open(top + '/d/f', os.O_PATH))"),
    "read": Deed("with open(top + '/d/f', 'rb') as stream: assert len(stream.read()) == 100_000"),
    "mmap": Deed(
        "with open(top + '/d/f', 'rb') as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as m: m[:10]"
    ),
    "access": Deed("if not os.access(top + '/d/f', os.R_OK): raise PermissionError(errno.EACCES, '')"),
    "xattr": Deed("os.listxattr(top + '/d/f')"),
    "stat by a held folder": Deed("os.stat('f', dir_fd=held[top][0])", takes="held"),
    "open by a held folder": Deed("os.close(os.open('f', os.O_RDONLY, dir_fd=held[top][0]))", takes="held"),
    "list a held folder": Deed("out = os.listdir(held[top][0])", takes="held"),
    "read a held file": Deed("assert len(os.pread(held[top][1], 1000, 5000)) == 1000", takes="held"),
    "reopen a held path": Deed(
        "os.close(os.open(f'/proc/self/fd/{held[top][2]}', os.O_RDONLY))", takes="held"
    ),
    "by the working folder": Deed("os.stat('f')", takes="cwd"),
    "stat the schema": Deed("os.stat(os.path.dirname(top))", schema_of),
    "list the schema": Deed("out = os.listdir(os.path.dirname(top))", schema_of),
    "list the catalog": Deed(
        "out = os.listdir(os.path.dirname(os.path.dirname(top)))", lambda _: CATALOG_KEY
    ),
    "stat the catalog": Deed("os.stat(os.path.dirname(os.path.dirname(top)))", lambda _: CATALOG_KEY),
}

HOLD = """
for old in held.pop(top, ()): os.close(old)
mine = [os.open(top + '/d', os.O_RDONLY), os.open(top + '/d/f', os.O_RDONLY), os.open(top + '/d/f', os.O_PATH)]
held[top] = mine; os.pread(mine[1], 4096, 0)
"""


class Machine:
    """Takes random steps and holds them against the reference."""

    def __init__(self, seed: int, served: Served, live: LiveMount, users: dict[int, LocalUser]) -> None:
        self.random = random.Random(seed)
        self.served = served
        self.live = live
        self.users = users
        self.reference = Reference()
        self.holding: set[tuple[int, int, str]] = set()
        self.counted: Counter[str] = Counter()
        self.faults: list[str] = []
        self.warmed_by: dict[int, set[int]] = {number: set() for number in range(len(SCHEMAS))}
        for user in users.values():
            user.do("held = {}")
        for uid, name in NAMES.items():
            served.people.add_user(name)
            self.renew_token(uid)
            for key in [
                CATALOG_KEY,
                *((kind, n) for n in range(len(SCHEMAS)) for kind in ("schema", "volume")),
            ]:
                self.give(uid, key)

    def top(self, number: int) -> str:
        return str(self.live.path / CATALOG / SCHEMAS[number] / "v")

    # --- what changes

    def name_of(self, key: Key) -> tuple[str, str]:
        kind, number = key
        return {
            "catalog": (CATALOG, "USE_CATALOG"),
            "schema": (f"{CATALOG}.{SCHEMAS[number]}", "USE_SCHEMA"),
            "volume": (f"{CATALOG}.{SCHEMAS[number]}.v", "READ_VOLUME"),
        }[kind]

    def give(self, uid: int, key: Key) -> None:
        securable, privilege = self.name_of(key)
        with self.reference.changing():
            self.served.grants.grant(securable, NAMES[uid], privilege)
            self.reference.grants.add((uid, key))
        self.counted["given"] += 1

    def take(self, uid: int, key: Key) -> None:
        securable, privilege = self.name_of(key)
        with self.reference.changing():
            self.served.grants.revoke(securable, NAMES[uid], privilege)
            self.reference.grants.discard((uid, key))
        self.counted["taken"] += 1

    def renew_token(self, uid: int) -> None:
        token = self.served.people.issue_token(NAMES[uid])
        with self.reference.changing():
            self.users[uid].write_token(self.live.path, token)
            self.reference.tokens[uid] = token
            self.reference.good.add(token)
        self.counted["tokens given"] += 1

    def kill_token(self, uid: int) -> None:
        token = self.reference.tokens.get(uid)
        if token is None:
            return
        with self.reference.changing():
            self.served.people.revoke_token(token)
            self.reference.good.discard(token)
        self.counted["tokens revoked"] += 1

    def forget_token(self, uid: int) -> None:
        with self.reference.changing():
            self.users[uid].write_token(self.live.path, "")
            self.reference.tokens.pop(uid, None)
        self.counted["tokens forgotten"] += 1

    def change(self) -> None:
        uid = self.random.choice(list(NAMES))
        number = self.random.randrange(len(SCHEMAS))
        key = self.random.choices([CATALOG_KEY, ("schema", number), ("volume", number)], weights=[1, 2, 5])[0]
        lost = [key for key in self._all_keys() if (uid, key) not in self.reference.grants]
        token = self.reference.tokens.get(uid)
        if token is None or token not in self.reference.good:
            self.renew_token(uid)
        elif lost and self.random.random() < 0.6:
            self.give(uid, self.random.choice(lost))
        else:
            kind = self.random.choices(["take", "kill", "forget", "renew"], weights=[8, 1, 1, 1])[0]
            if kind == "take":
                self.take(uid, key)
            elif kind == "kill":
                self.kill_token(uid)
            elif kind == "forget":
                self.forget_token(uid)
            else:
                self.renew_token(uid)

    @staticmethod
    def _all_keys() -> list[Key]:
        return [CATALOG_KEY, *((kind, n) for n in range(len(SCHEMAS)) for kind in ("schema", "volume"))]

    # --- what is done

    def hold(self, uid: int, number: int) -> None:
        top = self.top(number)
        self.holding.discard((uid, number, "held"))
        if not self.users[uid].fail(HOLD, top=top):
            self.holding.add((uid, number, "held"))
        if not self.users[uid].fail("os.chdir(top + '/d')", top=top):
            self.holding -= {(uid, n, "cwd") for n in range(len(SCHEMAS))}
            self.holding.add((uid, number, "cwd"))

    def do(self, uid: int, number: int, name: str) -> None:
        deed = DEEDS[name]
        if deed.takes and (uid, number, deed.takes) not in self.holding:
            return
        self.counted["steps"] += 1
        self.counted[name] += 1
        began, names = time.monotonic(), None
        try:
            names = self.users[uid].do("out = None\n" + deed.code, top=self.top(number))
        except OSError as error:
            self.refused(uid, number, name, error, began)
            return
        self.counted["shown"] += 1
        self.counted["shown what another warmed"] += bool(self.warmed_by[number] - {uid})
        self.warmed_by[number].add(uid)
        keys = [deed.key(number)]
        if name == "list the catalog":
            keys += [("schema", SCHEMAS.index(each)) for each in names or [] if each in SCHEMAS]
        if name == "list the schema" and names:
            keys.append(("volume", number))
        for key in keys:
            if (self.reference.tokens.get(uid, ""), key) not in self.reference.rights():
                self.counted["shown within the TTL"] += 1
            if self.reference.is_leak(uid, key, began):
                self.faults.append(f"LEAK: uid {uid}, {name} of {key}")

    def refused(self, uid: int, number: int, name: str, error: OSError, began: float) -> None:
        self.counted["refused"] += 1
        self.counted["refused what another warmed"] += bool(self.warmed_by[number] - {uid})
        if type(error) not in {PermissionError, FileNotFoundError}:
            self.faults.append(f"STRANGE: uid {uid}, {name}: {error!r}")
        elif self.reference.is_false_denial(uid, DEEDS[name].key(number), began):
            self.faults.append(f"FALSE DENIAL: uid {uid}, {name}: {error!r}")

    def run(self, steps: int) -> None:
        for uid in NAMES:
            for number in range(len(SCHEMAS)):
                self.hold(uid, number)
        while self.counted["steps"] < steps:
            uid, number = self.random.choice(list(self.users)), self.random.randrange(len(SCHEMAS))
            what = self.random.random()
            if what < 0.02:
                self.change()
            elif what < 0.05:
                self.hold(uid, number)
            else:
                self.do(uid, number, self.random.choice(list(DEEDS)))


def play(seed: int, steps: int) -> Machine:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        served = stack.enter_context(serve(folder / "tree", open_to_all=False))
        for schema in SCHEMAS:
            source: Path = served.settings.root / CATALOG / schema / "v/d"
            source.mkdir(parents=True)
            put_file(source / "f", 100_000)
            os.utime(source / "f", (1e9, 1e9))
        live = stack.enter_context(
            mounted(served, folder / "m", "--allow-other", "--permission-ttl-sec", f"{TTL:g}", token="")
        )
        users = {uid: stack.enter_context(LocalUser(uid, Path("/"))) for uid in (ALICE, BOB, CAROL)}
        machine = Machine(seed, served, live, users)
        machine.run(steps)
        for user in users.values():
            user.do("os.chdir('/')")
    return machine


def judge(machine: Machine) -> None:
    counted = machine.counted
    print(dict(counted))
    assert not machine.faults, machine.faults[:20]
    assert counted["shown"] > counted["steps"] / 20
    assert counted["refused"] > counted["steps"] / 20
    assert counted["refused what another warmed"] > counted["steps"] / 20
    assert counted["taken"] > 0
    assert counted["given"] > 0


def test_a_few_hundred_steps() -> None:
    judge(play(seed=1, steps=SHORT_STEPS))


@slow[0]
@slow[1]
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [2, 3])
def test_thousands_of_steps(seed: int) -> None:
    machine = play(seed, LONG_STEPS // 2)
    judge(machine)
    assert machine.counted["shown within the TTL"] > 0
