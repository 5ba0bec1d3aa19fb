"""The life of a real mount, from the first line to the last: signals, crashes, neighbours and leftovers."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuse4dbricks.app.surroundings import unmount_lazily
from fuse4dbricks.devworkspace.effects import Hang, Latency
from tests.support.mounts import LiveMount, mounted, needs_fuse, start_mount
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve, workspace

__all__ = ["workspace"]

pytestmark = [needs_fuse, pytest.mark.mounted]

INSIDE = "main/sales/raw"
CONTENT = bytes(range(256)) * 12_000  # three chunks and a bit


@pytest.fixture(autouse=True)
def one_file(workspace: Served) -> None:
    file = workspace.volume / "three.bin"
    file.write_bytes(CONTENT)
    os.utime(file, (1_700_000_000, 1_700_000_000))


def temporary_files(cache: Path) -> list[Path]:
    return [
        path for path in cache.rglob("*") if path.is_file() and "tmp" in path.relative_to(cache).as_posix()
    ]


def assert_gone(mount: LiveMount) -> None:
    assert not mount.is_mounted
    assert not temporary_files(mount.cache)
    assert "Traceback" not in mount.log


def test_from_beginning_to_end(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        assert mount.said.count("\n") == 1
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        assert mount.stop() == 0
        assert_gone(mount)


@contextlib.contextmanager
def idle(mount: LiveMount) -> Iterator[None]:
    yield


@contextlib.contextmanager
def file_open(mount: LiveMount) -> Iterator[None]:
    descriptor = os.open(mount.path / INSIDE / "three.bin", os.O_RDONLY)
    try:
        os.read(descriptor, 10)
        yield
    finally:
        with contextlib.suppress(OSError):  # the mount is gone, and says so
            os.close(descriptor)


@contextlib.contextmanager
def working_directory_inside(mount: LiveMount) -> Iterator[None]:
    sleeper = subprocess.Popen(["cat"], cwd=mount.path / INSIDE, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        sleeper.communicate(timeout=30)


@contextlib.contextmanager
def download_running(mount: LiveMount) -> Iterator[None]:
    reader = subprocess.Popen(
        ["cat", mount.path / INSIDE / "three.bin"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        reader.wait(30)


Busy = Callable[[LiveMount], contextlib.AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("number", "busy", "times"),
    [
        (signal.SIGINT, idle, 1),
        (signal.SIGTERM, idle, 1),
        (signal.SIGHUP, idle, 2),
        (signal.SIGTERM, file_open, 1),
        (signal.SIGHUP, working_directory_inside, 1),
        (signal.SIGINT, download_running, 1),
        (signal.SIGTERM, download_running, 2),
    ],
)
def test_signals_unmount(
    workspace: Served, tmp_path: Path, number: signal.Signals, busy: Busy, times: int
) -> None:
    with mounted(workspace, tmp_path) as mount:
        hang = None
        if busy is download_running:
            hang = workspace.faults.add(Hang(), kind="fs.files.get")
        with busy(mount):
            if hang is not None:
                workspace.journal.wait_until(lambda journal: journal.get_in_flight()["fs.files.get"] >= 1)
            for _ in range(times):
                mount.process.send_signal(number)
            # The promise is 5 seconds; a watchdog keeps it. The rest is for a machine under load.
            assert mount.process.wait(10) == 0
            assert not mount.is_mounted
        assert_gone(mount)


def test_a_signal_while_a_request_waits_for_the_workspace(workspace: Served, tmp_path: Path) -> None:
    slow = workspace.faults.add(Latency(60), kind="uc.catalogs.list")
    with mounted(workspace, tmp_path) as mount:
        listing = subprocess.Popen(["ls", mount.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        workspace.journal.wait_until(lambda journal: journal.get_in_flight()["uc.catalogs.list"] >= 1)
        assert mount.stop(signal.SIGHUP) == 0
        listing.wait(30)
        assert slow.fired
        assert_gone(mount)


def test_an_unmount_from_outside_ends_it(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        subprocess.run(["fusermount3", "-u", mount.path], check=True, timeout=30)
        assert mount.process.wait(10) == 0
        assert_gone(mount)


def test_a_lazy_unmount_lets_open_files_finish(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        with (mount.path / INSIDE / "three.bin").open("rb") as file:
            start = file.read(1000)
            busy = subprocess.run(
                ["fusermount3", "-u", mount.path], capture_output=True, check=False, timeout=30
            )
            assert busy.returncode != 0, "a plain unmount refuses while a file is open"
            assert unmount_lazily(mount.path)
            assert start + file.read() == CONTENT
            assert mount.process.poll() is None
        assert mount.process.wait(10) == 0


def test_after_a_crash_it_starts_warm(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        assert mount.stop() == 0
    workspace.journal.clear()
    with mounted(workspace, tmp_path) as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        mount.kill()
    with mounted(workspace, tmp_path) as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        assert mount.stop() == 0
    assert workspace.counts["fs.files.get"] == 0


def guards_of(mount: LiveMount) -> list[int]:
    """Processes of the mount beside the daemon: fusermount3, which waits to unmount for a killed daemon."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = cmdline.read_bytes().split(b"\0")
            if b"fusermount3" in words[0] and os.fsencode(mount.path) in words:
                found.append(int(cmdline.parent.name))
    return found


def wait_for_end(pid: int) -> None:
    """Wait for a process that is not our child."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 10)[0], f"process {pid} does not end"
        finally:
            os.close(descriptor)


def test_a_killed_mount_leaves_no_dead_one(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        guards = guards_of(mount)
        assert guards, "auto_unmount has a guard"
        mount.kill()
        for guard in guards:
            wait_for_end(guard)
        assert wait_for(lambda: not mount.is_mounted)


def make_dead_mount(workspace: Served, folder: Path) -> LiveMount:
    """Kill the daemon and, first, the guard that would unmount for it."""
    mount = start_mount(workspace, folder)
    mount.wait_until_ready()
    for guard in guards_of(mount):
        os.kill(guard, signal.SIGKILL)
    mount.kill()
    assert mount.process.stdout is not None
    mount.process.stdout.close()
    return mount


def test_a_dead_mount_of_our_own_is_recovered(workspace: Served, tmp_path: Path) -> None:
    dead = make_dead_mount(workspace, tmp_path)
    try:
        assert dead.is_mounted
        with pytest.raises(OSError) as failed:
            os.statvfs(dead.path)
        assert failed.value.errno == errno.ENOTCONN
        with mounted(workspace, tmp_path) as mount:
            assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
            assert mount.stop() == 0
            assert_gone(mount)
    finally:
        dead.clean_up()


def refused(mount: LiveMount, code: int) -> str:
    """Wait for a start that is refused; its one line."""
    try:
        assert mount.process.wait(30) == code, mount.log
        assert mount.log.count("\n") == 1, mount.log
        return mount.log
    finally:
        mount.clean_up()


def test_a_live_mount_is_left_alone(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        second = start_mount(workspace, tmp_path, "--disk-cache-dir", tmp_path / "cache-2")
        line = second.process.wait(30), second.log
        assert line[0] == 3
        assert "already mounted" in second.log.splitlines()[-1]
        assert second.process.stdout is not None
        second.process.stdout.close()
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT


def test_a_cache_folder_serves_one_mount(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path / "first") as mount:
        second = start_mount(workspace, tmp_path / "second", "--disk-cache-dir", mount.cache)
        line = refused(second, 4)
        assert str(mount.process.pid) in line
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT


def test_a_cache_inside_the_mount_is_refused(workspace: Served, tmp_path: Path) -> None:
    for inside in ("mnt", "mnt/cache"):
        line = refused(start_mount(workspace, tmp_path, "--disk-cache-dir", tmp_path / inside), 4)
        assert "inside the mount" in line
        assert not list((tmp_path / "mnt").iterdir())


def test_nothing_on_disk_when_told_so(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path, "--disk-cache-gb", "0") as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        assert mount.stop() == 0
        assert not mount.cache.exists()


def test_a_cleared_cache_is_empty(workspace: Served, tmp_path: Path) -> None:
    for options in ((), ("--clear-cache",)):
        workspace.journal.clear()
        with mounted(workspace, tmp_path, *options) as mount:
            assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
            assert mount.stop() == 0
        assert workspace.counts["fs.files.get"] > 0


def test_another_chunk_size_reads_right_over_an_old_cache(workspace: Served, tmp_path: Path) -> None:
    for size in ("1024", "64", "2048"):
        with mounted(workspace, tmp_path, "--chunk-size-kb", size) as mount:
            assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
            assert mount.stop() == 0


def test_a_broken_index_is_no_obstacle(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path) as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        assert mount.stop() == 0
    for file in mount.cache.glob("index.sqlite*"):
        file.write_bytes(b"\0garbage" * 4096)
    with mounted(workspace, tmp_path) as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of one's own needs root")
def test_a_full_disk_is_no_obstacle(workspace: Served, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "none", disk], check=True, timeout=30)
    try:
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes(1 << 20))
        with mounted(workspace, tmp_path, "--disk-cache-dir", disk / "cache") as mount:
            assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
            assert "without a disk cache" in mount.log
            assert mount.stop() == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=True, timeout=30)


def test_over_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    with serve(tmp_path / "tree", tls=True) as secure:
        (secure.volume / "a.txt").write_bytes(b"over TLS")
        with mounted(secure, tmp_path / "with") as mount:
            assert (mount.path / INSIDE / "a.txt").read_bytes() == b"over TLS"
        with mounted(secure.url, tmp_path / "without", token=secure.token) as mount:
            with pytest.raises(OSError) as failed:
                (mount.path / INSIDE / "a.txt").read_bytes()
            assert failed.value.errno == errno.EHOSTUNREACH


def test_without_a_token_there_is_only_the_way_to_one(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path, token="") as mount:
        assert sorted(entry.name for entry in mount.path.iterdir()) == [".auth", "README.txt"]
        (mount.path / ".auth" / "personal_access_token").write_text(workspace.token + "\n")
        assert "main" in {entry.name for entry in mount.path.iterdir()}
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT


def test_the_look_is_as_asked(workspace: Served, tmp_path: Path) -> None:
    look = ("--uid", "1234", "--gid", "4321", "--file-mode", "0440", "--dir-mode", "0550")
    with mounted(workspace, tmp_path, *look) as mount:
        file, folder = (mount.path / INSIDE / "three.bin").stat(), (mount.path / INSIDE).stat()
        assert (file.st_uid, file.st_gid, file.st_mode & 0o7777) == (1234, 4321, 0o440)
        assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o7777) == (1234, 4321, 0o550)


def test_the_token_stays_in_memory(workspace: Served, tmp_path: Path) -> None:
    token = b"dapi-canary-0123456789"
    workspace.people.issue_token(workspace.user, value=token.decode())
    with mounted(workspace, tmp_path, token=token.decode()) as mount:
        assert (mount.path / INSIDE / "three.bin").read_bytes() == CONTENT
        proc = Path(f"/proc/{mount.process.pid}")
        assert token not in (proc / "cmdline").read_bytes()
        assert token not in (proc / "environ").read_bytes()
        limits = (proc / "limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [
            ["0", "0"]
        ]
        assert mount.stop() == 0
        leaks = [path for path in mount.cache.rglob("*") if path.is_file() and token in path.read_bytes()]
        assert not leaks
        assert token.decode() not in mount.log
    assert workspace.counts["fs.files.get"] > 0
