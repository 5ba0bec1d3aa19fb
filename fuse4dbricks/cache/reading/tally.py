"""Counting what each layer answered, at the price of an addition.

The difficulty: a labelled counter costs as much as the RAM hit that it counts. So hits are summed in plain
integers and handed to the metrics now and then, and whenever somebody reads these.
"""

from __future__ import annotations

from fuse4dbricks.telemetry.metrics import Metrics

#: Hits held back at most.
FLUSH_EVERY = 256


class HitTally:
    """Reads that one layer answered and that the metrics do not know of yet."""

    __slots__ = ("_bytes", "_layer", "_metrics", "_reads")

    def __init__(self, metrics: Metrics, layer: str) -> None:
        self._metrics = metrics
        self._layer = layer
        self._reads = 0
        self._bytes = 0
        metrics.expect(self.flush)

    def add(self, size: int) -> None:
        """One read of ``size`` bytes."""
        self._reads += 1
        self._bytes += size
        if self._reads >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Hand over what was held back."""
        if self._reads:
            self._metrics.add("read.hits", self._reads, layer=self._layer)
            self._metrics.add("read.hit_bytes", self._bytes, layer=self._layer)
            self._reads = self._bytes = 0
