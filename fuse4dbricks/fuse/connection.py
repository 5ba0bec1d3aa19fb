"""The kernel's end of the mount: found in /proc and tuned in /sys.

The difficulty: a process that touches its own mount point before its loop runs waits for itself, beyond SIGKILL.
Everything here reads /proc/self/mountinfo and writes sysfs; nothing goes near the mount point.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("fuse4dbricks.fuse")

#: With the kernel's 128 KiB a sequential reader gets a fifth of the speed (3.1 against 0.6 GB/s).
READ_AHEAD_KB = 4096
#: The kernel works on so many direct and read-ahead requests at once: its 12 let a dozen stuck reads hold up
#: everybody's thirteenth, and 64 made a cached read wait 75 s behind 200 (L10). Below the tasks of ``session.py``.
MAX_BACKGROUND = 1000

#: What is mounted as; with it the kernel's table shows ours as :data:`OUR_TYPE`.
SUBTYPE = "fuse4dbricks"
OUR_TYPE = f"fuse.{SUBTYPE}"

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountLine:
    """One line of mountinfo.

    Attributes:
        device: "major:minor"; for FUSE, the minor number is the connection's.
        mountpoint: unescaped.
        fstype: such as :data:`OUR_TYPE`.
        source: what was given as fsname.
    """

    device: str
    mountpoint: str
    fstype: str
    source: str


def read_mounts(table: Path = Path("/proc/self/mountinfo")) -> list[MountLine]:
    """All mounts of this process's namespace, later ones on top of earlier ones."""
    lines = []
    for line in table.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) >= 5 and len(kind) >= 2:
            lines.append(MountLine(fields[2], _unescaped(fields[4]), kind[0], _unescaped(kind[1])))
    return lines


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)


def find_mount(mountpoint: Path) -> MountLine | None:
    """The topmost mount on ``mountpoint`` (an absolute path without links)."""
    found = None
    for line in read_mounts():
        if line.mountpoint == str(mountpoint):
            found = line
    return found


def tune(mountpoint: Path) -> None:
    """Raise read-ahead and background requests where the kernel lets us (it lets root)."""
    mount = find_mount(mountpoint)
    if mount is None:
        return
    minor = mount.device.partition(":")[2]
    _raise(Path(f"/sys/class/bdi/{mount.device}/read_ahead_kb"), READ_AHEAD_KB)
    _raise(Path(f"/sys/fs/fuse/connections/{minor}/max_background"), MAX_BACKGROUND)
    _raise(Path(f"/sys/fs/fuse/connections/{minor}/congestion_threshold"), MAX_BACKGROUND * 3 // 4)


def _raise(setting: Path, value: int) -> None:
    try:
        if int(setting.read_text()) < value:
            setting.write_text(f"{value}\n")
    except (OSError, ValueError) as error:
        logger.debug("%s stays as it is: %s", setting, error)
