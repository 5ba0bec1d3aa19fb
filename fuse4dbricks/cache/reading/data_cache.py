"""The data cache: hands out readers that share what is in RAM, on its way, and on disk.

The difficulty: chunks must be found again by the next ``open`` of the same version, yet nothing may be kept for
files that nobody reads and RAM does not hold. So contents are registered weakly: a reader, a fetch or the RAM
tier keeps one alive, and with the last of them it is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import trio

from fuse4dbricks.cache.holdings import Holding
from fuse4dbricks.cache.reading.anticipation import Anticipation
from fuse4dbricks.cache.reading.budget import WindowBudget
from fuse4dbricks.cache.reading.content import Content, Tiers
from fuse4dbricks.cache.reading.forecast import count_calls
from fuse4dbricks.cache.reading.opened import LateReader
from fuse4dbricks.cache.reading.ports import DiskPort, RangeSource, ViewerOf
from fuse4dbricks.cache.reading.ram import RamTier
from fuse4dbricks.cache.reading.reader import Tallies
from fuse4dbricks.cache.reading.tally import HitTally
from fuse4dbricks.cache.reading.window import WindowShape
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import DEFAULT_CHUNK_SIZE, MIB

#: ``--ram-cache-mb``.
DEFAULT_RAM_BYTES = 512 * MIB
#: What all windows may take together, beside the RAM cache.
DEFAULT_WINDOW_BYTES = 128 * MIB
DEFAULT_SHAPE = WindowShape()
#: Threads that load chunks ahead: two per core of a small machine keep its disk busy.
LOADS_AHEAD = 4
#: Seconds without an open file after which RAM is worth more to others.
IDLE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the data cache is busy with now; all but ``ram_bytes`` is zero when nobody reads.

    Attributes:
        in_flight_bytes: promised to remote reads and not complete.
        ram_bytes: complete chunks in RAM.
        extents: remote reads under way.
        waiters: reads that sleep for bytes.
        publishing: chunks on their way to disk.
        streams: handles with something in flight.
    """

    in_flight_bytes: int
    ram_bytes: int
    extents: int
    waiters: int
    publishing: int
    streams: int


class DataCache:
    """The contents of files, from the nearest layer that has them."""

    def __init__(
        self,
        *,
        files: RangeSource,
        disk: DiskPort,
        supervisor: Supervisor,
        metrics: Metrics,
        ram_bytes: int = DEFAULT_RAM_BYTES,
        window_bytes: int = DEFAULT_WINDOW_BYTES,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        shape: WindowShape = DEFAULT_SHAPE,
        most_gathered: int = 0,
    ) -> None:
        budget = WindowBudget(window_bytes, shape.widest)
        self._tiers = Tiers(
            ram=RamTier(ram_bytes, budget),
            disk=disk,
            source=files,
            budget=budget,
            supervisor=supervisor,
            metrics=metrics,
            chunk_size=chunk_size,
            shape=shape,
            loads_ahead=trio.CapacityLimiter(LOADS_AHEAD),
            most_gathered=most_gathered,
        )
        self._tallies = Tallies(HitTally(metrics, "ram"), HitTally(metrics, "disk"))
        self._contents: WeakValueDictionary[tuple[RemotePath, Version], Content] = WeakValueDictionary()

    def open(self, viewer_of: ViewerOf, path: RemotePath, version: Version) -> LateReader:
        """A reader of exactly ``version``. Close it.

        Args:
            viewer_of: the opener and his token of the moment; asked before each remote read.
            path: of the file.
            version: as its metadata says; access has been checked by the caller.
        """
        content = self._get_content(path, version)
        self._tiers.disk.hold(path, version)
        self._tiers.ram.opened()
        return LateReader(content, viewer_of, self._tallies)

    def anticipate(self, viewer_of: ViewerOf, path: RemotePath, version: Version) -> Anticipation | None:
        """Begin to fetch a whole small file that nobody has opened; None when it is here, or there is no room.

        Close what is returned; arguments as for :meth:`open`.
        """
        anticipation = Anticipation(self._get_content(path, version), viewer_of)
        if not anticipation.is_possible:
            return None
        anticipation.start()
        return anticipation

    def _get_content(self, path: RemotePath, version: Version) -> Content:
        content = self._contents.get((path, version))
        if content is None or content.changed is not None:
            content = self._contents[path, version] = Content(self._tiers, path, version)
        return content

    @property
    def chunk_size(self) -> int:
        """Bytes of each chunk but the last of a file."""
        return self._tiers.chunk_size

    def get_complete(self, path: RemotePath, version: Version) -> frozenset[int]:
        """The indexes of the chunks that are in RAM as a whole."""
        content = self._contents.get((path, version))
        if content is None or content.changed is not None:
            return frozenset()
        return frozenset(index for index, chunk in content.chunks.items() if chunk.is_complete)

    def count_calls(self, holding: Holding) -> int:
        """Remote reads that reading the whole of a file would make, about."""
        size = self.chunk_size
        held = {n for first, stop in holding.cached for n in range(first // size, -(-stop // size))}
        return count_calls(holding.size, size, self._tiers.shape, frozenset(held))

    async def run_idle(self, give_back: Callable[[], None]) -> None:
        """Until cancelled: when nobody has had a file open for :data:`IDLE_SECONDS`, empty RAM and ``give_back``."""
        ram = self._tiers.ram
        while True:
            await ram.used()
            await ram.idle_for(IDLE_SECONDS)
            ram.clear()
            give_back()

    def get_gauges(self) -> Gauges:
        """A count of what is going on, for status and for tests."""
        contents = list(self._contents.values())
        chunks = [chunk for content in contents for chunk in content.chunks.values()]
        return Gauges(
            in_flight_bytes=self._tiers.budget.in_flight,
            ram_bytes=self._tiers.ram.kept,
            extents=sum(len(content.extents) for content in contents),
            waiters=sum(chunk.waiters for chunk in chunks),
            publishing=sum(chunk.is_publishing for chunk in chunks),
            streams=self._tiers.budget.streams,
        )
