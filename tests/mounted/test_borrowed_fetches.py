"""Several users wait for one fetch of the same bytes: whose token it carries, and what becomes of them when that fails.

S4 of the list of faults, and outages that begin while somebody's right is being asked for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fuse4dbricks.devworkspace.effects import Hang, Latency, Status
from fuse4dbricks.devworkspace.people import fingerprint
from tests.support.local_users import ALICE, BOB, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.waiting import slow, wait_for
from tests.support.workspace import Served, serve

pytestmark = needs_root

TTL = 1.0
NAMES = {ALICE: "alice@example.com", BOB: "bob@example.com"}
VOLUME_NAME = "main.sales.raw"
#: Who reads which file.
READERS = {"only-alice": [ALICE], "only-bob": [BOB], "both": [ALICE, BOB]}


class Pair:
    """A mount with alice and bob, who may both read."""

    def __init__(self, stack: ExitStack) -> None:
        folder = stack.enter_context(open_folder())
        self.served: Served = stack.enter_context(serve(folder / "tree", open_to_all=False))
        self.live: LiveMount = stack.enter_context(
            mounted(self.served, folder / "m", "--allow-other", "--permission-ttl-sec", f"{TTL:g}", token="")
        )
        self.users: dict[int, LocalUser] = {}
        self.tokens: dict[int, str] = {}
        for uid, name in NAMES.items():
            self.users[uid] = stack.enter_context(LocalUser(uid, self.live.path))
            self.tokens[uid] = self.served.people.add_user(name)
            self.users[uid].write_token(self.live.path, self.tokens[uid])
            self.served.grants.let_read(VOLUME_NAME, name)
        self.top = str(self.live.path / "main/sales/raw")
        for name in ("f", "g", *READERS):
            put_file(self.served.volume / name, 300_000)
            os.utime(self.served.volume / name, (1e9, 1e9))

    @contextmanager
    def reading(self, uid: int, name: str) -> Iterator[list[Any]]:
        """A block in which a user reads a file, in his own time; the length he got, or the name of an errno."""
        got: list[Any] = []
        code = "with open(top + '/' + name, 'rb') as stream: out = len(stream.read())"

        def read() -> None:
            try:
                got.append(self.users[uid].do(code, top=self.top, name=name))
            except OSError as error:
                got.append(type(error).__name__)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield got
        finally:
            thread.join()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def test_who_waits_for_the_fetch_of_somebody_who_is_refused_fetches_himself(pair: Pair) -> None:
    for user in pair.users.values():
        user.do("os.stat(top + '/f')", top=pair.top)
    pair.served.journal.clear()
    slowly = pair.served.faults.add(Latency(1.5), kind="fs.files.get", user=NAMES[ALICE])
    with pair.reading(ALICE, "f") as by_alice:
        assert pair.served.journal.wait_until(lambda j: j.get_in_flight()["fs.files.get"] == 1)
        with pair.reading(BOB, "f") as by_bob:
            pair.served.grants.revoke(VOLUME_NAME, NAMES[ALICE])
    slowly.remove()
    pair.served.grants.let_read(VOLUME_NAME, NAMES[ALICE])
    assert slowly.fired > 0
    assert by_alice == ["PermissionError"]
    assert by_bob == [300_000]
    fetches = pair.served.journal.get_log("fs.files.get")
    assert {each.user for each in fetches} == set(NAMES.values())
    assert [each.status for each in fetches if each.user == NAMES[BOB]] == [206]


def test_every_call_carried_the_token_of_somebody_who_asked(pair: Pair) -> None:
    """Each file is read by one of them or by both; no call about it is in the name of another."""
    for user in pair.users.values():
        assert wait_for(lambda user=user: not user.fail("os.listdir(top)", top=pair.top))  # type: ignore[misc]
    pair.served.journal.clear()
    for name, uids in READERS.items():
        with ExitStack() as stack:
            got = [stack.enter_context(pair.reading(uid, name)) for uid in uids]
        assert got == [[300_000]] * len(uids)
    seen = 0
    for record in pair.served.journal.get_log("fs.files.get"):
        name = record.path.rpartition("/")[2]
        assert record.token in {fingerprint(pair.tokens[uid]) for uid in READERS[name]}, record
        seen += 1
    assert seen >= len(READERS)


OUTAGES: dict[str, Callable[[], Status | Hang]] = {
    "503": lambda: Status(status=503),
    "429": lambda: Status(status=429),
    "hang": Hang,
}


@pytest.mark.parametrize("kind", ["hang", pytest.param("503", marks=slow), pytest.param("429", marks=slow)])
def test_an_outage_under_the_question_denies_nothing(pair: Pair, kind: str) -> None:
    """It begins while the right is being asked for: bytes, names and lists are shown on."""
    user = pair.users[BOB]
    everything = (
        "with open(top + '/g', 'rb') as stream: assert len(stream.read()) == 300_000\n"
        "assert 'g' in os.listdir(top)\n"
        "assert os.listdir(os.path.dirname(top)) and os.listdir(os.path.dirname(os.path.dirname(top)))\n"
        "assert os.access(top + '/g', os.R_OK); os.stat(os.path.dirname(top))"
    )
    assert wait_for(lambda: not user.fail(everything, top=pair.top))
    probes = Hang()
    held = pair.served.faults.add(probes, kind="fs.directories.list")
    fault = None
    try:
        # A proof has ended, and the question about the next one is under way when the outage begins.
        assert pair.served.journal.wait_until(lambda j: not j.get_in_flight()["fs.directories.list"])
        assert not wait_for(lambda: user.fail("os.stat(top + '/g')", top=pair.top), 1.2 * TTL)
        fault = pair.served.faults.add(OUTAGES[kind]())
        held.remove()
        refused: set[str] = set()

        def is_asked_in_vain() -> bool:
            refused.add(user.fail(everything, top=pair.top))
            return fault.fired > 0

        # Who was not answered a moment ago is not made to wait again for seconds.
        assert wait_for(is_asked_in_vain, 20)
        refused.add(user.fail(everything, top=pair.top))
        assert refused == {""}
    finally:
        held.remove()
        if fault is not None:
            fault.remove()
    assert wait_for(lambda: not user.fail(everything, top=pair.top))
