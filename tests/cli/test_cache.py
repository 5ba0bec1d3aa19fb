"""``fuse4dbricks cache``: beside a mount, without one, and on folders that are none."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse4dbricks.index.migrations import newest_version
from tests.support.commands import asked, run
from tests.support.indexes import outside
from tests.support.mounts import LiveMount, mounted
from tests.support.sales import CHUNKS, SIZES, files_in, make, read_all
from tests.support.trees import FIRST_MTIME
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME, Served, serve


def used_by(files: list[Path]) -> int:
    return sum(file.stat().st_blocks * 512 for file in files)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("tree")) as running:
        make(running)
        yield running


@pytest.fixture(scope="module")
def original(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of a mount that has read everything and ended."""
    with mounted(served, tmp_path_factory.mktemp("original")) as running:
        assert read_all(running) == make(served)
        assert running.stop() == 0
        assert len(files_in(running.cache)) == CHUNKS
        return running.cache


@pytest.fixture
def left(original: Path, tmp_path: Path) -> Path:
    """A copy of it: nobody is mounted."""
    return Path(shutil.copytree(original, tmp_path / "cache"))


@pytest.fixture
def live(served: Served, left: Path, tmp_path: Path) -> Iterator[LiveMount]:
    """A mount at work in such a copy."""
    with mounted(served, tmp_path) as running:
        yield running


@pytest.fixture(params=["mounted", "alone"])
def attended(request: pytest.FixtureRequest) -> Path:
    """A cache folder, with a mount at work in it and without."""
    if request.param == "alone":
        return Path(request.getfixturevalue("left"))
    running: LiveMount = request.getfixturevalue("live")
    return running.cache


# --- looking -------------------------------------------------------------------------------------


def test_what_is_cached_is_told_and_in_order_and_as_it_was_written(attended: Path) -> None:
    listed = asked(attended, "ls")["files"]
    assert {each["path"]: (each["size"], each["cached_bytes"]) for each in listed} == {
        f"{VOLUME}/{name}": (size, size) for name, size in SIZES.items()
    }
    assert [each["path"] for each in asked(attended, "ls", f"{VOLUME}/sub")["files"]] == [
        f"{VOLUME}/sub/c.bin"
    ]
    assert asked(attended, "ls", f"{VOLUME}/su")["files"] == []
    assert run(attended, "ls", f"{VOLUME}/su").stdout == "Nothing is cached there.\n"
    assert {each["last_modified"] for each in listed} == {int(FIRST_MTIME)}
    assert sum(each["disk_bytes"] for each in listed) == used_by(files_in(attended))
    used = asked(attended, "du", VOLUME)
    assert {each["path"] for each in used["entries"]} == {
        f"{VOLUME}/{name}" for name in ("a.bin", "b.csv", "sub")
    }
    assert used["disk_bytes"] == used_by(files_in(attended))
    assert asked(attended, "du", f"{VOLUME}/su") == {
        "schema": 1,
        "path": f"{VOLUME}/su",
        "disk_bytes": 0,
        "entries": [],
    }
    assert [asked(attended, "du", path)["disk_bytes"] for path in ("/Volumes", "/Volumes/main")] == [
        used["disk_bytes"]
    ] * 2
    assert f"{VOLUME}/b.csv" in run(attended, "ls").stdout
    assert "in all" in run(attended, "du").stdout

    assert asked(attended, "check")["clean"]
    assert asked(attended, "check", "--fix")["fixed"] is None
    assert run(attended, "check").stdout.startswith(f"In order: {CHUNKS} chunks")
    verified = asked(attended, "verify")
    assert (verified["chunks"], verified["bytes"], verified["bad"]) == (CHUNKS, sum(SIZES.values()), [])


def test_who_wants_no_more_lines_gets_no_complaint(left: Path) -> None:
    """``cache ls | head``: the pipe is closed before the first line is written."""
    commands = (["ls"], ["ls", "--json"], ["du"], ["du", "--json"])
    running = []
    for command in commands:
        read_end, write_end = os.pipe()
        os.close(read_end)
        words = ["cache", *command, "--disk-cache-dir", str(left)]
        with open(write_end, "wb") as stream:  # noqa: PTH123 - a descriptor
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "fuse4dbricks", *words], stdout=stream, stderr=subprocess.PIPE
                )
            )
    for command, process in zip(commands, running, strict=True):
        _, complaint = process.communicate(timeout=60)
        assert (complaint, process.returncode) == (b"", 1), command


def test_a_path_in_a_mount_is_one_of_the_workspace(live: LiveMount) -> None:
    mine = live.path / "main/sales/raw/sub"
    assert asked(live.cache, "du", mine) == asked(live.cache, "du", f"{VOLUME}/sub")
    assert asked(live.cache, "evict", mine)["chunks"] == 2


# --- mending -------------------------------------------------------------------------------------


def test_the_case_of_securables_does_not_matter(attended: Path) -> None:
    shouted = VOLUME.replace("main/sales", "MAIN/Sales")
    assert shouted != VOLUME
    for path in (VOLUME, VOLUME.rpartition("/")[0]):
        for command in (["ls"], ["du"]):
            other = path.replace("main/sales", "MAIN/Sales")
            assert asked(attended, *command, other) == asked(attended, *command, path)
    assert asked(attended, "ls", "/Volumes/MAIN")["files"]
    assert asked(attended, "ls", "/Volumes/MAIN", of="offline")["files"]
    assert asked(attended, "evict", shouted)["chunks"] == CHUNKS


def test_what_is_wrong_is_found_and_put_right(attended: Path) -> None:
    asked(attended, "rebuild")  # over only when the first sweep of the mount is: it would find the same
    gone, flipped, *_ = files_in(attended)
    gone.unlink()
    (attended / "chunks/00" / f"{'00' * 16}.chunk").write_bytes(b"no chunk")
    leftover = attended / "tmp" / f"{'0' * 16}-1.tmp"
    leftover.write_bytes(b"half")
    os.utime(leftover, (FIRST_MTIME, FIRST_MTIME))
    found = asked(attended, "check", code=6)
    assert found["rows_without_file"] == [gone.stem]
    assert found["files_without_row"] == ["00" * 16]
    assert found["leftovers"] == [leftover.name]
    mended = asked(attended, "check", "--fix")
    assert mended["clean"]
    assert mended["fixed"]["rows_without_file"] == [gone.stem]
    assert len(files_in(attended)) == CHUNKS - 1 == mended["chunks"]

    content = bytearray(flipped.read_bytes())
    content[500] ^= 1
    flipped.write_bytes(content)
    assert [each["chunk"] for each in asked(attended, "verify", code=6)["bad"]] == [flipped.stem]
    assert asked(attended, "verify", "--fix")["removed"]
    assert asked(attended, "verify")["bad"] == []
    assert asked(attended, "check")["clean"]


def test_an_index_made_anew_knows_every_chunk(attended: Path) -> None:
    for _ in range(2):  # as often as one likes
        assert asked(attended, "rebuild") == {"schema": 1, "recorded": CHUNKS, "removed": 0}
        assert asked(attended, "check")["chunks"] == CHUNKS


def test_a_mount_goes_on_with_an_index_made_anew(live: LiveMount, served: Served) -> None:
    asked(live.cache, "rebuild")
    served.journal.clear()
    assert read_all(live) == make(served)
    assert served.counts["fs.files.get"] == 0
    db = outside(live.cache)
    [(pid,)] = db.execute("SELECT pid FROM mount").fetchall()
    db.close()
    assert pid == live.process.pid, "cache-stats is to know who uses the folder"
    assert asked(live.cache, "evict", "--user", served.user)["chunks"] == CHUNKS


def test_a_damaged_index_is_found_and_made_anew(left: Path) -> None:
    db = outside(left, write=True)
    db.execute("UPDATE chunk SET length = 7 WHERE id = 1")
    db.close()
    assert "checksum" in {each["kind"] for each in asked(left, "check", code=6)["findings"]}
    assert asked(left, "check", "--fix")["chunks"] == CHUNKS
    db = outside(left, write=True)
    db.execute("UPDATE usage SET chunks = chunks + 1")
    db.close()
    assert {each["kind"] for each in asked(left, "check", code=6)["findings"]} == {"totals"}
    assert asked(left, "check", "--fix")["clean"]
    for each in left.glob("index.sqlite*"):
        each.write_bytes(b"nonsense" * 1000)
    assert "cache rebuild" in run(left, "ls", code=4).stderr
    asked(left, "check", code=6)
    assert asked(left, "check", "--fix")["chunks"] == CHUNKS


@pytest.mark.parametrize(
    "command", [("clear",), ("evict", "/Volumes/main"), ("evict", "--to-size", "0")], ids=" ".join
)
def test_what_a_damaged_index_has_forgotten_is_removed_as_well(left: Path, command: tuple[str, ...]) -> None:
    for each in left.glob("index.sqlite*"):
        each.write_bytes(b"nonsense" * 1000)
    assert asked(left, *command)["chunks"] == CHUNKS
    assert not [*left.rglob("*.chunk")]


# --- making room ---------------------------------------------------------------------------------


def test_what_is_pointed_out_goes(attended: Path) -> None:
    assert asked(attended, "evict", "--older-than", "1h")["chunks"] == 0
    assert asked(attended, "evict", "--user", "nobody@example.com")["chunks"] == 0
    assert asked(attended, "evict", f"{VOLUME}/sub", "--older-than", "0s")["chunks"] == 2
    assert asked(attended, "evict", "--to-size", "1100K")["chunks"] > 0
    assert sum(file.stat().st_blocks * 512 for file in files_in(attended)) <= 1100 * 1024
    assert asked(attended, "check")["clean"]
    left = len(files_in(attended))
    assert asked(attended, "clear")["chunks"] == left
    assert files_in(attended) == []
    assert asked(attended, "check")["chunks"] == 0


def test_what_an_open_file_reads_stays(live: LiveMount, served: Served) -> None:
    with (live.path / "main/sales/raw/a.bin").open("rb") as stream:
        stream.read(10)
        assert asked(live.cache, "clear")["chunks"] == CHUNKS - 3
        assert len(files_in(live.cache)) == 3
    assert wait_for(lambda: asked(live.cache, "clear")["chunks"] == 3)
    assert read_all(live) == make(served)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evict"],
        ["evict", "/etc"],
        ["evict", "--older-than", "soon"],
        ["evict", "--to-size", "1G", VOLUME],
        ["ls", "."],
    ],
)
def test_what_is_not_understood_is_bad_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert "--help" in run(tmp_path, *arguments, code=2).stderr or arguments[0] == "evict"


# --- folders that are none, and the socket -------------------------------------------------------

COMMANDS = (
    ["check"],
    ["check", "--fix"],
    ["verify"],
    ["rebuild"],
    ["clear"],
    ["evict", VOLUME],
    ["ls"],
    ["du"],
    ["pins"],
    ["unpin", VOLUME],
    ["warm", VOLUME, "--workspace", "http://127.0.0.1:1"],
    ["pin", VOLUME, "--workspace", "http://127.0.0.1:1"],
    ["sql", "SELECT count(*) FROM v_files"],
)

#: These make the folder that they need, as a mount does.
MAKING = {"warm", "pin"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_folders_that_are_no_cache_are_refused(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "empty").mkdir(mode=0o700)
    (tmp_path / "foreign").mkdir(mode=0o700)
    (tmp_path / "foreign/thesis.txt").write_text("precious")
    for name in ("foreign",) if command[0] in MAKING else ("missing", "empty", "foreign"):
        assert "cannot use the cache folder" in run(tmp_path / name, *command, code=4).stderr
    assert (tmp_path / "foreign/thesis.txt").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


def test_a_cache_that_is_locked_or_newer_is_refused(left: Path) -> None:
    with (left / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert asked(left, "check")["clean"]
        assert "another mount uses it" in run(left, "clear", code=4).stderr
    db = outside(left, write=True)
    db.pragma("user_version", newest_version() + 1)
    db.close()
    for command in COMMANDS:
        assert "newer fuse4dbricks" in run(left, *command, code=4).stderr
    assert len(files_in(left)) == CHUNKS


def exchange(live: LiveMount, message: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        fd = os.open(live.cache, os.O_RDONLY)
        try:
            client.connect(f"/proc/self/fd/{fd}/control")
        finally:
            os.close(fd)
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"order": "evict"', b'{"order": "fly"}\n', b'{"order": 7}\n',
        b'{"order": "evict", "all": true}\n', b'{"order": "evict", "names": "00"}\n', b'{"order": "shrink"}\n',
        b'{"order": "shrink", "to_bytes": NaN}\n', b'{"order": "evict", "under": "/etc"}\n',
        b'{"order": "evict", "names": ["xyz"]}\n', b"x" * 100_000,
    ],
)  # fmt: skip
def test_nonsense_on_the_socket_does_nothing(message: bytes, nonsense: LiveMount) -> None:
    answer = exchange(nonsense, message)
    assert answer == b"" or "refused" in json.loads(answer)
    assert len(files_in(nonsense.cache)) == CHUNKS
    assert asked(nonsense.cache, "check")["clean"]


@pytest.fixture(scope="module")
def nonsense(served: Served, original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    top = tmp_path_factory.mktemp("nonsense")
    shutil.copytree(original, top / "cache")
    with mounted(served, top) as running:
        yield running


def test_clients_that_say_nothing_hold_up_nobody(live: LiveMount) -> None:
    control = live.cache / "control"
    assert control.is_socket()
    assert control.stat().st_mode & 0o777 == 0o600
    fd = os.open(live.cache, os.O_RDONLY)
    idle = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for client in idle:
        client.connect(f"/proc/self/fd/{fd}/control")
    os.close(fd)
    assert asked(live.cache, "clear")["chunks"] == CHUNKS
    assert live.stop() == 0
    for client in idle:
        client.close()
    assert not control.exists()


def test_a_killed_mounts_socket_is_in_nobodys_way(live: LiveMount, served: Served, tmp_path: Path) -> None:
    live.kill()
    assert (live.cache / "control").is_socket()
    assert asked(live.cache, "evict", f"{VOLUME}/b.csv")["chunks"] == 1
    with mounted(served, tmp_path) as again:
        assert read_all(again) == make(served)
        assert wait_for(lambda: len(asked(again.cache, "ls")["files"]) == len(SIZES))
