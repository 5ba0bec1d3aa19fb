"""Ten thousand files and one of a gibibyte, read whole and by 16 readers at once. Run by hand."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuse4dbricks.units import GIB, KIB, MIB
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import FIRST_MTIME, grow, read_tree
from tests.support.waiting import slow
from tests.support.workspace import VOLUME_NAME, serve

pytestmark = [*slow, pytest.mark.timeout(900)]

FILES = 10_000
HUGE = "huge.bin"


def _put_huge(path: Path) -> None:
    """A gibibyte of which each 64 KiB differ from all others."""
    block = random.Random(1).randbytes(64 * KIB - 8)
    with path.open("wb") as stream:
        for number in range(GIB // (64 * KIB)):
            stream.write(number.to_bytes(8, "little") + block)
    os.utime(path, (FIRST_MTIME, FIRST_MTIME))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree").joinpath(*VOLUME_NAME.split("."))
    grow(top, small_files=FILES)
    _put_huge(top / HUGE)
    return top


@pytest.fixture(scope="module")
def mount(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    with serve(source.parents[2]) as served, mounted(served, tmp_path_factory.mktemp("mount")) as live:
        yield live


@pytest.fixture(scope="module")
def top(mount: LiveMount) -> Path:
    return mount.path.joinpath(*VOLUME_NAME.split("."))


def test_the_whole_tree(top: Path, source: Path) -> None:
    began = time.monotonic()
    found = read_tree(top)
    print(f"cold: {len(found)} entries in {time.monotonic() - began:.0f} s")
    assert found == read_tree(source)
    assert len(found) > FILES
    began = time.monotonic()
    assert read_tree(top) == found
    print(f"warm: {time.monotonic() - began:.0f} s")


def test_tar_of_the_whole_tree(top: Path, source: Path) -> None:
    command = "tar -c --sort=name --owner=0 --group=0 --mode=0 --no-recursion --null -T <(find . -type f -print0 | sort -z)"
    found, expected = (
        subprocess.run(
            ["bash", "-c", f"{command} | sha256sum"], cwd=here, capture_output=True, check=True
        ).stdout
        for here in (top, source)
    )
    # Times of the source have fractions of a second, which tar's own format leaves out.
    assert found == expected


def test_16_readers_all_over_a_gibibyte(top: Path, source: Path) -> None:
    def read(seed: int) -> bool:
        chance = random.Random(seed)
        with (top / HUGE).open("rb", buffering=0) as stream, (source / HUGE).open("rb", buffering=0) as true:
            for _ in range(40):
                offset, length = chance.randrange(GIB), chance.randrange(MIB)
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if os.pread(stream.fileno(), length, offset) != os.pread(true.fileno(), length, offset):
                    return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(16)))


def test_a_gibibyte_in_order(top: Path, source: Path) -> None:
    with (top / HUGE).open("rb") as found, (source / HUGE).open("rb") as expected:
        assert hashlib.file_digest(found, "md5").digest() == hashlib.file_digest(expected, "md5").digest()
