"""What an index of 1,000,000 chunks costs more than one of 10,000; promised is no more than half as much again.

The difficulty: what grows with the cache hides behind what does not. So the three things that are done all day
(asking what a name is, asking which chunks of a file are here, and making room) are measured alone, at the
index's own door, on copies of two made indexes, in turns, in time of the processor: the disk's share would be that of
another program's writing. Making room includes the deletion of files, which here are
empty; it is measured from the scan for candidates to the last file gone.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import trio

from benchmarks.bigindex import WORKSPACE, file_of, make_index
from benchmarks.scene import Measure, Scene
from benchmarks.subjects import Place
from fuse4dbricks.chunks import CacheFolder, ChunkName, ChunkStore
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.index import Index
from fuse4dbricks.index.records import VictimQuery
from fuse4dbricks.telemetry.metrics import Metrics

SMALL = 10_000
CHUNKS_PER_FILE = 8
#: Questions per run, all about different files; the small index has 1250.
QUESTIONS = 1_000
#: Chunks per run at most, but half of all: more than one scan for candidates gives.
VICTIMS = 40_960
BATCH = 256

#: Of an open index: seconds for each of what is asked.
Ask: TypeAlias = Callable[[Index, CacheFolder, int], Awaitable[float]]


def run(scene: Scene) -> None:
    """Ask it; the indexes are made once and kept."""
    folders = dict(ensure_indexes(scene.tools, scene.scratch, scene.say, scene.many_chunks))
    for question, ask in {"stat": _stat, "open": _open, "eviction": _evict}.items():
        measures = {f"{chunks:,}": _measured(folder, chunks, ask) for chunks, folder in folders.items()}
        scene.compare(f"{question}, each, by chunks", measures, unit="µs", is_better_when="lower")


def ensure_indexes(
    tools: Path, scratch: Path, say: Callable[[str], None], large: int
) -> Iterator[tuple[int, Path]]:
    """Cache folders with so many chunks."""
    for chunks in (SMALL, large):
        folder = tools / f"growth-{chunks}"
        if not folder.exists():
            unfinished = scratch / folder.name
            say(f"making an index of {chunks:,} chunks")
            trio.run(make_index, unfinished, chunks, CHUNKS_PER_FILE)
            shutil.move(unfinished, folder)
        yield chunks, folder


def _measured(folder: Path, chunks: int, ask: Ask) -> Measure:
    def measure(place: Place) -> float:
        shutil.copytree(folder, place.folder)
        return 1e6 * trio.run(_with_index, place.folder, chunks, ask)

    return measure


async def _with_index(path: Path, chunks: int, ask: Ask) -> float:
    with CacheFolder.open(path) as folder:
        index = await Index.open(
            folder.index_path, workspace=WORKSPACE, clock=SystemClock(), metrics=Metrics()
        )
        try:
            return await ask(index, folder, chunks)
        finally:
            await index.aclose()


def _some_files(chunks: int) -> list[int]:
    return random.Random(chunks).sample(range(0, chunks, CHUNKS_PER_FILE), QUESTIONS)


async def _stat(index: Index, _: CacheFolder, chunks: int) -> float:
    paths = [file_of(number, CHUNKS_PER_FILE)[0] for number in _some_files(chunks)]
    # Twice: what the first round reads from the disk is the operating system's matter.
    for _round in range(2):
        began = time.process_time()
        found = sum(index.tree.load_entry(path, None) is not None for path in paths)
        took = time.process_time() - began
    assert found == len(paths)
    return took / QUESTIONS


async def _open(index: Index, _: CacheFolder, chunks: int) -> float:
    files = [file_of(number, CHUNKS_PER_FILE) for number in _some_files(chunks)]
    for _round in range(2):
        began = time.process_time()
        found = sum(len(index.chunks.load_span(*file, 0, 128) or ()) for file in files)
        took = time.process_time() - began
    assert found == CHUNKS_PER_FILE * len(files)
    return took / QUESTIONS


async def _evict(index: Index, folder: CacheFolder, chunks: int) -> float:
    store = ChunkStore(folder, SystemClock())
    gone, wanted = 0, min(VICTIMS, chunks // 2)
    began = time.process_time()
    while gone < wanted:
        victims = await index.chunks.take_victims(VictimQuery(free_chunks=wanted - gone), BATCH)
        names = [ChunkName(victim.name) for victim in victims]
        await trio.to_thread.run_sync(store.remove, names)
        gone += len(victims)
    took = time.process_time() - began
    store.close()
    return took / wanted
