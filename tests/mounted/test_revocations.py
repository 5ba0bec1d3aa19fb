"""How long somebody goes on seeing what was taken away, for each way of seeing and each way of taking.

S2 of the list of faults. One process per way of seeing does nothing else, and notes the second of its last success in
a file (a mapping ends its process by SIGBUS). The promise is the permission TTL, counted from the moment at which the
workspace had heard of the revocation, to the beginning of the last call that succeeded. No allowance is made for what
the mount answers; for pages that the kernel has, one for a machine that does not run the mount in time to drop them.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.local_users import ALICE, BOB, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.waiting import slow, wait_for
from tests.support.workspace import Served, serve

pytestmark = needs_root

TTL = 2.0
#: What a machine at full load may take to run the mount's threads when pages are to be dropped.
LOADED = 1.0
ALICE_NAME, BOB_NAME = "alice@example.com", "bob@example.com"

#: What is done once, and what is then done again and again.
WAYS_OF_SEEING = {
    "a new open": ("", "os.close(os.open(top + '/d/f', os.O_RDONLY))"),
    "stat by path": ("", "os.stat(top + '/d/f')"),
    "an open file": ("f = os.open(top + '/d/f', os.O_RDONLY)", "os.pread(f, 4096, 8192)"),
    "a mapping": (
        "f = os.open(top + '/d/f', os.O_RDONLY); m = mmap.mmap(f, 0, prot=mmap.PROT_READ)",
        "m[8192]",
    ),
    "a held folder": ("d = os.open(top + '/d', os.O_RDONLY)", "os.stat('f', dir_fd=d)"),
    "a listing": ("", "os.listdir(top + '/d')"),
    "a listing by a held folder": ("d = os.open(top + '/d', os.O_RDONLY)", "os.listdir(d)"),
}  # fmt: skip
KEPT_BY_THE_KERNEL = {"an open file", "a mapping"}
#: What only the loss of schema, catalog or token takes away.
ABOVE = {
    "stat the schema": ("", "os.stat(os.path.dirname(top))"),
    "list the schema": ("", "os.listdir(os.path.dirname(top))"),
}

WATCH = """
{prepare}
until = time.monotonic() + 20
try:
    while time.monotonic() < until:
        now = time.monotonic()
        {see}
        os.pwrite(note, array.array("d", [now]).tobytes(), 0)
        time.sleep(0.002)
    out = 'for ever'
except OSError as error:
    out = errno.errorcode[error.errno]
"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """A mount, and who may read its volume."""

    served: Served
    live: LiveMount
    folder: Path
    alice: LocalUser
    bob: LocalUser

    def sign_bob_in(self) -> str:
        token = self.served.people.issue_token(BOB_NAME)
        self.bob.write_token(self.live.path, token)
        return token


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        served = stack.enter_context(serve(folder / "tree", open_to_all=False))
        (served.volume / "d").mkdir()
        put_file(served.volume / "d/f", 300_000)
        os.utime(served.volume / "d/f", (1e9, 1e9))
        live = stack.enter_context(
            mounted(served, folder / "m", "--allow-other", "--permission-ttl-sec", f"{TTL:g}", token="")
        )
        alice, bob = (stack.enter_context(LocalUser(uid, live.path)) for uid in (ALICE, BOB))
        for user, name in ((alice, ALICE_NAME), (bob, BOB_NAME)):
            user.write_token(live.path, served.people.add_user(name))
            served.grants.let_read("main.sales.raw", name)
        yield Crowd(served, live, folder, alice, bob)


def take_the_volume(crowd: Crowd, token: str) -> None:
    crowd.served.grants.revoke("main.sales.raw", BOB_NAME)


def take_the_schema(crowd: Crowd, token: str) -> None:
    crowd.served.grants.revoke("main.sales", BOB_NAME)


def take_the_catalog(crowd: Crowd, token: str) -> None:
    crowd.served.grants.revoke("main", BOB_NAME)


def take_the_token(crowd: Crowd, token: str) -> None:
    crowd.served.people.revoke_token(token)


class Watcher:
    """A process of Bob's that sees, until it does not."""

    def __init__(self, crowd: Crowd, stack: ExitStack, name: str, code: tuple[str, str]) -> None:
        self.name = name
        self.end = ""
        self._note = crowd.folder / f"note-{name.replace(' ', '-')}"
        self._note.write_bytes(b"\0" * 8)
        self._note.chmod(0o666)
        self._user = stack.enter_context(LocalUser(BOB, Path("/")))
        self._user.do("note = os.open(path, os.O_WRONLY)", path=str(self._note))
        prepare, see = code
        top = str(crowd.live.path / "main/sales/raw")
        self._thread = threading.Thread(
            target=self._watch, args=(WATCH.format(prepare=prepare, see=see), top)
        )
        self._thread.start()

    def _watch(self, code: str, top: str) -> None:
        try:
            self.end = self._user.do(code, top=top)
        except LocalUser.Killed as killed:
            self.end = str(killed)
            with contextlib.suppress(OSError):
                self._user.__exit__(None, None, None)

    def last_seen(self) -> float:
        return float(struct.unpack("d", self._note.read_bytes())[0])

    def wait(self) -> None:
        self._thread.join()


def seconds_served(
    crowd: Crowd, take: Callable[[Crowd, str], None], ways: dict[str, tuple[str, str]]
) -> dict[str, float]:
    """For each way of seeing, seconds from the revocation to the last success."""
    token = crowd.sign_bob_in()
    crowd.served.grants.let_read("main.sales.raw", BOB_NAME)
    top = str(crowd.live.path / "main/sales/raw")
    assert wait_for(lambda: not crowd.bob.fail("os.stat(top + '/d/f')", top=top), 20)
    with ExitStack() as stack:
        watchers = [Watcher(crowd, stack, name, code) for name, code in ways.items()]
        assert wait_for(lambda: all(each.last_seen() for each in watchers), 20)
        # Alice goes on reading: what the kernel keeps is kept warm by her.
        crowd.alice.do("with open(top + '/d/f', 'rb') as stream: stream.read()", top=top)
        take(crowd, token)
        time_of_loss = time.monotonic()
        for each in watchers:
            each.wait()
        served = {each.name: each.last_seen() - time_of_loss for each in watchers}
        ends = {each.name: each.end for each in watchers}
    assert "for ever" not in ends.values(), ends
    assert all(end in {"EACCES", "ENOENT"} or "SIGBUS" in end for end in ends.values()), ends
    return served


@pytest.mark.parametrize(
    "take",
    [
        take_the_volume,
        pytest.param(take_the_schema, marks=slow),
        pytest.param(take_the_catalog, marks=slow),
        pytest.param(take_the_token, marks=slow),
    ],
)
def test_nothing_is_seen_for_longer_than_the_ttl(crowd: Crowd, take: Callable[[Crowd, str], None]) -> None:
    ways = WAYS_OF_SEEING if take is take_the_volume else WAYS_OF_SEEING | ABOVE
    served = seconds_served(crowd, take, ways)
    print(take.__name__, {name: round(seconds, 2) for name, seconds in served.items()})
    for name, seconds in served.items():
        assert seconds <= TTL + (LOADED if name in KEPT_BY_THE_KERNEL else 0.0), served
