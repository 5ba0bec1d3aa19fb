"""kill -9 while writing: what was acknowledged is there, nothing is half, and no repair is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from fuse4dbricks.index import Index
from tests.support.index_child import EVEN, ODD
from tests.support.indexes import FILE, FOLDER, VERSION, checked, names_in, opened

ROOT = Path(__file__).resolve().parents[3]


def killed_after(folder: Path, lines: int, seed: int) -> list[tuple[str, int]]:
    """What a child had acknowledged when it was killed, ``lines`` acknowledgements after its start."""
    said: list[tuple[str, int]] = []
    command = [sys.executable, "-m", "tests.support.index_child", str(folder), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            word, number = line.split()
            said.append((word, int(number)))
            if len(said) == lines:
                child.kill()
        # What was in the pipe when it died was acknowledged too, so all of it was read.
    assert child.returncode == (0 if ("end", 0) in said else -9)
    return said


def assert_acknowledged(index: Index, said: list[tuple[str, int]]) -> None:
    gone = {number for word, number in said if word == "gone"}
    added = {number for word, number in said if word == "add"}
    span = index.chunks.load_span(FILE, VERSION, 0, 10_000)
    assert span is not None
    assert not gone & span.keys()
    # Five are evicted at a time, and the last eviction may have been committed but not yet told.
    assert len(added - gone - span.keys()) <= 5


def assert_one_of_two_walks(index: Index) -> None:
    listing = index.tree.load_listing(FOLDER, None)
    if listing is None or not listing.complete:
        return
    names = set(names_in(index, FOLDER))
    even, odd = ({entry.name for page in pages for entry in page} for pages in (EVEN, ODD))
    # Between two walks the new names are added before the old ones go.
    assert even <= names or odd <= names
    assert len(names) == listing.count


@pytest.mark.parametrize("lines", [1, 5, 30, 150, 600])
async def test_kill_while_writing(tmp_path: Path, lines: int) -> None:
    said = killed_after(tmp_path, lines, seed=lines)
    async with opened(tmp_path) as index:
        assert not index.was_rebuilt
        assert_acknowledged(index, said)
        assert_one_of_two_walks(index)
        totals = index.chunks.get_totals()
    report = checked(tmp_path)
    assert report.findings == ()
    assert (report.chunks, report.disk_bytes) == (totals.chunks, totals.bytes)


async def test_kill_again_and_again(tmp_path: Path) -> None:
    for seed in range(4):
        killed_after(tmp_path, 40 + 17 * seed, seed)
        assert checked(tmp_path).findings == ()
