"""The fields of an order, checked one by one.

The difficulty: an order comes from another process, perhaps of another version: nothing in it may be taken for what it
should be.
"""

from __future__ import annotations

from typing import Any

from fuse4dbricks.app.upkeep.wire import OrderRefused
from fuse4dbricks.paths import RemotePath, why_unusable


def path_from(text: str) -> RemotePath:
    """``/Volumes/main/sales`` → its path.

    Raises:
        OrderRefused: it is not below ``/Volumes``.
    """
    first, *parts = [part for part in text.split("/") if part] or [""]
    if not text.startswith("/") or first != "Volumes":
        raise OrderRefused(f"{text!r} is not a path in /Volumes")
    for part in parts:
        why = why_unusable(part)
        if why is not None:
            raise OrderRefused(f"{text[:200]!r} is no path: a part of it is {why}", 2)
    return RemotePath(tuple(parts))


def worded(order: dict[str, Any], name: str) -> str | None:
    """A text, if it is given.

    Raises:
        OrderRefused: it is none.
    """
    value = order.get(name)
    if value is not None and not isinstance(value, str):
        raise OrderRefused(f"{name} is no text")
    return value


def texts(order: dict[str, Any], name: str) -> list[str]:
    """A list of texts, empty where none is given.

    Raises:
        OrderRefused: it is none.
    """
    value = order.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise OrderRefused(f"{name} is no list of texts")
    return value


def numbered(order: dict[str, Any], name: str) -> float | None:
    """A number, if it is given.

    Raises:
        OrderRefused: it is none, or makes no sense.
    """
    value = order.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        raise OrderRefused(f"{name} is no number that makes sense")
    return float(value)
