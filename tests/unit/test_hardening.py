"""A secret that came by the environment is gone from it, for us, for our children and for /proc."""

from __future__ import annotations

import os
import subprocess
import sys

from fuse4dbricks.app.hardening import take_secret

CANARY = "canary-0123456789abcdef"

PROGRAM = """
import os, subprocess, sys
from fuse4dbricks.app.hardening import forbid_core_dumps, take_secret
raw = lambda: open("/proc/self/environ", "rb").read()
assert b"canary" in raw()
print(take_secret("THE_SECRET"))
assert b"canary" not in raw() and b"OTHER=kept" in raw() and b"THE_SECRET_TOO=kept" in raw(), raw()
assert os.environ["OTHER"] == "kept" and "THE_SECRET" not in os.environ
child = subprocess.run([sys.executable, "-c", "import os; print(dict(os.environ))"], capture_output=True, text=True)
assert "canary" not in child.stdout and "OTHER" in child.stdout, child
forbid_core_dumps()
import ctypes, resource
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
"""


def test_a_secret_leaves_the_environment() -> None:
    environ = {**os.environ, "A": "1", "THE_SECRET": CANARY, "THE_SECRET_TOO": "kept", "OTHER": "kept"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == CANARY


def test_an_empty_or_missing_secret_is_none() -> None:
    environ = {"EMPTY": ""}
    assert take_secret("EMPTY", environ) is None
    assert take_secret("MISSING", environ) is None
    assert environ == {}
