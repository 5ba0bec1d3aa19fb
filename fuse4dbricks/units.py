"""Sizes, durations, times and names as people write and read them."""

from __future__ import annotations

import time

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

#: The unit of storage unless the mount says otherwise (design section 2).
DEFAULT_CHUNK_SIZE = MIB


def format_bytes(count: float) -> str:
    """``1536`` → ``1.5 KiB``; binary units, one decimal."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """``3725`` → ``1 h 2 min``; the two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def format_moment(unix: float) -> str:
    """A Unix time as a local one, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix))


def printable(text: str) -> str:
    """``text`` with everything escaped that would not be seen, or would be more than seen.

    Names come from a server, and a terminal takes some characters for orders.
    """
    if text.isprintable():  # as nearly all are, and a million names are told
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
