"""Having the mount write down what it has counted, before somebody looks.

The difficulty: a mount writes its counts every few seconds, one that was idle within a minute or two, so who looks
just after he has read something would miss it. But he only looks: he must not wait for a mount that is busy or stuck, and
gets what is written down if there is none or it is of another version. And what is imported for this takes longer than
the answer (0.1 s for the event loop), so it is a plain socket.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from fuse4dbricks.chunks.layout import CONTROL

NOTE = "note"

#: Seconds for the mount to answer; it takes a commit of the index.
NOTE_SECONDS = 1.0
#: Bytes of an answer that are read.
_MOST = 4096


def have_noted(folder: Path, seconds: float = NOTE_SECONDS) -> bool:
    """Whether the mount that uses the cache ``folder`` has written down all that it had counted."""
    try:
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(seconds)
            # By the descriptor: a path of a socket has 108 bytes at most.
            line.connect(f"/proc/self/fd/{folder_fd}/{CONTROL}")
            line.sendall(json.dumps({"order": NOTE}).encode() + b"\n")
            return b'"answer"' in line.recv(_MOST)
    except OSError:
        return False
    finally:
        os.close(folder_fd)
