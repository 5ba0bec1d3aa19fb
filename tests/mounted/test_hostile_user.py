"""Row S8: one local user, however badly he behaves, stops the mount for nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace.effects import Hang, Latency
from tests.support.local_users import ALICE, BOB, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

pytestmark = needs_root

ALICE_NAME, BOB_NAME = "alice@example.com", "bob@example.com"
FOLDERS = 300

#: A call that hangs is given up after 20 s; who waits for another user's waits about as long.
STARVED_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A mount with a victim, alice, and bob, who wishes it ill; both may read everything."""

    served: Served
    live: LiveMount
    alice: LocalUser
    bob: LocalUser

    @property
    def hers(self) -> str:
        return str(self.live.path / "main/sales/hers")

    @property
    def his(self) -> str:
        return str(self.live.path / "main/sales/raw")

    def worst_of_alice(self, rounds: range) -> float:
        """The longest, in seconds, that she waited for files and folders that nobody has asked for before."""
        worst = 0.0
        for number in rounds:
            before = time.monotonic()
            length = self.alice.do("out = len(open(f'{top}/d{n}/f', 'rb').read())", top=self.hers, n=number)
            assert length == 300_000
            worst = max(worst, time.monotonic() - before)
        return worst


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        served = stack.enter_context(serve(folder / "tree"))
        for number in range(FOLDERS):
            _put(served.volume / f"d{number}/f", 1000)
        for number in range(40):
            _put(served.volume.parent / f"hers/d{number}/f", 300_000)
        live = stack.enter_context(mounted(served, folder / "m", "--allow-other", token=""))
        alice, bob = (stack.enter_context(LocalUser(uid, live.path)) for uid in (ALICE, BOB))
        for user, name in ((alice, ALICE_NAME), (bob, BOB_NAME)):
            user.write_token(live.path, served.people.add_user(name))
        running = Pair(served, live, alice, bob)
        alice.do("os.listdir(top)", top=running.hers)
        bob.do("os.listdir(top)", top=running.his)
        yield running


def _put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    put_file(path, size)


FLOOD = """
def look(number):
    try:
        os.stat(f'{top}/d{number}/f')
    except OSError as error:
        ended.append(error.errno)
ended = []
threads = [threading.Thread(target=look, args=(number,)) for number in range(count)]
for thread in threads: thread.start()
"""


def test_three_hundred_lookups_that_hang_keep_nobody_else_waiting(pair: Pair) -> None:
    fault = pair.served.faults.add(Hang(), user=BOB_NAME)
    try:
        pair.bob.do(FLOOD, top=pair.his, count=FOLDERS)
        assert wait_for(lambda: fault.fired > 2)
        assert pair.worst_of_alice(range(10)) < STARVED_SECONDS
    finally:
        fault.remove()
        pair.bob.do("for thread in threads: thread.join()")


def test_a_queue_of_one_keeps_nobody_else_waiting(pair: Pair) -> None:
    """In the order of arrival she would wait for all three hundred, of which eight at a time take half a second."""
    slow = pair.served.faults.add(Latency(0.5), user=BOB_NAME)
    before = pair.served.counts["fs.files.get"]
    try:
        pair.bob.do(
            "def look(number):\n    with open(f'{top}/d{number}/f', 'rb') as stream: stream.read()\n"
            "threads = [threading.Thread(target=look, args=(number,)) for number in range(count)]\n"
            "for thread in threads: thread.start()",
            top=pair.his,
            count=FOLDERS,
        )
        pair.worst_of_alice(range(10, 15))
        served_meanwhile = pair.served.counts["fs.files.get"] - before
    finally:
        slow.remove()
        pair.bob.do("for thread in threads: thread.join()")
    assert served_meanwhile < FOLDERS


def test_open_files_of_one_leave_room_for_others(pair: Pair) -> None:
    """The mount holds no more descriptors than it caches of chunk files (256), however many files are open."""
    held = _descriptors(pair.live)
    pair.bob.do(
        "held = [os.open(f'{top}/d{n % 300}/f', os.O_RDONLY) for n in range(900)]",
        top=pair.his,
    )
    assert pair.worst_of_alice(range(15, 20)) < STARVED_SECONDS
    assert _descriptors(pair.live) < held + 300
    pair.bob.do("for each in held: os.close(each)")


@pytest.mark.parametrize("name", ["personal_access_token", "login"])
def test_a_write_without_end_is_refused_and_takes_no_memory(pair: Pair, name: str) -> None:
    before = _resident_kib(pair.live)
    refused = pair.bob.fail(
        "with open(path, 'wb', buffering=0) as stream:\n    for _ in range(400): stream.write(b'x' * (1 << 20))",
        path=str(pair.live.path / ".auth" / name),
    )
    assert refused
    assert _resident_kib(pair.live) < before + 32 * 1024
    assert pair.worst_of_alice(range(20, 22)) < STARVED_SECONDS


def test_names_that_nothing_can_have(pair: Pair) -> None:
    for name, why in (
        (b"\xff\xfe", "ENOENT"), (b"a" * 256, "ENAMETOOLONG"), (b"a\nb", "ENOENT"), (b"%2e%2e", "ENOENT"),
        (b"?a=b", "ENOENT"), (b"#", "ENOENT"), (b"\\", "ENOENT"), (b"...", "ENOENT"),
    ):  # fmt: skip
        assert pair.bob.fail("os.stat(top + b'/' + name)", top=pair.his.encode(), name=name) == why
    assert not pair.bob.fail("os.stat(top + '/d0/f')", top=pair.his)


def _descriptors(live: LiveMount) -> int:
    return len(list(Path(f"/proc/{live.process.pid}/fd").iterdir()))


def _resident_kib(live: LiveMount) -> int:
    status = Path(f"/proc/{live.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
