"""What can be asked of a cache, and having it done.

The difficulty: an order comes from another process, perhaps of another version. Each is checked field by field before
anything happens, and an unknown one, or one with an unknown field, is refused: half an order obeyed could be everything
deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from fuse4dbricks.app.upkeep.attendant import Attendant
from fuse4dbricks.app.upkeep.fields import numbered, path_from, worded
from fuse4dbricks.app.upkeep.noting import NOTE
from fuse4dbricks.app.upkeep.wire import WORK_SECONDS, Answer, Order, OrderRefused
from fuse4dbricks.cache.storing.upkeep import Freed, Upkeep
from fuse4dbricks.errors import CacheError
from fuse4dbricks.index.records import Selection

#: Chunk names in one order.
MAX_NAMES = 500


@dataclass(frozen=True, slots=True)
class OrderScene:
    """Where orders are carried out: a folder, and the mount that uses it, if there is one."""

    upkeep: Upkeep
    attendant: Attendant | None

    def expect(self) -> Attendant:
        """The mount.

        Raises:
            OrderRefused: there is none.
        """
        if self.attendant is None:
            raise OrderRefused("that needs a mount; nothing is mounted with this cache folder")
        return self.attendant


async def obey(upkeep: Upkeep, order: Order, attendant: Attendant | None = None) -> Answer:
    """Carry out one order that is answered at once.

    Args:
        upkeep: of the folder.
        order: with its name and its fields.
        attendant: for what needs a mount, or what is like one; None where there is none.

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
        return await work(OrderScene(upkeep, attendant), arguments)
    except CacheError as error:
        raise OrderRefused(f"the cache cannot do it now: {error}") from error


async def _shown(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    return where.expect().describe()


async def _note(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    await where.expect().note_counts()
    return {}


async def _pins(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    return await where.expect().list_pins()


async def _unpin(where: OrderScene, arguments: dict[str, Any]) -> Answer:
    return await where.expect().unpin(arguments)


async def _evict(where: OrderScene, arguments: dict[str, Any]) -> Answer:
    under, names = worded(arguments, "under"), arguments.get("names")
    selection = Selection(
        names=None if names is None else _names(names),
        under=None if under is None else path_from(under),
        host=worded(arguments, "host"),
        owner=worded(arguments, "owner"),
        older_than=numbered(arguments, "older_than"),
        # What is about the whole cache is about what is hidden in it, too; a path leads to what is shown.
        shows=None if under is None or where.attendant is None else where.attendant.scene.visibility.shows,
    )
    return _freed(await where.upkeep.evict(selection, WORK_SECONDS))


async def _shrink(where: OrderScene, arguments: dict[str, Any]) -> Answer:
    limit = numbered(arguments, "to_bytes")
    if limit is None:
        raise OrderRefused("to_bytes is missing")
    return _freed(await where.upkeep.shrink(int(limit), WORK_SECONDS))


async def _sweep(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    return {"ticket": where.upkeep.stock.ask()}


async def _renew(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    return {"ticket": await where.upkeep.renew()}


async def _count(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    await where.upkeep.count_again()
    return {}


async def _progress(where: OrderScene, _arguments: dict[str, Any]) -> Answer:
    return {**asdict(where.upkeep.stock.get_progress()), "complete": where.upkeep.knows_all}


_Work = Callable[[OrderScene, dict[str, Any]], Awaitable[Answer]]
_ORDERS: dict[str, tuple[frozenset[str], _Work]] = {
    "evict": (frozenset({"names", "under", "host", "owner", "older_than"}), _evict),
    "shrink": (frozenset({"to_bytes"}), _shrink),
    "sweep": (frozenset(), _sweep),
    "renew": (frozenset(), _renew),
    "count": (frozenset(), _count),
    "progress": (frozenset(), _progress),
    "shown": (frozenset(), _shown),
    NOTE: (frozenset(), _note),
    "pins": (frozenset(), _pins),
    "unpin": (frozenset({"path"}), _unpin),
}


def _freed(freed: Freed) -> Answer:
    return {"chunks": freed.chunks, "bytes": freed.bytes, "more": freed.has_more}


def _names(given: object) -> frozenset[bytes]:
    if not isinstance(given, list) or len(given) > MAX_NAMES:
        raise OrderRefused("names is no list, or too long")
    try:
        return frozenset(bytes.fromhex(name) for name in given)
    except (TypeError, ValueError):
        raise OrderRefused("names holds something that is not hexadecimal") from None
