"""Killed again and again while it fetches, evicts, rebuilds and after it migrated (faults.md F1): what is left is right.

Every other time the next start alone has to put it in order, and every other time ``cache check --fix``.

``FUSE4DBRICKS_KILLS=200`` for the long run. The oracle knows each byte by file and offset.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.cli.main import main
from fuse4dbricks.devworkspace.synthetic import SyntheticTree, expected_bytes
from fuse4dbricks.index.migrations import newest_version
from fuse4dbricks.units import KIB, MIB
from tests.support.mounts import LiveMount, mounted
from tests.support.older_index import make_older
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

KILLS = int(os.environ.get("FUSE4DBRICKS_KILLS", "3"))

RAW = "main/sales/raw"
FILES = {f"{RAW}/{number:02d}": 40_000 * (number % 7 + 1) + number for number in range(80)}
#: Less than half of all files, so that every reader evicts.
OPTIONS = ("--disk-cache-gb", "0.009", "--ram-cache-mb", "16", "--chunk-size-kb", "64")


class Readers:
    """Read files at random until the mount is killed."""

    def __init__(self, live: LiveMount, seed: int) -> None:
        self.wrong: list[str] = []
        self.read = 0
        self._live = live
        self._threads = [threading.Thread(target=self._run, args=(seed * 10 + n,)) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        with contextlib.suppress(OSError):  # the mount is gone
            while True:
                path = chance.choice(list(FILES))
                if (self._live.path / path).read_bytes() != expected_bytes(path, 1, 0, FILES[path]):
                    self.wrong.append(path)
                self.read += 1

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


def check(cache: Path, capsys: Any, *options: str) -> dict[str, Any]:
    main(["cache", "check", "--json", "--disk-cache-dir", str(cache), *options])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def make_index_older(cache: Path, chance: random.Random) -> None:
    if (cache / "index.sqlite").exists():
        make_older(cache / "index.sqlite", chance.randrange(1, newest_version()))


def put_in_order_by_a_start(served: Served, folder: Path, capsys: Any) -> None:
    """Nobody reads and nobody asks for it."""
    with mounted(served, folder, *OPTIONS) as calm:
        is_clean = wait_for(lambda: check(folder / "cache", capsys)["clean"], timeout=30)
        assert is_clean, (check(folder / "cache", capsys), calm.log)
        assert calm.stop() == 0
    assert check(folder / "cache", capsys)["clean"]
    assert not list((folder / "cache/tmp").iterdir())


@pytest.mark.timeout(60 + 60 * KILLS)
def test_killed_at_any_moment(tmp_path: Path, capsys: Any) -> None:
    chance = random.Random(KILLS)
    read = found = warm = 0
    slowest = 0.0
    with serve(tree=SyntheticTree(FILES)) as served:
        for kill in range(KILLS):
            if kill % 4 == 3:
                for each in (tmp_path / "cache").glob("index.sqlite*"):
                    each.unlink()
            if kill % 4 == 1:
                make_index_older(tmp_path / "cache", chance)
            warm += len(list((tmp_path / "cache").rglob("*.chunk")))
            began = time.monotonic()
            with mounted(served, tmp_path, *OPTIONS) as live:
                slowest = max(slowest, time.monotonic() - began)
                readers = Readers(live, kill)
                threading.Event().wait(chance.uniform(0.05, 1.5))
                live.kill()
                readers.join()
                assert readers.wrong == []
                read += readers.read
                assert "Traceback" not in live.log
            found += not check(tmp_path / "cache", capsys)["clean"]
            if kill % 2:
                put_in_order_by_a_start(served, tmp_path, capsys)
            else:
                assert check(tmp_path / "cache", capsys, "--fix")["clean"], f"kill {kill}"
            used = sum(each.stat().st_blocks * 512 for each in (tmp_path / "cache").rglob("*.chunk"))
            assert used <= 9 * MIB + 64 * KIB
        with mounted(served, tmp_path, *OPTIONS) as live:
            for path, size in FILES.items():
                assert (live.path / path).read_bytes() == expected_bytes(path, 1, 0, size)
    assert read > KILLS
    assert warm > 0
    print(f"{KILLS} kills, {read} files read, {found} left something over, slowest start {slowest:.1f} s")
