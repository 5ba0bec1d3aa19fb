"""What can be asked of a cache, and having it done.

The difficulty: an order comes from another process, perhaps of another version. Each is checked field by field before
anything happens, and an unknown one, or one with an unknown field, is refused: half an order obeyed could be everything
deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fuse4dbricks.app.upkeep.wire import WORK_SECONDS, Answer, Order, OrderRefused
from fuse4dbricks.cache.storing.upkeep import Freed, Upkeep
from fuse4dbricks.errors import CacheError
from fuse4dbricks.index.records import Selection
from fuse4dbricks.paths import RemotePath

#: Chunk names in one order.
MAX_NAMES = 500


async def obey(upkeep: Upkeep, order: Order) -> Answer:
    """Carry out one order.

    Raises:
        OrderRefused: it is not one, or the cache cannot do it now.
    """
    arguments = dict(order)
    name = arguments.pop("order", None)
    known = _ORDERS.get(name) if isinstance(name, str) else None
    if known is None:
        raise OrderRefused(f"{name!r} is no order that this version knows")
    fields, work = known
    if not arguments.keys() <= fields:
        raise OrderRefused(f"{min(arguments.keys() - fields)!r} is not understood by this version")
    try:
        return await work(upkeep, arguments)
    except CacheError as error:
        raise OrderRefused(f"the cache cannot do it now: {error}") from error


def path_from(text: str) -> RemotePath:
    """``/Volumes/main/sales`` → its path.

    Raises:
        OrderRefused: it is not below ``/Volumes``.
    """
    first, *parts = [part for part in text.split("/") if part] or [""]
    if not text.startswith("/") or first != "Volumes":
        raise OrderRefused(f"{text!r} is not a path in /Volumes")
    return RemotePath(tuple(parts))


async def _evict(upkeep: Upkeep, arguments: dict[str, Any]) -> Answer:
    under, names = _text(arguments, "under"), arguments.get("names")
    selection = Selection(
        names=None if names is None else _names(names),
        under=None if under is None else path_from(under),
        host=_text(arguments, "host"),
        owner=_text(arguments, "owner"),
        older_than=_number(arguments, "older_than"),
    )
    return _freed(await upkeep.evict(selection, WORK_SECONDS))


async def _shrink(upkeep: Upkeep, arguments: dict[str, Any]) -> Answer:
    limit = _number(arguments, "to_bytes")
    if limit is None:
        raise OrderRefused("to_bytes is missing")
    return _freed(await upkeep.shrink(int(limit), WORK_SECONDS))


async def _sweep(upkeep: Upkeep, _arguments: dict[str, Any]) -> Answer:
    return {"ticket": upkeep.stock.ask()}


async def _renew(upkeep: Upkeep, _arguments: dict[str, Any]) -> Answer:
    return {"ticket": await upkeep.renew()}


async def _count(upkeep: Upkeep, _arguments: dict[str, Any]) -> Answer:
    await upkeep.count_again()
    return {}


async def _progress(upkeep: Upkeep, _arguments: dict[str, Any]) -> Answer:
    return asdict(upkeep.stock.get_progress())


_Work = Callable[[Upkeep, dict[str, Any]], Awaitable[Answer]]
_ORDERS: dict[str, tuple[frozenset[str], _Work]] = {
    "evict": (frozenset({"names", "under", "host", "owner", "older_than"}), _evict),
    "shrink": (frozenset({"to_bytes"}), _shrink),
    "sweep": (frozenset(), _sweep),
    "renew": (frozenset(), _renew),
    "count": (frozenset(), _count),
    "progress": (frozenset(), _progress),
}


def _freed(freed: Freed) -> Answer:
    return {"chunks": freed.chunks, "bytes": freed.bytes, "more": freed.has_more}


def _text(arguments: dict[str, Any], field: str) -> str | None:
    value = arguments.get(field)
    if value is not None and not isinstance(value, str):
        raise OrderRefused(f"{field} is no text")
    return value


def _number(arguments: dict[str, Any], field: str) -> float | None:
    value = arguments.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        raise OrderRefused(f"{field} is no number that makes sense")
    return float(value)


def _names(given: object) -> frozenset[bytes]:
    if not isinstance(given, list) or len(given) > MAX_NAMES:
        raise OrderRefused("names is no list, or too long")
    try:
        return frozenset(bytes.fromhex(name) for name in given)
    except (TypeError, ValueError):
        raise OrderRefused("names holds something that is not hexadecimal") from None
