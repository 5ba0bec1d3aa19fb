"""Commands run in this process, which saves the second that a new one takes to start."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse4dbricks.cli.main import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has printed."""

    stdout: str
    stderr: str


def run(folder: Path, *arguments: str | Path, code: int = 0, of: str = "cache") -> Outcome:
    """Run a command of a group on a cache folder; it must end with ``code``, and not by a mistake of ours."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        given = main([of, *map(str, arguments), "--disk-cache-dir", str(folder)])
    assert given == code, (given, out.getvalue(), err.getvalue())
    assert "should not have happened" not in err.getvalue()
    return Outcome(out.getvalue(), err.getvalue())


def asked(folder: Path, *arguments: str | Path, code: int = 0, of: str = "cache") -> dict[str, Any]:
    """Run a command and return its JSON."""
    document: dict[str, Any] = json.loads(run(folder, *arguments, "--json", code=code, of=of).stdout)
    assert document["schema"] == 1
    return document
