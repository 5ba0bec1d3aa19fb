"""``fuse4dbricks offline``: what it says can be read is what a mount then reads, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.cli.main import main
from tests.support.commands import asked, run
from tests.support.mounts import mounted
from tests.support.workspace import VOLUME, Served, serve

FIRST_MTIME = 1_600_000_000
SIZES = {"a.bin": 2_500_000, "b.csv": 1000, "empty": 0, "sub/c.bin": 1_200_000, "sub/d.bin": 3_000_000}
CONTENT = {name: random.Random(name).randbytes(size) for name, size in SIZES.items()}


def offline(folder: Path, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    return asked(folder, *arguments, code=code, of="offline")


def refused(folder: Path, *arguments: str | Path, code: int) -> None:
    assert run(folder, *arguments, "--json", code=code, of="offline").stdout == ""


def put(served: Served, name: str, content: bytes, mtime: int = FIRST_MTIME) -> None:
    file = served.volume / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (mtime, mtime))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("tree")) as running:
        for name, content in CONTENT.items():
            put(running, name, content)
        yield running


@pytest.fixture(scope="module")
def original(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of a mount that has read three files as a whole and the middle of another."""
    with mounted(served, tmp_path_factory.mktemp("original"), "--chunk-size-kb", "256") as live:
        top = live.path / "main/sales/raw"
        for name in ("a.bin", "b.csv", "empty", "sub/c.bin"):
            assert (top / name).read_bytes() == CONTENT[name]
        with (top / "sub/d.bin").open("rb", buffering=0) as file:
            file.seek(1_500_000)
            file.read(10)
        assert live.stop() == 0
        return live.cache


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "cache"))


def test_what_can_be_read_is_listed(folder: Path) -> None:
    document = offline(folder, "ls")
    files = {each["path"].removeprefix(f"{VOLUME}/"): each for each in document["files"]}
    assert set(files) == set(SIZES)
    assert {name for name, each in files.items() if each["complete"]} == {
        "a.bin",
        "b.csv",
        "empty",
        "sub/c.bin",
    }
    assert {name: each["size"] for name, each in files.items()} == SIZES
    assert 0 < files["sub/d.bin"]["cached_bytes"] < SIZES["sub/d.bin"]
    assert document["complete_files"] == 4
    assert document["complete_bytes"] == 2_500_000 + 1000 + 1_200_000
    assert document["partial_files"] == 1


@pytest.mark.parametrize(
    "path, names",
    [
        (f"{VOLUME}/sub", {"sub/c.bin", "sub/d.bin"}),
        (f"{VOLUME}/b.csv", {"b.csv"}),
        ("/Volumes/main", set(SIZES)),
        (f"{VOLUME}/su", set()),
        ("/Volumes/other", set()),
    ],
)
def test_below_a_path(folder: Path, path: str, names: set[str]) -> None:
    document = offline(folder, "ls", path)
    assert {each["path"].removeprefix(f"{VOLUME}/") for each in document["files"]} == names


def test_lines_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offline", "ls", "--disk-cache-dir", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["complete"] * 4
    assert lines[-1].startswith("4 files complete")


NASTY = "d/\x1b]0;title\x07\n\u202e"


def test_a_name_gives_no_orders_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(tmp_path / "tree") as served:
        put(served, NASTY, b"x")
        with mounted(served, tmp_path) as live:
            assert (live.path / "main/sales/raw" / NASTY).read_bytes() == b"x"
            assert asked(live.cache, "pin", f"{VOLUME}/{NASTY}")["files"] == 1
            assert live.stop() == 0
    capsys.readouterr()
    below = f"{VOLUME}/{NASTY}"
    for command in (["offline", "ls"], ["cache", "ls"], ["cache", "du", f"{VOLUME}/d"], ["cache", "pins"]):
        assert main([*command, "--disk-cache-dir", str(live.cache)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(r"\x1b]0;title\x07\n\u202e" in line for line in lines) == 1, command
        assert all(line.isprintable() for line in lines), command
    assert offline(live.cache, "ls")["files"][0]["path"] == below


def test_with_a_mount_at_work(served: Served, original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "cache")
    with mounted(served, tmp_path, "--chunk-size-kb", "256") as live:
        assert offline(live.cache, "ls", str(live.path / "main/sales/raw/sub"))["complete_files"] == 1


@pytest.mark.parametrize("root", [(), ("--root", "main"), ("--root", "main.sales.raw")])
def test_paths_are_as_the_mount_has_them_and_what_it_hides_is_not_told(
    tmp_path: Path, root: tuple[str, ...]
) -> None:
    inside = "main/sales/raw".removeprefix(root[-1].replace(".", "/") if root else "").strip("/")
    with serve(tmp_path / "tree") as served:
        hidden = served.settings.root / "main/hr/staff"
        hidden.mkdir(parents=True)
        (hidden / "pay.csv").write_bytes(b"much")
        put(served, "sub/c.bin", CONTENT["sub/c.bin"])
        put(served, "b.csv", CONTENT["b.csv"])
        with mounted(served, tmp_path) as open_one:
            assert asked(open_one.cache, "warm", "/Volumes/main")["files"] == 3
            assert offline(open_one.cache, "ls")["complete_files"] == 3
            assert open_one.stop() == 0
        with mounted(served, tmp_path, "--securable-denylist", "main.hr", *root) as live:
            shown = {f"{VOLUME}/sub/c.bin", f"{VOLUME}/b.csv"}
            for where in ([], [live.path], [live.path / inside], [VOLUME]):
                assert {each["path"] for each in offline(live.cache, "ls", *where)["files"]} == shown, where
            for where in ([live.path / inside / "sub"], [f"{VOLUME}/sub"]):
                listed = offline(live.cache, "ls", *where)["files"]
                assert [each["path"] for each in listed] == [f"{VOLUME}/sub/c.bin"], where
            assert offline(live.cache, "ls", "/Volumes/main/hr/staff/pay.csv")["files"] == []
            out = tmp_path / "manifest.json"
            assert offline(live.cache, "manifest", "--out", out)["files"] == 2
            assert "pay.csv" not in out.read_text()


@pytest.fixture
def manifest(folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "manifest.json"
    assert offline(folder, "manifest", "--out", out)["files"] == 4
    return out


def test_a_manifest_has_the_checksums_that_everybody_knows(manifest: Path, served: Served) -> None:
    written = json.loads(manifest.read_text())
    assert {each["path"].removeprefix(f"{VOLUME}/"): each["sha256"] for each in written["files"]} == {
        name: hashlib.sha256(CONTENT[name]).hexdigest() for name in ("a.bin", "b.csv", "empty", "sub/c.bin")
    }
    assert {each["last_modified"] for each in written["files"]} == {FIRST_MTIME}
    assert written["bytes"] == sum(each["size"] for each in written["files"])
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o600, "names are as protected as contents"


def test_what_was_written_down_is_there(folder: Path, manifest: Path) -> None:
    assert offline(folder, "verify", manifest) == {"schema": 1, "files": 4, "different": []}


def why(folder: Path, manifest: Path) -> dict[str, str]:
    rows = offline(folder, "verify", manifest, code=6)["different"]
    return {each["path"].removeprefix(f"{VOLUME}/"): each["why"] for each in rows}


def test_a_flipped_bit_is_seen(folder: Path, manifest: Path) -> None:
    # Not of the file that is cached in part and stands in no manifest.
    victim = next(file for file in folder.rglob("*.chunk") if b'"d.bin"' not in file.read_bytes()[-1000:])
    content = bytearray(victim.read_bytes())
    content[10] ^= 1
    victim.write_bytes(content)
    assert set(why(folder, manifest).values()) == {"damaged"}


def test_evicted_is_incomplete(folder: Path, manifest: Path) -> None:
    assert main(["cache", "evict", f"{VOLUME}/sub", "--disk-cache-dir", str(folder)]) == 0
    assert why(folder, manifest) == {"sub/c.bin": "incomplete"}
    assert offline(folder, "ls", f"{VOLUME}/sub")["files"] == []


def test_another_version_is_changed(served: Served, folder: Path, manifest: Path, tmp_path: Path) -> None:
    put(served, "b.csv", b"another", FIRST_MTIME + 60)
    put(served, "gone", b"")
    try:
        options = ("--disk-cache-dir", folder, "--metadata-cache-ttl-sec", "0")
        with mounted(served, tmp_path / "again", *options) as live:
            assert (live.path / "main/sales/raw/b.csv").read_bytes() == b"another"
            assert live.stop() == 0
    finally:
        put(served, "b.csv", CONTENT["b.csv"])
    assert why(folder, manifest) == {"b.csv": "changed"}


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"kind": "fuse4dbricks offline manifest", "schema": 99, "files": []}']
)
def test_what_is_no_manifest_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "m.json"
    file.write_text(text)
    refused(folder, "verify", file, code=2)


def test_no_manifest_at_all(folder: Path, tmp_path: Path) -> None:
    refused(folder, "verify", tmp_path / "none", code=2)
    refused(folder, "manifest", "--out", tmp_path / "no" / "folder", code=2)


def test_an_empty_folder_and_a_foreign_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign").chmod(0o777)
    refused(tmp_path / "foreign", "ls", code=4)
