"""A small lake to try the mount on: real files of many kinds, the same on every machine.

The difficulty: a demo with three text files shows nothing of what breaks real mounts. So this one has names in
other scripts and with ``?#%&+``, empty files and folders, names that differ in case only, a deep path, a file that
takes several range reads, and formats whose readers seek (SQLite, zip). Times are in the past, since a file
that was modified this second may still change (see ``entry``).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from fuse4dbricks.units import MIB

#: 2024-05-01 12:00 UTC; each file gets a time of its own, minutes apart.
FIRST_MODIFIED = 1_714_564_800

#: One file that is read in several ranges, and read ahead.
LARGE_FILE_BYTES = 48 * MIB

Files = Iterator[tuple[str, bytes]]


def make_sample_tree(root: Path, *, large_file_bytes: int = LARGE_FILE_BYTES) -> int:
    """Write CATALOG/SCHEMA/VOLUME folders with files below ``root``; returns how many files."""
    count = 0
    for count, (name, content) in enumerate(_files(large_file_bytes), 1):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        modified = FIRST_MODIFIED + 60 * count
        os.utime(file, (modified, modified))
    for folder in ("main/default/welcome/an empty folder", "main/default/landing"):
        (root / folder).mkdir(parents=True)
    return count


def _files(large_file_bytes: int) -> Files:
    yield from _welcome()
    yield from _sales()
    yield from _pictures()
    yield "research/sensors/raw/one large file.bin", random.Random(1).randbytes(large_file_bytes)  # noqa: S311 - filler


def _welcome() -> Files:
    volume = "main/default/welcome"
    yield f"{volume}/hello.txt", b"Hello from a Unity Catalog volume.\n"
    yield f"{volume}/settings.json", json.dumps({"owner": "demo", "retries": 3}, indent=2).encode()
    yield f"{volume}/empty.txt", b""
    names = (
        "naïve café.txt",
        "日本語のファイル.txt",
        "50% off? #1 & more+.txt",
        "Case.txt",
        "case.txt",
        "🧪.txt",
    )
    for name in names:
        yield f"{volume}/unusual names/{name}", f"this is {name}\n".encode()
    deep = "/".join(f"level {depth:02}" for depth in range(1, 13))
    yield f"{volume}/{deep}/bottom.txt", b"You have arrived.\n"
    yield f"{volume}/archive.zip", _archive()


def _sales() -> Files:
    dice = random.Random(2)  # noqa: S311 - figures for a demo
    volume = "main/sales/orders"
    orders = [
        (n, f"customer-{dice.randrange(500):03}", round(dice.uniform(1, 900), 2)) for n in range(12_000)
    ]
    for month in range(1, 13):
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(("order", "customer", "amount"))
        writer.writerows(orders[(month - 1) * 1000 : month * 1000])
        text = table.getvalue().encode()
        yield f"{volume}/year=2024/month={month:02}/part-00000.csv", text
        yield f"{volume}/packed/2024-{month:02}.csv.gz", gzip.compress(text, mtime=0)
    yield f"{volume}/orders.sqlite", _database(orders)


def _pictures() -> Files:
    for number in range(40):
        yield f"research/imaging/scans/scan-{number:03}.png", _picture(number)


def _archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            member = zipfile.ZipInfo(f"notes/{number:02}.txt")  # with a fixed time, unlike a plain name
            archive.writestr(member, f"note {number}\n" * 50)
    return packed.getvalue()


def _database(orders: list[tuple[int, str, float]]) -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, customer TEXT, amount REAL)")
        database.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)
        database.commit()
        content = bytes(database.serialize())
    database.close()
    return content


def _picture(seed: int, side: int = 160) -> bytes:
    """A PNG with a gradient: 8-bit RGB, filter 0 on each line (PNG specification, section 11)."""
    lines = (
        b"\0" + bytes(value for x in range(side) for value in (x + seed & 255, y & 255, x * y >> 6 & 255))
        for y in range(side)
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
