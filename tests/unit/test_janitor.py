"""The demo's cleaner: the folder goes however the demo went."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: Prints a line inside the block, then waits for its end; the janitor shares its stdout.
PROGRAM = """
import sys
from pathlib import Path
from fuse4dbricks.cli.janitor import cleaned_up
folder = Path(sys.argv[1])
with cleaned_up(folder, folder / "mnt"):
    (folder / "mnt").mkdir()
    print("inside", flush=True)
    sys.stdin.read()
    if sys.argv[2] == "raise":
        raise SystemExit(7)
"""


@pytest.mark.parametrize("end", ["leave", "raise", "SIGKILL", "SIGTERM"])
def test_the_folder_goes(tmp_path: Path, end: str) -> None:
    folder = tmp_path / "demo"
    (folder / "lake").mkdir(parents=True)
    (folder / "lake" / "file").write_text("x")
    command = [sys.executable, "-c", PROGRAM, str(folder), end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == b"inside\n"
        if end.startswith("SIG"):
            program.send_signal(signal.Signals[end])
        else:
            program.stdin.close()
        program.stdout.read()  # ends when the janitor does
        program.wait(30)
    assert not folder.exists()
    assert tmp_path.exists()
