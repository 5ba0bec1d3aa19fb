"""The demo's tree: real files, the same on every machine, and old enough to be settled."""

from __future__ import annotations

import csv
import gzip
import sqlite3
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from fuse4dbricks.cli.sample_tree import make_sample_tree
from fuse4dbricks.entry import SETTLE_SECONDS


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    made = make_sample_tree(root, large_file_bytes=4096)
    assert made == sum(file.is_file() for file in root.rglob("*"))
    return root


def test_it_is_made_of_volumes(lake: Path) -> None:
    volumes = {str(folder.relative_to(lake)) for folder in lake.glob("*/*/*")}
    assert "main/default/welcome" in volumes
    assert len({volume.split("/")[0] for volume in volumes}) > 1
    assert all(folder.is_dir() for folder in lake.glob("*/*/*"))


def test_it_is_the_same_everywhere(lake: Path, tmp_path: Path) -> None:
    make_sample_tree(tmp_path, large_file_bytes=4096)
    for file in (file for file in lake.rglob("*") if file.is_file()):
        twin = tmp_path / file.relative_to(lake)
        assert twin.read_bytes() == file.read_bytes(), file
        assert twin.stat().st_mtime == file.stat().st_mtime


def test_every_file_is_settled(lake: Path) -> None:
    newest = max(file.stat().st_mtime for file in lake.rglob("*") if file.is_file())
    assert newest < time.time() - SETTLE_SECONDS


def test_the_formats_are_real(lake: Path) -> None:
    with sqlite3.connect(lake / "main/sales/orders/orders.sqlite") as database:
        orders, total = database.execute("SELECT count(*), sum(amount) FROM orders").fetchone()
    database.close()
    rows = [
        row
        for file in sorted(lake.glob("main/sales/orders/packed/*.csv.gz"))
        for row in csv.DictReader(gzip.decompress(file.read_bytes()).decode().splitlines())
    ]
    assert len(rows) == orders
    assert sum(float(row["amount"]) for row in rows) == pytest.approx(total)
    assert zipfile.ZipFile(lake / "main/default/welcome/archive.zip").testzip() is None
    picture = next(lake.glob("research/imaging/scans/*.png")).read_bytes()
    start = picture.index(b"IDAT") + 4
    assert len(zlib.decompressobj().decompress(picture[start:])) == 160 * (3 * 160 + 1)


def test_there_are_hard_names_and_empty_things(lake: Path) -> None:
    names = {entry.name for entry in lake.rglob("*")}
    assert {"case.txt", "Case.txt", "50% off? #1 & more+.txt", "日本語のファイル.txt"} <= names
    assert (lake / "main/default/welcome/empty.txt").stat().st_size == 0
    assert not list((lake / "main/default/welcome/an empty folder").iterdir())
