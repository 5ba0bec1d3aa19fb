"""A file that changes under its readers: old bytes or ESTALE, never a mix, and the next open sees the new ones.

Each byte is a function of (path, version, offset), so a wrong one names where it came from.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace.synthetic import SyntheticTree, expected_bytes
from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

pytestmark = [needs_fuse, pytest.mark.mounted]

RAW = "main/sales/raw"
SIZE = 6 * MIB + 11

#: Seconds of a version; long ago, so that no file counts as just changed unless a test says so.
FIRST_TIME = 1_700_000_000

TTL = 0.3


@pytest.fixture(scope="module")
def tree() -> SyntheticTree:
    return SyntheticTree({f"{RAW}/start": 1})


@pytest.fixture(scope="module")
def changing(tree: SyntheticTree) -> Iterator[Served]:
    with serve(tree=tree) as running:
        yield running


@pytest.fixture(scope="module")
def mount(changing: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    options = ("--metadata-cache-ttl-sec", str(TTL), "--metadata-cache-ttl-negative-sec", "0")
    with mounted(changing, tmp_path_factory.mktemp("mount"), *options) as live:
        yield live


def _put(tree: SyntheticTree, name: str, version: int, size: int = SIZE) -> str:
    path = f"{RAW}/{name}"
    tree.put(path, size, version=version, modified=FIRST_TIME + 10 * version)
    return path


def _read(descriptor: int, offset: int, length: int) -> bytes | None:
    """Bytes as the daemon gives them now, past the kernel's pages; None when the handle is stale."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        return os.pread(descriptor, length, offset)
    except OSError as error:
        if error.errno == errno.ESTALE:
            return None
        raise


def _is_now(path: Path, expected: bytes) -> bool:
    try:
        return path.read_bytes() == expected
    except OSError as error:
        if error.errno == errno.ESTALE:  # an open that met the change
            return False
        raise


@pytest.mark.parametrize("size", [SIZE, SIZE - 2 * MIB, SIZE + 2 * MIB, 0, 1])
def test_a_change_between_two_reads(tree: SyntheticTree, mount: LiveMount, size: int) -> None:
    path = _put(tree, f"to {size}", 1)
    with (mount.path / path).open("rb", buffering=0) as stream:
        assert stream.read(1000) == expected_bytes(path, 1, 0, 1000)
        _put(tree, f"to {size}", 2, size)
        found = {offset: _read(stream.fileno(), offset, 1000) for offset in range(0, SIZE, MIB)}
        assert None in found.values()
        for offset, piece in found.items():
            assert piece in {None, expected_bytes(path, 1, offset, min(1000, SIZE - offset))}
        new = expected_bytes(path, 2, 0, size)
        assert wait_for(lambda: _is_now(mount.path / path, new), timeout=5)
        assert (mount.path / path).stat().st_size == size


def test_a_removed_file_is_stale_where_it_was_not_cached(tree: SyntheticTree, mount: LiveMount) -> None:
    path = _put(tree, "removed", 1)
    with (mount.path / path).open("rb", buffering=0) as stream:
        assert os.pread(stream.fileno(), 10, 0) == expected_bytes(path, 1, 0, 10)
        tree.discard(path)
        assert _read(stream.fileno(), SIZE - 10, 10) is None
    assert wait_for(lambda: not (mount.path / path).exists(), timeout=5)


def test_a_change_in_the_same_second_is_seen_when_the_file_is_young(
    tree: SyntheticTree, mount: LiveMount
) -> None:
    """Neither size nor Last-Modified tells; that the file was read right after its modification does."""
    path = f"{RAW}/same second"
    now = time.time()
    tree.put(path, SIZE, version=1, modified=now)
    assert (mount.path / path).read_bytes() == expected_bytes(path, 1, 0, SIZE)
    tree.put(path, SIZE, version=2, modified=now)
    new = expected_bytes(path, 2, 0, SIZE)
    assert wait_for(lambda: _is_now(mount.path / path, new), timeout=8)


def test_an_etag_tells_what_time_and_size_do_not(
    changing: Served, tree: SyntheticTree, mount: LiveMount
) -> None:
    """A handle that has seen an ETag never takes bytes under another."""
    path = f"{RAW}/tagged"
    changing.behaviour.etag = True
    try:
        tree.put(path, SIZE, version=1, modified=FIRST_TIME)
        with (mount.path / path).open("rb", buffering=0) as stream:
            assert os.pread(stream.fileno(), 10, 0) == expected_bytes(path, 1, 0, 10)
            tree.put(path, SIZE, version=2, modified=FIRST_TIME)
            versions = {_version_of(stream.fileno(), path, offset) for offset in range(0, SIZE, MIB // 2)}
            assert len(versions - {None}) == 1
    finally:
        changing.behaviour.etag = False


def _version_of(descriptor: int, remote: str, offset: int) -> int | None:
    """Whose bytes the handle gives at ``offset``; None for ESTALE."""
    piece = _read(descriptor, offset, 100)
    if piece is None:
        return None
    return next(each for each in (1, 2) if expected_bytes(remote, each, offset, len(piece)) == piece)


@dataclass
class Watch:
    """Readers of one file, who know what each version of it holds.

    Attributes:
        newest: no later version than this has been put.
        wrong: what they saw that no single version holds.
        reads: what they saw that one does.
    """

    path: Path
    remote: str
    newest: int = 1
    until: threading.Event = field(default_factory=threading.Event)
    wrong: list[str] = field(default_factory=list)
    reads: int = 0

    def run(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.until.is_set():
            try:
                with self.path.open("rb", buffering=0) as stream:
                    self._watch(stream.fileno(), chance)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    self.wrong.append(repr(error))

    def _watch(self, descriptor: int, chance: random.Random) -> None:
        """All that one handle gives is of one version."""
        candidates = set(range(1, self.newest + 1))
        for _ in range(6):
            offset, length = chance.randrange(SIZE), chance.choice((1, 100, 70_000, MIB + 1))
            found = _read(descriptor, offset, length)  # may be short where the change was met
            if found is None:
                return
            candidates = {
                version
                for version in candidates
                if expected_bytes(self.remote, version, offset, len(found)) == found
            }
            if not candidates:
                self.wrong.append(f"{len(found)} bytes at {offset} are not of the version of those before")
            self.reads += 1


def test_readers_of_a_file_that_changes_all_the_time(tree: SyntheticTree, mount: LiveMount) -> None:
    remote = _put(tree, "churn", 1)
    watch = Watch(mount.path / remote, remote)
    readers = [threading.Thread(target=watch.run, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    chance = random.Random(7)
    for version in range(2, 40):
        watch.newest = version
        _put(tree, "churn", version)
        watch.until.wait(chance.uniform(0.02, 0.2))
    watch.until.set()
    for reader in readers:
        reader.join(30)
    assert watch.wrong == []
    assert watch.reads > 20
    assert wait_for(lambda: _is_now(mount.path / remote, expected_bytes(remote, 39, 0, SIZE)), timeout=5)
