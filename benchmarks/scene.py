"""What every question needs: a tree to read, a server of it, and subjects to compare in the same run.

The difficulty: machines are noisy, so a peer's figure from another day means nothing. :meth:`Scene.compare` takes turns:
each round measures every subject once, and what cannot be had is a figure with the reason instead of an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.line import DIRECT, Line, Server
from benchmarks.results import Figure
from benchmarks.subjects import Place, Skipped
from fuse4dbricks.units import GIB, KIB, MIB

Measure: TypeAlias = Callable[[Place], float]

BIG, HUGE = "big.bin", "huge.bin"
BIG_BYTES, HUGE_BYTES = 512 * MIB, 16 * GIB
#: A folder of so many folders of so many files each, and one of small files.
WIDE, WIDE_FOLDERS = "wide", 100
SMALL, SMALL_FILES, SMALL_BYTES = "small", 200, 8 * KIB
#: A folder of its own volume's root, made when it is asked about.
MANY, MANY_FILES = "many", 50_000
#: Chunks of a large cache, and of what ``--quick`` takes for one: the former takes minutes to make.
MANY_CHUNKS, QUICK_CHUNKS = 1_000_000, 100_000
#: All files are old, so that nobody distrusts them as fresh.
LONG_AGO = 1_700_000_000


@dataclass(slots=True)
class Scene:
    """One run of the benchmarks.

    Attributes:
        many_chunks: of the large caches that are compared with small ones; made once for each size and kept.
    """

    server: Server
    tree: Path
    scratch: Path
    tools: Path
    rounds: int = 5
    many_chunks: int = MANY_CHUNKS
    say: Callable[[str], None] = print
    figures: list[Figure] = field(default_factory=list)

    @property
    def volume(self) -> Path:
        """The folder of the tree that is ``main.sales.raw``."""
        return self.tree / "main" / "sales" / "raw"

    def compare(
        self,
        question: str,
        subjects: Mapping[str, Measure],
        *,
        unit: str,
        is_better_when: str,
        line: Line = DIRECT,
        note: str = "",
    ) -> None:
        """Measure every subject in each round, on an empty cache unless the measure makes it warm itself.

        Each round begins with another subject: who comes first finds the machine as the round before left it.
        """
        self.server.set_line(line)
        runs: dict[str, list[float]] = {name: [] for name in subjects}
        reasons: dict[str, str] = {}
        names = list(subjects)
        for turn in range(self.rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                if name in reasons:
                    continue
                try:
                    with self.place() as place:
                        runs[name].append(subjects[name](place))
                except (Skipped, OSError, subprocess.SubprocessError) as error:
                    reasons[name] = f"{type(error).__name__}: {error}"
        self.server.set_line(DIRECT)
        for name, values in runs.items():
            said = reasons.get(name, note)
            self.note(Figure(question, name, unit, tuple(values), is_better_when, line, said))

    def note(self, figure: Figure) -> None:
        """Keep and say what was measured."""
        self.figures.append(figure)
        self.say(figure.describe())

    @contextmanager
    def place(self) -> Iterator[Place]:
        """An empty folder for one subject, removed afterwards."""
        folder = self.scratch / "place"
        try:
            yield Place(self.server, self.tree, folder, self.tools)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def make_tree(tree: Path) -> None:
    """The files that the questions are about; made once."""
    volume = tree / "main" / "sales" / "raw"
    volume.mkdir(parents=True, exist_ok=True)
    if not (volume / BIG).exists():
        with (volume / BIG).open("wb") as file:
            for _ in range(BIG_BYTES // MIB):
                file.write(os.urandom(MIB))
    with (volume / HUGE).open("ab") as file:
        file.truncate(HUGE_BYTES)
    for path in (volume / BIG, volume / HUGE):
        os.utime(path, (LONG_AGO, LONG_AGO))
    make_files(volume / SMALL, SMALL_FILES, SMALL_BYTES)
    for number in range(WIDE_FOLDERS):
        make_files(volume / WIDE / f"folder{number:03}", WIDE_FOLDERS, 1)


def make_files(folder: Path, count: int, size: int) -> None:
    """Files of a size in a folder; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"file{number:03}"
        if not path.exists():
            path.write_bytes(os.urandom(size))
            os.utime(path, (LONG_AGO, LONG_AGO))


def drop_from_page_cache(folder: Path) -> None:
    """Make the disk the next one to be asked for the files in ``folder``."""
    os.sync()  # what is not written yet stays
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
