"""Real local users in one mount: what one of them has warmed, in whichever cache, the others see by their own rights only.

S1, S2, S4 and S5 of the list of faults, with the kernel in between.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.devworkspace.effects import Status
from tests.support.local_users import ALICE, BOB, CAROL, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

pytestmark = needs_root

#: Seconds for which a proof holds in these mounts, and what a loaded machine gets on top of it.
TTL = 1.0
SLACK = 2.0
#: So long a refusal is believed.
REFUSAL_SECONDS = 5.0

ALICE_NAME, BOB_NAME = "alice@example.com", "bob@example.com"
REFUSED = {"EACCES", "ENOENT"}

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Crowd:
    """A mount and its users; carol has no token."""

    served: Served
    live: LiveMount
    alice: LocalUser
    bob: LocalUser
    carol: LocalUser

    def add_volume(self) -> Volume:
        """A volume of the test's own, which alice may read."""
        name = f"v{next(_numbers)}"
        source = self.served.volume.parent / name
        (source / "d").mkdir(parents=True)
        for each in ("f", "d/f", "d/g"):
            put_file(source / each, 300_000)
            os.utime(source / each, (1e9, 1e9))
        self.served.grants.let_read(f"main.sales.{name}", ALICE_NAME)
        return Volume(self, f"main.sales.{name}", source, self.live.path / "main/sales" / name)

    def lend(self, lender: LocalUser, descriptor: str, borrower: LocalUser, name: str) -> None:
        """Hand an open descriptor over, under a new name."""
        address = f"\0fuse4dbricks-test-{os.getpid()}-{next(_numbers)}"
        borrower.do("door = socket.socket(socket.AF_UNIX); door.bind(at); door.listen()", at=address)
        lender.do(
            f"way = socket.socket(socket.AF_UNIX); way.connect(at)\n"
            f"socket.send_fds(way, [b'x'], [{descriptor}]); way.close()",
            at=address,
        )
        borrower.do(
            f"there, _ = door.accept(); {name} = socket.recv_fds(there, 1, 1)[1][0]\nthere.close(); door.close()"
        )


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume, from both ends."""

    crowd: Crowd
    full_name: str
    source: Path
    top: Path

    def warm(self) -> None:
        """Alice reads everything, in her process."""
        self.crowd.alice.do(
            "for place, _, files in os.walk(top):\n"
            "    for name in files:\n"
            "        with open(os.path.join(place, name), 'rb') as stream: stream.read()\n"
            "assert place != top",
            top=str(self.top),
        )

    def let_bob_read(self) -> None:
        self.crowd.served.grants.let_read(self.full_name, BOB_NAME)

    def let_bob_in(self) -> None:
        """Bob may read it, and nothing of it is refused to him any more."""
        self.let_bob_read()
        assert wait_for(lambda: not self.crowd.bob.fail("os.stat(top)", top=str(self.top)))

    def stop_bob(self) -> None:
        self.crowd.served.grants.revoke(self.full_name, BOB_NAME)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        served = stack.enter_context(serve(folder / "tree", open_to_all=False))
        live = stack.enter_context(
            mounted(served, folder / "m", "--allow-other", "--permission-ttl-sec", f"{TTL:g}", token="")
        )
        alice, bob, carol = (stack.enter_context(LocalUser(uid, live.path)) for uid in (ALICE, BOB, CAROL))
        for user, name in ((alice, ALICE_NAME), (bob, BOB_NAME)):
            user.write_token(live.path, served.people.add_user(name, groups=[f"{name}-group"]))
            served.grants.grant("main", name, "USE_CATALOG")
            served.grants.grant("main.sales", name, "USE_SCHEMA")
        yield Crowd(served, live, alice, bob, carol)


#: By a path from the mount point on.
BY_PATH = {
    "stat the volume": "os.stat(top)",
    "stat a file": "os.stat(top + '/f')",
    "stat below a folder": "os.stat(top + '/d/g')",
    "access": "if not os.access(top + '/f', os.R_OK): raise PermissionError(errno.EACCES, '')",
    "access the volume": "if not os.access(top, os.X_OK): raise PermissionError(errno.EACCES, '')",
    "open": "os.open(top + '/d/f', os.O_RDONLY)",
    "open a path only": "os.open(top + '/d/f', os.O_PATH)",
    "list the volume": "os.listdir(top)",
    "list a folder": "os.listdir(top + '/d')",
    "getxattr": "os.getxattr(top + '/d/f', 'user.x')",
    "listxattr": "os.listxattr(top + '/d/f')",
    "chdir": "os.chdir(top + '/d')",
    "statvfs": "os.statvfs(top + '/d')",
    "a name that is not there": "os.stat(top + '/d/none')",
    "make what is there": "os.mkdir(top + '/d')",
}


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_nothing_under_a_volume_is_shown_to_who_may_not_read_it(crowd: Crowd, is_warm: bool) -> None:
    volume = crowd.add_volume()
    if is_warm:
        volume.warm()
    for user in (crowd.bob, crowd.carol):
        for what, code in BY_PATH.items():
            assert user.fail(code, top=str(volume.top)) in REFUSED, (user.uid, what)
    volume.warm()  # what was refused to others hides nothing from who may
    assert crowd.bob.fail("os.stat(top + '/d/f')", top=str(volume.top)) in REFUSED


@pytest.mark.parametrize("what", ["READ_VOLUME", "USE_SCHEMA", "USE_CATALOG"])
def test_every_level_counts(crowd: Crowd, what: str) -> None:
    """A reader of the volume who may not use its schema or catalog reads nothing, warmed or not."""
    catalog = f"walled{next(_numbers)}"
    source = crowd.served.settings.root / catalog / "s/v"
    source.mkdir(parents=True)
    put_file(source / "f", 1000)
    top = str(crowd.live.path / catalog / "s/v")
    crowd.served.grants.let_read(f"{catalog}.s.v", ALICE_NAME)
    crowd.served.grants.let_read(f"{catalog}.s.v", BOB_NAME)
    place = {"READ_VOLUME": f"{catalog}.s.v", "USE_SCHEMA": f"{catalog}.s", "USE_CATALOG": catalog}[what]
    crowd.served.grants.revoke(place, BOB_NAME)
    crowd.alice.do("open(top + '/f', 'rb').read()", top=top)
    for code in (
        "os.stat(top)",
        "os.stat(top + '/f')",
        "os.open(top + '/f', os.O_RDONLY)",
        "os.listdir(top)",
    ):
        assert crowd.bob.fail(code, top=top) in REFUSED


def test_without_a_token_there_is_only_help(crowd: Crowd) -> None:
    crowd.add_volume().warm()
    assert sorted(crowd.carol.do("out = os.listdir('.')")) == [".auth", "README.txt"]
    assert crowd.carol.do("out = len(open('README.txt').read())")
    for name in ("main", "main/sales", "main/sales/raw", "none"):
        assert crowd.carol.fail("os.stat(name)", name=name) in REFUSED


def test_listings_are_by_the_rights_of_who_lists(crowd: Crowd) -> None:
    seen, hidden = crowd.add_volume(), crowd.add_volume()
    seen.let_bob_read()
    list_names = "out = sorted(os.listdir(schema))"
    schema = str(seen.top.parent)
    assert {seen.top.name, hidden.top.name} <= set(crowd.alice.do(list_names, schema=schema))
    of_bob = crowd.bob.do(list_names, schema=schema)
    assert seen.top.name in of_bob
    assert hidden.top.name not in of_bob


GRANTS = {
    "by a grant on the volume": lambda crowd, name: crowd.served.grants.grant(name, BOB_NAME, "READ_VOLUME"),
    "by ALL_PRIVILEGES": lambda crowd, name: crowd.served.grants.grant(name, BOB_NAME, "ALL_PRIVILEGES"),
    "by a group": lambda crowd, name: crowd.served.grants.grant(name, f"{BOB_NAME}-group", "READ_VOLUME"),
    "by ALL_PRIVILEGES of a group": lambda crowd, name: crowd.served.grants.grant(name, f"{BOB_NAME}-group", "ALL_PRIVILEGES"),
    "by owning it": lambda crowd, name: crowd.served.grants.set_owner(name, BOB_NAME),
    "by a group that owns it": lambda crowd, name: crowd.served.grants.set_owner(name, f"{BOB_NAME}-group"),
}  # fmt: skip


@pytest.mark.parametrize("way", GRANTS)
def test_who_may_read_reads_what_another_cached_with_no_call_for_bytes(crowd: Crowd, way: str) -> None:
    volume = crowd.add_volume()
    volume.warm()
    GRANTS[way](crowd, volume.full_name)
    before = crowd.served.counts["fs.files.get"]
    read = "out = open(top + '/d/f', 'rb').read().hex()"
    assert bytes.fromhex(crowd.bob.do(read, top=str(volume.top))) == (volume.source / "d/f").read_bytes()
    assert crowd.served.counts["fs.files.get"] == before


HOLD = """
fd = os.open(top + '/d', os.O_RDONLY); ff = os.open(top + '/d/f', os.O_RDONLY); fp = os.open(top + '/d/f', os.O_PATH)
assert os.pread(ff, 10, 0); assert os.listdir(fd); os.chdir(top + '/d')
"""
LET_GO = "os.close(fd); os.close(ff); os.close(fp); os.chdir('/')"

#: With what he holds.
BY_WHAT_HE_HOLDS = {
    "stat below a folder descriptor": "os.stat('f', dir_fd=fd)",
    "stat what another warmed": "os.stat('g', dir_fd=fd)",
    "stat a name that is not there": "os.stat('none', dir_fd=fd)",
    "open below a folder descriptor": "os.open('f', os.O_RDONLY, dir_fd=fd)",
    "open a path only": "os.open('g', os.O_PATH, dir_fd=fd)",
    "make what is there": "os.mkdir('g', dir_fd=fd)",
    "list a folder descriptor": "os.listdir(fd)",
    "stat below the working folder": "os.stat('f')",
    "open below the working folder": "os.open('f', os.O_RDONLY)",
    "list the working folder": "os.listdir('.')",
    "stat the working folder": "os.stat('.')",
    "go to where he is": "os.chdir('.')",
    "stat an open file": "os.fstat(ff)",
    "read on in an open file": "os.pread(ff, 10, 200_000)",
    "read what was read": "os.pread(ff, 10, 0)",
    "open an open file anew": "os.open(f'/proc/self/fd/{ff}', os.O_RDONLY)",
    "open a path descriptor": "os.open(f'/proc/self/fd/{fp}', os.O_RDONLY)",
    "copy in the kernel": "os.sendfile(os.open('/dev/null', os.O_WRONLY), ff, 0, 1000)",
}  # fmt: skip


def test_what_somebody_holds_is_no_way_round_a_revocation(crowd: Crowd) -> None:
    volume = crowd.add_volume()
    volume.let_bob_in()
    bob, top = crowd.bob, str(volume.top)
    bob.do(HOLD, top=top)
    volume.stop_bob()
    try:
        assert wait_for(lambda: bob.fail("os.pread(ff, 10, 0)"), TTL + SLACK)
        for what, code in BY_WHAT_HE_HOLDS.items():
            volume.warm()
            if what == "copy in the kernel":
                # Pages that alice has read again are dropped a moment later.
                assert wait_for(lambda code=code: bob.fail(code) in REFUSED), what  # type: ignore[misc]
            assert bob.fail(code) in REFUSED, what
        for what, code in BY_PATH.items():
            assert bob.fail(code, top=top) in REFUSED, what
    finally:
        bob.do(LET_GO)


def test_a_folder_that_is_handed_over_gives_no_names(crowd: Crowd) -> None:
    volume = crowd.add_volume()
    volume.warm()
    crowd.alice.do("lent = os.open(top + '/d', os.O_RDONLY)", top=str(volume.top))
    for borrower in (crowd.bob, crowd.carol):
        crowd.lend(crowd.alice, "lent", borrower, "fd")
        for code in (
            "os.stat('f', dir_fd=fd)",
            "os.stat('none', dir_fd=fd)",
            "os.open('f', os.O_RDONLY, dir_fd=fd)",
            "os.open('f', os.O_PATH, dir_fd=fd)",
            "os.fchdir(fd)",
            "os.stat('.', dir_fd=fd)",
        ):
            assert borrower.fail(code) in REFUSED, code
        borrower.do("os.close(fd)")
    crowd.alice.do("os.close(lent)")


def take_the_grant(crowd: Crowd, volume: Volume, token: str) -> None:
    volume.stop_bob()


def revoke_the_token(crowd: Crowd, volume: Volume, token: str) -> None:
    crowd.served.people.revoke_token(token)


def forget_the_token(crowd: Crowd, volume: Volume, token: str) -> None:
    """In another process of his: the first is busy."""
    with LocalUser(BOB, crowd.live.path) as second:
        second.write_token(crowd.live.path, "")


def sign_bob_in(crowd: Crowd) -> str:
    token = crowd.served.people.issue_token(BOB_NAME)
    crowd.bob.write_token(crowd.live.path, token)
    return token


STREAM = """
ff, out = os.open(top + '/big', os.O_RDONLY), 'went on'
until = time.monotonic() + 15
try:
    while time.monotonic() < until:
        for offset in range(0, 8 << 20, 1 << 17):
            os.pread(ff, 1 << 17, offset)
except OSError as error:
    out = [time.monotonic(), errno.errorcode[error.errno]]
"""


@pytest.mark.parametrize("lose", [take_the_grant, revoke_the_token, forget_the_token])
def test_a_stream_of_cached_bytes_ends_within_the_ttl(
    crowd: Crowd, lose: Callable[[Crowd, Volume, str], None]
) -> None:
    """All of it is in the kernel's page cache: nothing of it needs the mount."""
    token, volume = sign_bob_in(crowd), crowd.add_volume()
    put_file(volume.source / "big", 8 << 20)
    os.utime(volume.source / "big", (1e9, 1e9))
    volume.let_bob_in()
    volume.warm()
    ended: list[list[Any]] = []
    reading = threading.Thread(target=lambda: ended.append(crowd.bob.do(STREAM, top=str(volume.top))))
    reading.start()
    try:
        time_of_loss = time.monotonic()
        lose(crowd, volume, token)
    finally:
        reading.join()
    [(stopped_at, number)] = ended
    assert number == "EACCES"
    assert stopped_at - time_of_loss <= TTL + SLACK
    sign_bob_in(crowd)
    volume.let_bob_read()
    assert wait_for(lambda: not crowd.bob.fail("os.pread(ff, 10, 5 << 20)"), REFUSAL_SECONDS + TTL + SLACK)
    assert not crowd.bob.fail("os.pread(ff, 10, 0)")
    crowd.bob.do("os.close(ff)")


def test_a_mapping_shows_nothing_any_more(crowd: Crowd) -> None:
    """SIGBUS, which is what the kernel has for a page that cannot be had. Pages that others read again are dropped
    within a moment, so a mapping is looked at after it.
    """
    volume = crowd.add_volume()
    with LocalUser(BOB, crowd.live.path) as other:
        volume.let_bob_in()
        other.do(
            "ff = os.open(top + '/f', os.O_RDONLY); m = mmap.mmap(ff, 0, prot=mmap.PROT_READ); os.close(ff); m[0]",
            top=str(volume.top),
        )
        volume.stop_bob()
        with pytest.raises(LocalUser.Killed) as killed:
            wait_for(lambda: other.do("out = m[5] < 0"), TTL + SLACK)
        assert killed.value.number == signal.SIGBUS


@pytest.mark.parametrize("effect", [None, Status(status=429)], ids=["down", "429"])
def test_an_outage_denies_nothing_to_who_was_let_in(crowd: Crowd, effect: Status | None) -> None:
    volume = crowd.add_volume()
    volume.let_bob_in()
    read = "out = len(open(top + '/d/f', 'rb').read())"
    assert crowd.bob.do(read, top=str(volume.top)) == 300_000
    crowd.bob.do("ff = os.open(top + '/d/f', os.O_RDONLY)", top=str(volume.top))
    fault = crowd.served.faults.add(effect) if effect is not None else None
    if fault is None:
        crowd.served.go_down()
    try:
        # Longer than a proof holds; everything of it is asked for again and again.
        assert not wait_for(lambda: crowd.bob.do("out = len(os.pread(ff, 300_000, 0))") != 300_000, 1.2 * TTL)
        assert crowd.bob.do(read, top=str(volume.top)) == 300_000
        assert fault is None or fault.fired > 0
    finally:
        if fault is None:
            crowd.served.come_back()
        else:
            fault.remove()
        crowd.bob.do("os.close(ff)")


def test_what_is_absent_for_one_is_there_for_the_other(crowd: Crowd) -> None:
    volume = crowd.add_volume()
    for _ in range(3):
        assert crowd.bob.fail("os.stat(top)", top=str(volume.top)) in REFUSED
        assert crowd.bob.fail("os.stat(top + '/d/f')", top=str(volume.top)) in REFUSED
        assert not crowd.alice.fail("os.stat(top + '/d/f')", top=str(volume.top))
        assert crowd.alice.fail("os.stat(top + '/none')", top=str(volume.top)) == "ENOENT"
