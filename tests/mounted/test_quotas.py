"""Quotas on a real mount with two local users, counted by what the chunk files say of themselves and take on the disk."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fuse4dbricks.app.upkeep.inspection import list_chunks
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.chunks.found import load_found
from fuse4dbricks.errors import ChunkUnusable
from fuse4dbricks.units import GIB, KIB
from tests.support.commands import asked
from tests.support.local_users import ALICE, BOB, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

pytestmark = needs_root

MAIN, DEV = "main/sales/raw", "dev/lab/raw"
ALICE_NAME, BOB_NAME = "alice@example.com", "bob@example.com"
#: Files fetched ahead would be stored, and so leave, in another order than they are read in.
OPTIONS = ("--allow-other", "--chunk-size-kb", "64", "--ram-cache-mb", "16", "--no-prefetch-files")

#: A file is two chunks, and each takes its 64 KiB and a block for what it says of itself.
FILE_BYTES = 120_000
CHUNK_ON_DISK = 68 * KIB
QUOTA_GB = 0.001
QUOTA = int(QUOTA_GB * GIB)
FILES = 22
#: Who has what is pinned here.
PAYS_FOR_PINS = {BOB_NAME, "dev"}


@dataclass(frozen=True, slots=True)
class Taken:
    """What the chunk files take."""

    owners: Counter[str]
    catalogs: Counter[str]
    files: Counter[str]


def taken(cache: Path) -> Taken:
    """An independent count: from the trailers and the blocks of the files, without the index."""
    owners, catalogs, files = Counter[str](), Counter[str](), Counter[str]()
    with CacheFolder.open(cache, exclusive=False) as folder:
        for name in list_chunks(folder):
            try:
                found = load_found(folder.fd, name)
            except ChunkUnusable:
                continue  # evicted meanwhile
            label, size = found.trailer.label, found.disk_bytes
            owners[label.owner] += size
            catalogs[label.path.parts[0]] += size
            files[str(label.path)] += size
    return Taken(owners, catalogs, files)


def is_stored(cache: Path, path: str) -> bool:
    """Whether both chunks of a file are there."""
    return taken(cache).files[path] > FILE_BYTES


def content(volume: str, number: int) -> bytes:
    return random.Random(f"{volume} {number}").randbytes(FILE_BYTES)


@contextmanager
def served_to_two() -> Iterator[tuple[Served, Path]]:
    """Two catalogs that both users may read."""
    with open_folder() as folder, serve(folder / "tree") as served:
        for volume in (MAIN, DEV):
            source = served.settings.root / volume
            source.mkdir(parents=True, exist_ok=True)
            for number in range(FILES):
                (source / f"{number:02d}").write_bytes(content(volume, number))
                os.utime(source / f"{number:02d}", (1e9, 1e9))
        yield served, folder


@dataclass(frozen=True, slots=True)
class Scene:
    """A mount and its two users."""

    live: LiveMount
    alice: LocalUser
    bob: LocalUser

    def read(self, user: LocalUser, volume: str, numbers: range) -> None:
        for number in numbers:
            path = self.live.path / volume / f"{number:02d}"
            found = user.do("with open(path, 'rb') as stream: out = stream.read().hex()", path=str(path))
            assert bytes.fromhex(found) == content(volume, number)


@contextmanager
def scene(served: Served, folder: Path, *options: str) -> Iterator[Scene]:
    with ExitStack() as stack:
        live = stack.enter_context(mounted(served, folder / "m", *OPTIONS, *options))
        alice, bob = (stack.enter_context(LocalUser(uid, live.path)) for uid in (ALICE, BOB))
        for user, name in ((alice, ALICE_NAME), (bob, BOB_NAME)):
            user.write_token(live.path, served.people.add_user(name))
        yield Scene(live, alice, bob)


def figures(cache: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "fuse4dbricks", "cache-stats", "--json", "--disk-cache-dir", str(cache)]
    document: dict[str, Any] = json.loads(subprocess.check_output(command, text=True, timeout=60))
    return document


def assert_agrees(cache: Path) -> None:
    """``cache-stats`` says what the chunk files say, in all and for the quotas, and the cache is in order."""
    count, told = taken(cache), figures(cache)
    for kind, counted in (("user", count.owners), ("catalog", count.catalogs)):
        assert {group["name"]: group["bytes"] for group in told["groups"][kind]} == counted
    assert told["size"]["chunk_bytes"] == count.owners.total()
    pinned = told["size"]["pinned_bytes"]
    for quota in told["quotas"]:
        counted = count.owners if quota["kind"] == "user" else count.catalogs
        assert quota["bytes"] == counted[quota["name"]] - (pinned if quota["name"] in PAYS_FOR_PINS else 0)
    assert asked(cache, "check")["clean"]


def test_who_is_over_his_quota_loses_his_own_oldest_files_but_open_and_pinned_ones() -> None:
    with served_to_two() as (served, folder):
        with scene(served, folder, "--quota-user-gb", str(QUOTA_GB)) as it:
            cache = it.live.cache
            it.read(it.alice, MAIN, range(3))
            it.read(it.bob, DEV, range(2))
            it.bob.do(
                "held = os.open(path, os.O_RDONLY); os.read(held, 1)", path=str(it.live.path / DEV / "00")
            )
            asked(cache, "pin", f"/Volumes/{DEV}/01")
            assert wait_for(lambda: taken(cache).files[f"/Volumes/{MAIN}/02"] > FILE_BYTES)
            alices = {path for path in taken(cache).files if path.startswith(f"/Volumes/{MAIN}")}
            for number in range(2, FILES):
                it.read(it.bob, DEV, range(number, number + 1))
                assert wait_for(partial(is_stored, cache, f"/Volumes/{DEV}/{number:02d}"))
                now = taken(cache)
                # A row is gone before its file: one more may be seen.
                assert now.owners[BOB_NAME] - now.files[f"/Volumes/{DEV}/01"] <= QUOTA + CHUNK_ON_DISK
            assert it.live.stop() == 0
        left = taken(cache).files
        assert alices <= set(left)
        assert {f"/Volumes/{DEV}/{name}" for name in ("00", "01", f"{FILES - 1}")} <= set(left)
        assert not {f"/Volumes/{DEV}/{number:02d}" for number in range(2, FILES // 2)} & set(left)
        assert set(figures(cache)["storing"]["evicted"]) == {"quota"}
        assert figures(cache)["size"]["pinned_chunks"] == 2
        assert_agrees(cache)


def test_a_catalog_keeps_to_its_quota_whoever_reads_and_a_lower_one_is_met_at_the_next_start() -> None:
    with served_to_two() as (served, folder):
        with scene(served, folder, "--quota-catalog-gb", str(QUOTA_GB)) as it:
            cache = it.live.cache
            it.read(it.bob, MAIN, range(1))
            assert wait_for(lambda: taken(cache).files[f"/Volumes/{MAIN}/00"] > FILE_BYTES)
            for number in range(0, FILES, 2):
                it.read(it.alice, DEV, range(number, number + 1))
                it.read(it.bob, DEV, range(number + 1, number + 2))
                assert taken(cache).catalogs["dev"] <= QUOTA + CHUNK_ON_DISK
            assert it.live.stop() == 0
        mains = taken(cache).catalogs["main"]
        assert 0.7 * QUOTA < taken(cache).catalogs["dev"] <= QUOTA
        assert_agrees(cache)
        with mounted(served, folder / "m", *OPTIONS, "--quota-catalog-gb", str(QUOTA_GB / 2)) as live:
            assert wait_for(lambda: taken(cache).catalogs["dev"] <= QUOTA / 2)
            assert live.stop() == 0
        assert taken(cache).catalogs["main"] == mains < QUOTA / 2
        assert_agrees(cache)
