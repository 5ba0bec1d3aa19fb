"""Trees with everything that a file system gets wrong, and what a copy of one must equal.

The difficulty: a comparison of names and bytes is only as good as the names and bytes. Each file's content is its
own, so a chunk served for another file or another offset shows; sizes lie on both sides of each border that the
code cuts at (pages, kernel requests, chunks); names hold what shells, URLs, JSON and terminals give a meaning to.
"""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

from fuse4dbricks.units import KIB, MIB

BORDER_SIZES = (
    0, 1, 4095, 4096, 4097, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1,
    MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB + 17,
)  # fmt: skip

#: Of 255 bytes: the longest that a name can be, in ASCII and in two-byte letters.
LONGEST = ("n" * 251 + ".txt", "é" * 127 + "x")

HARD_NAMES = (
    "with space", " leading and trailing ", "a?b", "a#b", "100%", "%41", "%2e%2e%2f", "a&b=c", "a+b", "a;b", "a:b",
    "a\\b", "-rf", "--help", ".hidden", "..two", "...", "~", "$HOME", "`id`", "*", "[x]", "{a,b}", 'quote"d', "it's",
    "new\nline", "tab\there", "cr\rhere", "bell\a", "delete\x7f", "\u00a0nbsp", "été", "e\u0301te\u0301", "Straße",
    "日本語.txt", "עברית", "🧱🧱", "a\u202eb", "\ufeffbom", "ÿ", "𝔘", "CON", "nul.txt", "trailing.", "a,b", "a|b", "<a>",
    "Case", "case", "CASE", "page_token=x", "README.txt", ".auth", *LONGEST,
)  # fmt: skip

#: Deepest level of folders.
DEPTH = 20

#: Long ago, so that no client distrusts the files as just changed; with a fraction, which the service does not tell.
FIRST_MTIME = 1_600_000_000.5


@dataclass(frozen=True, slots=True)
class Found:
    """One file or folder of a tree; times in whole seconds, of files only: the service has none for folders."""

    is_folder: bool
    size: int = 0
    mtime: int = 0
    digest: str = ""


def content_of(name: bytes, size: int) -> bytes:
    """Bytes that belong to one file alone."""
    return random.Random(hashlib.sha256(name).digest()).randbytes(size)


def put_file(path: Path, size: int, mtime: float = FIRST_MTIME) -> None:
    """Make a file with content of its own."""
    path.write_bytes(content_of(os.fsencode(path.name), size))
    os.utime(path, (mtime, mtime))


def grow(top: Path, *, small_files: int) -> None:
    """Make a tree in ``top``: each border size, each hard name (as file and as folder), the depths, and a flock."""
    _grow_sizes(top / "sizes")
    _grow_names(top / "names")
    _grow_depths(top / "deep")
    _grow_flock(top / "flock", small_files)
    (top / "empty folder").mkdir()
    put_file(top / "empty file", 0)


def _grow_sizes(top: Path) -> None:
    top.mkdir(parents=True)
    for size in BORDER_SIZES:
        put_file(top / f"{size}.bin", size)


def _grow_names(top: Path) -> None:
    for number, name in enumerate(HARD_NAMES):
        for folder in (top / "files", top / "folders" / name):
            folder.mkdir(parents=True, exist_ok=True)
            put_file(folder / name, 3 * number + 1, FIRST_MTIME + number)


def _grow_depths(top: Path) -> None:
    here = top
    for level in range(DEPTH):
        here.mkdir(parents=True)
        put_file(here / f"at level {level}", 100 + level)
        here /= f"level {level} %?#"


def _grow_flock(top: Path, count: int) -> None:
    chance = random.Random(count)
    for number in range(count):
        folder = top / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        put_file(folder / f"{number:06d}", chance.choice((0, 1, 10, 100, 1000, 10_000)), FIRST_MTIME - number)


def read_tree(top: Path) -> dict[str, Found]:
    """Everything under ``top`` by its path, with size, time and digest, as ``os.walk``, ``stat`` and ``read`` say."""
    found: dict[str, Found] = {}
    for folder, folders, files in os.walk(top, onerror=_raise):
        here = Path(folder)
        for name in folders:
            found[str((here / name).relative_to(top))] = Found(is_folder=True)
        for name in files:
            found[str((here / name).relative_to(top))] = _read_file(here / name)
    return found


def _raise(error: OSError) -> None:
    raise error


def _read_file(path: Path) -> Found:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "md5").hexdigest()
        status = os.fstat(stream.fileno())
    return Found(is_folder=False, size=status.st_size, mtime=int(status.st_mtime), digest=digest)
