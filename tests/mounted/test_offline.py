"""The workspace is gone, and the mount was killed: what was read is read again, and the rest says so at once.

Nothing here is judged by seconds but against a limit that a call to a dead workspace would pass.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.local_users import LocalUser, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME_NAME, Served, serve

#: A call to a workspace that is silent takes 25 s, one to a closed port 1 s.
AT_ONCE = 4.0
BACK = 40.0
MTIME = 1_600_000_000
TOP = Path(*VOLUME_NAME.split("."))
SIZES = {f"d{folder}/e/f{number}": 40_000 * number for folder in range(3) for number in range(4)} | {
    "long": 2_500_000
}
#: Times to live over, so that all that is served is past it.
EXPIRED = (
    "--metadata-cache-ttl-sec",
    "1",
    "--metadata-cache-ttl-catalog-sec",
    "1",
    "--permission-ttl-sec",
    "1",
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("tree")) as running:
        for name, size in SIZES.items():
            file = running.volume / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(random.Random(name).randbytes(size))
            os.utime(file, (MTIME, MTIME))
        (running.volume / "unread").write_bytes(b"unread")
        yield running


@pytest.fixture(scope="module")
def folder(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a mount has read all but one file, and was killed."""
    folder = tmp_path_factory.mktemp("mount")
    with mounted(served, folder, *EXPIRED) as live:
        assert_all_is_right(live.path)
        assert live.run("ls", "-lR", ".").returncode == 0
        assert wait_for(lambda: all_is_stored(live.cache), BACK)
        assert wait_for(lambda: is_calm(live.cache), BACK)
        live.kill()
    return folder


def all_is_stored(cache: Path) -> bool:
    return sum(is_stored(cache)) >= len(SIZES)


def is_stored(cache: Path) -> list[bool]:
    """Of each file that something is stored of: whether all is."""
    from fuse4dbricks.app.below import Below
    from fuse4dbricks.app.offline import list_files
    from fuse4dbricks.paths import ROOT

    return [each.is_complete for each in list_files(cache, Below(ROOT))]


def is_calm(cache: Path) -> bool:
    """Whether the index was not written to for a second: what was listed last has been committed."""
    return time.time() - max(file.stat().st_mtime for file in cache.glob("index.sqlite*")) > 1


@contextmanager
def away(served: Served) -> Iterator[None]:
    """The workspace cannot be reached."""
    served.go_down()
    served.journal.clear()
    try:
        yield
    finally:
        served.come_back()


def assert_all_is_right(mount: Path) -> None:
    for name in SIZES:
        expected = hashlib.sha256(random.Random(name).randbytes(SIZES[name])).digest()
        assert hashlib.sha256((mount / TOP / name).read_bytes()).digest() == expected


def assert_the_rest_fails_at_once(mount: Path) -> None:
    for name in (
        TOP / "none",
        TOP / "d1/none",
        TOP / "none/below",
        "nocatalog",
        "main/noschema",
        "main/sales/no",
    ):
        assert number_of(lambda path=mount / name: path.stat()) == errno.EHOSTUNREACH, name  # type: ignore[misc]
    assert number_of((mount / TOP / "unread").read_bytes) == errno.EHOSTUNREACH


def number_of(act: Callable[[], object]) -> int:
    began = time.monotonic()
    try:
        act()
    except OSError as error:
        assert time.monotonic() - began < AT_ONCE
        return error.errno or 0
    return 0


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir(exist_ok=True)
    shutil.copytree(folder / "cache", to / "cache", ignore=shutil.ignore_patterns("control*"))
    return to


def assert_it_serves(live: LiveMount) -> None:
    assert_all_is_right(live.path)
    listed = live.run("ls", "-lR", "main")
    assert listed.stderr.decode() == ""
    assert listed.returncode == 0
    assert listed.stdout.count(b" f") >= 12
    found = live.run("find", "main", "-type", "f")
    assert len(found.stdout.splitlines()) == len(SIZES) + 1
    assert live.run("du", "-s", "main").returncode == 0
    assert_the_rest_fails_at_once(live.path)
    assert_all_is_right(live.path)


@pytest.mark.parametrize("options", [(), ("--allow-other",)], ids=["alone", "shared"])
def test_after_a_kill_with_the_workspace_gone(
    served: Served, folder: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    place = copy_of(folder, tmp_path / "m")
    with away(served), mounted(served, place, *EXPIRED, *options) as live:
        assert_it_serves(live)
        assert served.counts.total() == 0
        assert live.log.count("offline: ") == 1, "one line"
        assert "connection  offline" in (live.path / ".auth/status").read_text()
        assert live.stop() == 0
    with away(served), mounted(served, place, *EXPIRED, *options) as again:
        assert_it_serves(again)


def test_a_service_principal_needs_no_token_endpoint(served: Served, tmp_path: Path) -> None:
    """Its tokens end with the mount; who it was is known by its secret, for as long as that is the same."""
    client_id, secret = served.people.add_service_principal("robot")
    variables = {"DATABRICKS_CLIENT_ID": client_id, "DATABRICKS_CLIENT_SECRET": secret}
    with mounted(served, tmp_path, *EXPIRED, token="", environment=variables) as live:
        assert_all_is_right(live.path)
        assert live.run("ls", "-lR", ".").returncode == 0
        assert wait_for(lambda: all_is_stored(live.cache), BACK)
        assert wait_for(lambda: is_calm(live.cache), BACK)
        live.kill()
    with away(served):
        with mounted(served, tmp_path, *EXPIRED, token="", environment=variables) as live:
            assert_it_serves(live)
            assert served.counts.total() == 0
        others = {**variables, "DATABRICKS_CLIENT_SECRET": "another-secret"}
        with mounted(served, tmp_path, *EXPIRED, token="", environment=others) as live:
            assert number_of((live.path / "main").stat) == errno.EHOSTUNREACH
            assert number_of((live.path / TOP / "long").read_bytes) == errno.EHOSTUNREACH
    with mounted(served, tmp_path, *EXPIRED, token="", environment=variables) as live:
        assert_all_is_right(live.path)
        assert (live.path / TOP / "unread").read_bytes() == b"unread"


def test_it_comes_back_by_itself(served: Served, folder: Path, tmp_path: Path) -> None:
    with mounted(served, copy_of(folder, tmp_path / "m"), *EXPIRED) as live:
        unread = live.path / TOP / "unread"
        with away(served), (live.path / TOP / "long").open("rb", buffering=0) as file:
            assert len(file.read(1000)) == 1000
            assert wait_for(lambda: number_of(unread.read_bytes) == errno.EHOSTUNREACH, BACK)
        assert wait_for(lambda: not number_of(unread.read_bytes), BACK)
        changed = served.volume / "d0/e/f1"
        before = changed.read_bytes()
        changed.write_bytes(b"changed meanwhile")
        try:
            seen = live.path / TOP / "d0/e/f1"
            assert wait_for(lambda: seen.read_bytes() == b"changed meanwhile", BACK), "all is revalidated"
        finally:
            changed.write_bytes(before)
            os.utime(changed, (MTIME, MTIME))
        assert live.log.count("online: ") == 1


def test_an_open_file_reads_what_is_here_and_goes_on_when_it_is_over(served: Served, tmp_path: Path) -> None:
    content = random.Random("large").randbytes(40_000_000)
    (served.volume / "large").write_bytes(content)
    os.utime(served.volume / "large", (MTIME, MTIME))
    try:
        with (
            mounted(served, tmp_path, *EXPIRED) as live,
            (live.path / TOP / "large").open("rb", buffering=0) as file,
        ):
            assert os.pread(file.fileno(), 100, 5) == content[5:105]
            with away(served):
                assert wait_for(
                    lambda: number_of(lambda: os.pread(file.fileno(), 10, 39_000_000)) == errno.EHOSTUNREACH,
                    BACK,
                )
                assert os.pread(file.fileno(), 100, 5) == content[5:105]
                assert number_of(lambda: os.pread(file.fileno(), 10, 30_000_000)) == errno.EHOSTUNREACH
            assert wait_for(lambda: not number_of(lambda: os.pread(file.fileno(), 10, 39_000_000)), BACK)
            assert os.pread(file.fileno(), 100, 39_000_000) == content[39_000_000:39_000_100]
    finally:
        (served.volume / "large").unlink()


def test_grace_has_an_end(served: Served, folder: Path, tmp_path: Path) -> None:
    place = copy_of(folder, tmp_path / "m")
    with away(served), mounted(served, place, *EXPIRED, "--offline-grace", "1s") as live:
        # Proved some seconds ago, and not since.
        file = live.path / TOP / "long"
        assert wait_for(lambda: number_of(file.read_bytes) == errno.EHOSTUNREACH, BACK)
        for path in ("main", "main/sales", TOP, TOP / "long"):
            assert number_of((live.path / path).stat) == errno.EHOSTUNREACH
        assert number_of(lambda: os.listdir(live.path / TOP)) == errno.EHOSTUNREACH  # noqa: PTH208


def test_never_prolongs_nothing(served: Served, folder: Path, tmp_path: Path) -> None:
    with mounted(served, copy_of(folder, tmp_path / "m"), *EXPIRED, "--offline", "never") as live:
        file = live.path / TOP / "long"
        assert number_of(file.read_bytes) == 0
        with away(served):
            assert wait_for(lambda: number_of(file.read_bytes) == errno.EHOSTUNREACH, BACK)


def test_who_went_by_a_path_only_can_list_the_way_there(served: Served, tmp_path: Path) -> None:
    """Catalogs, schemas and volumes were asked for by name and never listed."""
    name = next(iter(SIZES))
    with mounted(served, tmp_path / "m", *EXPIRED) as live:
        content = (live.path / TOP / name).read_bytes()
        assert wait_for(lambda: is_calm(live.cache), BACK)
        live.kill()
    with away(served), mounted(served, tmp_path / "m", *EXPIRED) as live:
        listed = live.run("ls", ".", *(str(each) for each in (*reversed(TOP.parents[:-1]), TOP)))
        assert listed.stderr.decode() == ""
        assert {*TOP.parts, "long"} <= set(listed.stdout.decode().split())
        assert (live.path / TOP / name).read_bytes() == content


def test_always_sends_nothing(served: Served, folder: Path, tmp_path: Path) -> None:
    served.journal.clear()
    place = copy_of(folder, tmp_path / "m")
    with serve_nobody() as (url, connections):
        # The cache is of another port: what matters here is that nobody is asked for it, either.
        with mounted(url, tmp_path / "other", "--offline", "always", token="dapi0") as live:
            assert number_of((live.path / "main").stat) == errno.EHOSTUNREACH
        assert connections == []
    with mounted(served, place, *EXPIRED, "--offline", "always") as live:
        assert_it_serves(live)
    assert served.counts.total() == 0, "however well it could be reached"


@contextmanager
def serve_nobody() -> Iterator[tuple[str, list[str]]]:
    """A port that counts who connects."""
    connections: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def count() -> None:
            while True:
                try:
                    connections.append(str(listener.accept()[1]))
                except OSError:
                    return

        thread = threading.Thread(target=count)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def in_namespace(*arguments: str) -> bool:
    return subprocess.run(["unshare", *arguments, "true"], capture_output=True, check=False).returncode == 0


@needs_root
@pytest.mark.skipif(not in_namespace("-n"), reason="no network namespaces here")
def test_with_no_network_at_all(served: Served, folder: Path, tmp_path: Path) -> None:
    """No route and no name server: not even the loopback interface is up."""
    place = copy_of(folder, tmp_path / "m")
    with mounted(served, place, *EXPIRED, wrapper=("unshare", "-n")) as live:
        assert_it_serves(live)
    other = tmp_path / "named"
    url = "https://adb-1.nowhere.invalid"
    with mounted(url, other, wrapper=("unshare", "-n"), token="dapi0") as live:
        assert number_of((live.path / "main").stat) == errno.EHOSTUNREACH
        assert (live.path / "README.txt").read_text()


@needs_root
@pytest.mark.skipif(not in_namespace("-T", "--boottime", "1000000"), reason="no time namespaces here")
def test_after_a_reboot(served: Served, tmp_path: Path) -> None:
    """The monotonic clock begins anew, far below what it was."""
    with mounted(served, tmp_path, *EXPIRED, wrapper=("unshare", "-T", "--boottime", "1000000")) as live:
        assert_all_is_right(live.path)
        assert live.run("ls", "-lR", ".").returncode == 0
        assert live.stop() == 0
    with away(served), mounted(served, tmp_path, *EXPIRED) as live:
        assert_it_serves(live)


ANN, BOB = 12345, 12346
READ = "out = sum(open(top + '/' + name, 'rb').read(1)[0] for name in ['long'])"
ACTS = ("os.listdir(top)", "open(top + '/long', 'rb').read(1)", "os.stat(top + '/long')")


@needs_root
def test_two_users_stay_apart(served: Served) -> None:
    """Ann may read and Bob may not; both write their tokens again after the restart, with nobody there to ask."""
    ann, bob = served.people.add_user("ann@example.com"), served.people.add_user("bob@example.com")
    served.grants.open_to_all = False
    served.grants.let_read(VOLUME_NAME, "ann@example.com")
    try:
        with open_folder() as place:
            with two_users(served, place, ann, bob) as (live, users, top):
                users[0].do(READ, top=top)
                assert all(users[1].fail(act, top=top) in {"EACCES", "ENOENT"} for act in ACTS)
                assert wait_for(lambda: bool(is_stored(live.cache)), BACK)
                assert wait_for(lambda: is_calm(live.cache), BACK)
                live.kill()
            with away(served), two_users(served, place, ann, bob) as (live, users, top):
                users[0].do(READ, top=top)
                for _ in range(2):
                    for act in ACTS:
                        assert not users[0].fail(act, top=top)
                        assert users[1].fail(act, top=top) in {"EACCES", "EHOSTUNREACH"}
                # Without a token of his own nobody is anybody, and somebody else's right is not his.
                users[0].write_token(live.path, "")
                assert users[0].fail(ACTS[1], top=top) == "EACCES"
    finally:
        served.grants.open_to_all = True


@contextmanager
def two_users(
    served: Served, place: Path, *tokens: str
) -> Iterator[tuple[LiveMount, tuple[LocalUser, LocalUser], str]]:
    options = ("--allow-other", *EXPIRED)
    with (
        mounted(served, place, *options, token="") as live,
        LocalUser(ANN, live.path) as ann,
        LocalUser(BOB, live.path) as bob,
    ):
        for user, token in zip((ann, bob), tokens, strict=True):
            user.write_token(live.path, token)
        yield live, (ann, bob), str(live.path / TOP)
