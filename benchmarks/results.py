"""Figures with what they were measured on, as JSON that two runs can be compared by."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.line import Line


@dataclass(frozen=True, slots=True)
class Figure:
    """What one subject did in all runs of one question.

    Attributes:
        question: its script's name and the case.
        subject: who was measured.
        unit: of the runs.
        runs: one number each.
        is_better_when: "higher" or "lower".
        note: anything a reader must know; why it was skipped, if there are no runs.
    """

    question: str
    subject: str
    unit: str
    runs: tuple[float, ...]
    is_better_when: str
    line: Line = field(default_factory=Line)
    note: str = ""

    @property
    def median(self) -> float | None:
        """Of the runs; None when there are none."""
        return statistics.median(self.runs) if self.runs else None

    def describe(self) -> str:
        """One line for a terminal."""
        if not self.runs:
            return f"{self.question:34} {self.subject:12} skipped: {self.note}"
        spread = f"{min(self.runs):.1f} to {max(self.runs):.1f}"
        return f"{self.question:34} {self.subject:12} {self.median:9.1f} {self.unit:6} ({spread}) {self.note}"


def get_environment() -> dict[str, Any]:
    """The machine and the versions."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in ("fuse4dbricks", "pyfuse3", "trio", "httpx", "apsw")},
    }


def write(file: Path, figures: list[Figure]) -> None:
    """All figures of one run."""
    rows = [asdict(figure) | {"median": figure.median} for figure in figures]
    file.write_text(json.dumps({"environment": get_environment(), "figures": rows}, indent=1) + "\n")
