"""A process that writes an index until it is killed, and says what was acknowledged.

``python -m tests.support.index_child FOLDER SEED`` prints one line for each write that it was told is committed:
``add INDEX`` and ``gone INDEX``. It also posts walks over a folder, each one or the other of two sets of names.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import trio

from fuse4dbricks.index import Index, VictimQuery
from tests.support.indexes import (
    FILE,
    FOLDER,
    KIB,
    VERSION,
    HandClock,
    chunk_name,
    file_entry,
    new_chunk,
    opened,
    post_walk,
)

ROUNDS = 400
EVEN = [[file_entry(f"even-{page}-{n}") for n in range(50)] for page in range(3)]
ODD = [[file_entry(f"odd-{page}-{n}") for n in range(50)] for page in range(3)]
NUMBERS = {chunk_name(FILE, VERSION, n): n for n in range(4 * ROUNDS)}


def say(what: str, number: int) -> None:
    sys.stdout.write(f"{what} {number}\n")
    sys.stdout.flush()


async def one_round(index: Index, clock: HandClock, number: int, chance: random.Random) -> None:
    clock.step(1)
    rows = [new_chunk(4 * number + n) for n in range(4)]
    await index.chunks.add(FILE, VERSION, rows)
    for row in rows:
        say("add", row.chunk_index)
    post_walk(index, FOLDER, EVEN if number % 2 else ODD)
    for row_id in range(1, 4 * number, 7):
        index.chunks.touch(row_id)
    if chance.random() < 0.3:
        for victim in await index.chunks.take_victims(VictimQuery(free_bytes=5 * KIB)):
            say("gone", NUMBERS[victim.name])


async def main(folder: Path, seed: int) -> None:
    clock, chance = HandClock(), random.Random(seed)
    async with opened(folder, clock=clock) as index:
        for number in range(ROUNDS):
            await one_round(index, clock, number, chance)
    say("end", 0)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
