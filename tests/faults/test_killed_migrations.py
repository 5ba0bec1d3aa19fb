"""A mount that is killed while it brings a large index of an older program up to date (faults.md F1).

The difficulty: with the few rows of a test a migration is over before anybody can kill it. So the index gets rows that only make
it large, which nothing counts, and the mount is killed at the n-th write to the log. What had been cached before must all be read
afterwards without one call for bytes.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace.synthetic import SyntheticTree, expected_bytes
from fuse4dbricks.index.migrations import newest_version
from tests.support.commands import asked
from tests.support.indexes import outside
from tests.support.mounts import mounted, needs_fuse, start_mount
from tests.support.older_index import make_older
from tests.support.strace import needs_strace
from tests.support.waiting import slow, wait_for
from tests.support.workspace import Served, serve

pytestmark = [needs_fuse, needs_strace]

RAW = "main/sales/raw"
FILES = {f"{RAW}/{number:02d}": 30_000 * (number % 5 + 1) + number for number in range(20)}
OPTIONS = ("--chunk-size-kb", "64")

#: Files that have no chunk: an index over them takes the migration some 100 ms and a megabyte of log.
FILLER = 100_000
#: At random moments, in the slow tests.
KILLS = 15
_FILL = """
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)
    INSERT INTO file_version (workspace_id, volume_id, path, version_key, size, unsettled_at, extension, chunks, cached_bytes)
    SELECT w.id, v.id, printf('main/sales/raw/filler/%08d', n.n), n.n, n.n, 0, '', 0, n.n * 7919 % 1000003
    FROM n, (SELECT id FROM workspace LIMIT 1) w, (SELECT id FROM volume LIMIT 1) v"""


@dataclass(frozen=True, slots=True)
class Older:
    """A workspace, and a cache of it by an older program."""

    served: Served
    cache: Path

    def copied_to(self, folder: Path) -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        shutil.copytree(self.cache, folder / "cache")

    def judge(self, folder: Path) -> None:
        """A start alone reads all that was cached, and leaves all in order but for the filler."""
        before = self.served.counts["fs.files.get"]
        with mounted(self.served, folder, *OPTIONS) as live:
            for path, size in FILES.items():
                assert (live.path / path).read_bytes() == expected_bytes(path, 1, 0, size)
            assert "Traceback" not in live.log
            assert live.stop() == 0
        assert self.served.counts["fs.files.get"] == before
        assert version_in(folder) == newest_version()
        db = outside(folder / "cache", write=True)
        db.execute("DELETE FROM file_version WHERE chunks = 0").fetchall()
        assert db.changes() == FILLER
        db.close()
        assert asked(folder / "cache", "check", "--fix")["fixed"] is None
        assert not list((folder / "cache/tmp").iterdir())


def version_in(folder: Path) -> int:
    db = outside(folder / "cache")
    try:
        return int(db.pragma("user_version"))
    finally:
        db.close()


@contextmanager
def older_of(folder: Path, version: int) -> Iterator[Older]:
    with serve(tree=SyntheticTree(FILES)) as served:
        with mounted(served, folder, *OPTIONS) as live:
            for path in FILES:
                (live.path / path).read_bytes()
            assert live.stop() == 0
        make_older(live.cache / "index.sqlite", version)
        db = outside(live.cache, write=True)
        db.execute(_FILL, (FILLER,)).fetchall()
        db.close()
        yield Older(served, live.cache)


@pytest.fixture(scope="module", params=range(1, newest_version()))
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Older]:
    with older_of(tmp_path_factory.mktemp("older"), request.param) as made:
        yield made


def is_killed(older: Older, folder: Path, when: int) -> bool:
    """Whether a mount that is killed at its ``when``-th write to the index's log came so far before it was mounted."""
    wal = (folder / "cache/index.sqlite-wal").resolve()
    inject = ("-P", str(wal), "-e", "trace=pwrite64", "-e", f"inject=pwrite64:signal=KILL:when={when}")
    live = start_mount(
        older.served, folder, *OPTIONS, wrapper=("strace", "-f", "-qq", "-o", "/dev/null", *inject)
    )
    try:
        live.wait_until_ready()
    except RuntimeError:
        assert live.process.wait(10) in {-signal.SIGKILL, 128 + signal.SIGKILL}, live.log
        return True
    finally:
        live.clean_up()
    return False


def test_killed_in_the_middle_of_a_migration(tmp_path: Path) -> None:
    with older_of(tmp_path / "older", 1) as older:
        older.copied_to(tmp_path)
        assert is_killed(older, tmp_path, 101)
        assert version_in(tmp_path) == 1
        older.judge(tmp_path)


@pytest.mark.timeout(3600)
@slow[0]
@slow[1]
def test_killed_at_every_25th_write_of_a_migration(older: Older, tmp_path: Path) -> None:
    older.copied_to(tmp_path)
    was = version_in(tmp_path)
    for when in itertools.count(1, 25):
        older.copied_to(tmp_path)
        killed = is_killed(older, tmp_path, when)
        migrated = version_in(tmp_path) != was
        older.judge(tmp_path)
        if migrated:
            break
        assert killed
    assert when > 1
    print(f"from version {was}: killed at {when} writes")


@pytest.mark.timeout(3600)
@slow[0]
@slow[1]
def test_killed_at_any_moment_of_a_start_that_migrates(older: Older, tmp_path: Path) -> None:
    chance = random.Random(4)
    in_time = 0
    for _ in range(KILLS):
        older.copied_to(tmp_path)
        was = version_in(tmp_path)
        live = start_mount(older.served, tmp_path, *OPTIONS)
        try:
            # The log appears when the index is opened, and the migration is what comes next.
            assert wait_for((live.cache / "index.sqlite-wal").exists, timeout=30)
            threading.Event().wait(chance.uniform(0, 0.2))
            live.kill()
        finally:
            live.clean_up()
        in_time += version_in(tmp_path) == was
        older.judge(tmp_path)
    print(f"from version {was}: {in_time} of {KILLS} kills were before the end of the migration")
