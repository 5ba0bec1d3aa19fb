"""``python -m benchmarks``: every question, with the peers in the same run.

``--only NAME`` asks one of them, ``--rounds N`` takes N instead of 5 runs, ``--quick`` has 100,000 chunks where else it
is a million, ``--json FILE`` and ``--html FILE`` keep the result. Nothing is left behind but the tree and the peers' environments in ``--work``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    big_folder,
    cache_stats,
    fio_jobs,
    growth,
    idle,
    listing,
    random_reads,
    sequential,
    small_files,
    start,
    warm,
)
from benchmarks.line import serving
from benchmarks.report import write_html
from benchmarks.results import write
from benchmarks.scene import BIG, BIG_BYTES, QUICK_CHUNKS, Scene, make_tree

QUESTIONS = {
    "sequential": sequential.run,
    "random_reads": random_reads.run,
    "listing": listing.run,
    "small_files": small_files.run,
    "big_folder": big_folder.run,
    "fio_jobs": fio_jobs.run,
    "start": start.run,
    "idle": idle.run,
    "cache_stats": cache_stats.run,
    "growth": growth.run,
    "warm": warm.run,
}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=QUESTIONS, help="ask only this; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each subject (5)")
    parser.add_argument("--quick", action="store_true", help="large caches of 100,000 chunks, not a million")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/fuse4dbricks-benchmarks").expanduser())
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write a report with charts here")
    asked = parser.parse_args()
    # Mounts and servers are taken down on the way out, which a plain SIGTERM would not take.
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    tree = asked.work / "tree"
    make_tree(tree)
    chosen = asked.only or list(QUESTIONS)
    with tempfile.TemporaryDirectory(prefix="fuse4dbricks-benchmarks-") as scratch, serving(tree) as server:
        scene = Scene(server, tree, Path(os.path.realpath(scratch)), asked.work, rounds=asked.rounds)
        scene.many_chunks = QUICK_CHUNKS if asked.quick else scene.many_chunks
        limit = server.measure_limit(f"main/sales/raw/{BIG}", BIG_BYTES)
        print(f"the server gives {limit:.0f} MiB/s to http.client on 8 threads; nothing can be faster here")
        for number, name in enumerate(chosen, 1):
            print(f"--- {number} of {len(chosen)}: {name}", flush=True)
            QUESTIONS[name](scene)
            # After each: a run takes an hour, and one that is ended keeps what it has.
            if asked.json:
                write(asked.json, scene.figures)
            if asked.html:
                write_html(asked.html, scene.figures)


if __name__ == "__main__":
    main()
