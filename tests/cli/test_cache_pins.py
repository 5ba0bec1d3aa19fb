"""``fuse4dbricks cache pin``, ``unpin`` and ``pins``: what stays, what comes by itself, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commands import asked, run
from tests.support.mounts import LiveMount, mounted
from tests.support.sales import SIZES, files_in, make, read_all
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME, Served

RANGE = "fs.files.get"


def state_of(folder: Path) -> str:
    return str(asked(folder, "pins")["pins"][0].get("state"))


def test_what_is_pinned_comes_by_itself_and_stays(live: LiveMount, served: Served, tmp_path: Path) -> None:
    done = asked(live.cache, "pin", f"{VOLUME}/sub", "--ttl", "1d")
    assert (done["path"], done["files"]) == (f"{VOLUME}/sub", 1)
    assert wait_for(lambda: state_of(live.cache) == "fresh")
    assert served.counts[RANGE] == 1
    assert read_all(live) == make(served)
    pinned = asked(live.cache, "pins")
    assert pinned["pinned_bytes"] > SIZES["sub/c.bin"]
    assert pinned["pins"][0]["expires_at"] is not None
    assert asked(live.cache, "clear")["pinned_bytes"] == pinned["pinned_bytes"]
    assert "pinned and stay" in run(live.cache, "evict", "--to-size", "0").stdout
    asked(live.cache, "evict", f"{VOLUME}/sub")
    assert [each["path"] for each in asked(live.cache, "ls")["files"]] == [f"{VOLUME}/sub/c.bin"]
    assert live.stop() == 0

    assert "1 pin; it takes" in run(live.cache, "pins").stdout
    asked(live.cache, "clear")
    with mounted(served, tmp_path) as again:
        assert [each["path"] for each in asked(again.cache, "pins")["pins"]] == [f"{VOLUME}/sub"]
        assert asked(again.cache, "unpin", again.path / "main/sales/raw/sub")["ended"]
        assert wait_for(lambda: asked(again.cache, "pins")["pinned_bytes"] == 0)
        asked(again.cache, "clear")
        assert files_in(again.cache) == []
        assert "no pin" in run(again.cache, "unpin", f"{VOLUME}/sub", code=9).stderr


def test_what_is_new_and_what_has_changed_comes_with_the_next_start(served: Served, tmp_path: Path) -> None:
    with mounted(served, tmp_path) as first:
        asked(first.cache, "pin", VOLUME)
        assert wait_for(lambda: state_of(first.cache) == "fresh")
        assert first.stop() == 0
    (served.volume / "new").write_bytes(b"new" * 1000)
    (served.volume / "b.csv").write_bytes(b"changed")
    for name in ("new", "b.csv"):
        os.utime(served.volume / name, (1_650_000_000, 1_650_000_000))
    with mounted(served, tmp_path, "--metadata-cache-ttl-sec", "0") as again:
        assert wait_for(lambda: state_of(again.cache) == "fresh")
        sizes = {
            each["path"]: each["cached_bytes"]
            for each in asked(again.cache, "ls")["files"]
            if each["size"] != 1000
        }
        assert sizes[f"{VOLUME}/new"] == 3000
        assert sizes[f"{VOLUME}/b.csv"] == len(b"changed")
        # The former version of b.csv is nobody's wish any more.
        asked(again.cache, "clear")
        assert len(asked(again.cache, "ls")["files"]) == len(SIZES) + 1
        assert asked(again.cache, "check")["clean"]


def test_what_pins_may_not_take_is_refused_with_numbers(served: Served, tmp_path: Path) -> None:
    with mounted(served, tmp_path, "--pin-max-gb", "0.002") as running:
        refused = run(running.cache, "pin", VOLUME, code=4).stderr
        assert "takes 3.6 MiB" in refused
        assert "2.0 MiB" in refused
        assert "--pin-max-gb" in refused
        assert asked(running.cache, "pins")["pins"] == []
        asked(running.cache, "pin", f"{VOLUME}/b.csv")
        run(running.cache, "pin", f"{VOLUME}/none such", code=9)


def test_alone_a_pin_is_made_and_let_go(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", served.token)
    cache = tmp_path / "cache"
    asked(cache, "warm", VOLUME, "--workspace", served.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", served.token)
    asked(cache, "pin", f"{VOLUME}/a.bin", "--workspace", served.url)
    assert asked(cache, "clear")["chunks"] == 3
    assert "no pin" in run(cache, "unpin", f"{VOLUME}/A.bin", code=9).stderr
    assert asked(cache, "unpin", f"{VOLUME.upper().replace('/VOLUMES', '/Volumes')}/a.bin")["ended"], (
        "as the service has it"
    )
    assert asked(cache, "clear")["chunks"] == 3
    assert asked(cache, "check")["clean"]


def test_what_the_mount_hides_is_not_there_for_its_commands(served: Served, tmp_path: Path) -> None:
    hidden = served.settings.root / "main/hr/staff"
    hidden.mkdir(parents=True)
    (hidden / "pay.csv").write_bytes(b"much")
    with mounted(served, tmp_path) as open_one:
        asked(open_one.cache, "warm", "/Volumes/main")
        assert open_one.stop() == 0
    with mounted(served, tmp_path, "--securable-denylist", "main.hr", "--root", "main") as running:
        assert [
            each["path"] for each in asked(running.cache, "ls", running.path / "sales/raw/sub")["files"]
        ] == [f"{VOLUME}/sub/c.bin"]
        assert len(asked(running.cache, "ls")["files"]) == len(SIZES)
        assert asked(running.cache, "du", "/Volumes/main/hr")["disk_bytes"] == 0
        assert asked(running.cache, "warm", "/Volumes/main", "--dry-run")["files"] == len(SIZES)
        assert asked(running.cache, "warm", "/Volumes/main/hr/staff", code=9)["failed"] == 1
        run(running.cache, "pin", "/Volumes/main/hr/staff", code=9)
        assert asked(running.cache, "evict", "/Volumes/main/hr")["chunks"] == 0
        asked(running.cache, "evict", running.path)
        assert len(files_in(running.cache)) == 1
        assert running.stop() == 0
    assert [each["path"] for each in asked(running.cache, "ls")["files"]] == [
        "/Volumes/main/hr/staff/pay.csv"
    ]
