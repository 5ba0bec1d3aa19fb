"""What only a time limit ends: silence and drips, on listing and on reading, with the limits of the product.

The product's limits are 10 s of stall, 20 s to the headers, 25 s in all and 30 s for a request of the kernel, and no
option shortens them: these tests are run by hand. All faults of a kind are waited for at the same time.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fuse4dbricks.devworkspace.body_effects import Drip, DripHeaders
from fuse4dbricks.devworkspace.effects import Hang, Latency, Status
from fuse4dbricks.devworkspace.faults import Effect
from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, needs_fuse
from tests.support.places import Place, names
from tests.support.waiting import slow
from tests.support.workspace import Served

pytestmark = [needs_fuse, pytest.mark.mounted, *slow]

READING, LISTING = "fs.files.get", "fs.directories.list"
SIZE = 3 * MIB + 5

#: Seconds in which one request of the kernel is answered; a listing is one or two, a read of a page is one.
REQUEST = 30.0

SILENCE: dict[str, Effect] = {
    "hang before the headers": Hang(),
    "hang in the body": Hang(after_bytes=1000),
    "late": Latency(60),
    "drip": Drip(0.5),
    "headers drip": DripHeaders(0.5),
}


def _timed(ask: Callable[[], object]) -> tuple[float, object]:
    """How long it took, and what came of it: the answer, or an errno."""
    began = time.monotonic()
    try:
        answer = ask()
    except OSError as error:
        answer = error.errno
    return time.monotonic() - began, answer


def _all_at_once(asks: dict[str, Callable[[], object]]) -> dict[str, tuple[float, object]]:
    with ThreadPoolExecutor(len(asks)) as pool:
        return dict(zip(asks, pool.map(_timed, asks.values()), strict=True))


def _one_page(place: Place, name: str) -> Callable[[], object]:
    """Read one page without the kernel's read-ahead, which asks twice for what failed; not of the first bytes
    of a range, which are served while the rest is awaited.
    """

    def read() -> bytes:
        descriptor = os.open(place.top / name, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, 4096) as aligned:
                return aligned[: os.preadv(descriptor, [aligned], MIB + 50 * 4096)]
        finally:
            os.close(descriptor)

    return read


def test_silence_passes(served: Served, place: Place) -> None:
    """Once each: the reader gets right bytes, late."""
    expected = {name: place.put(name, SIZE) for name in SILENCE}
    names(place.top)
    faults = [
        served.faults.add(effect, kind=READING, path=f"*{place.remote}/{name}", times=1)
        for name, effect in SILENCE.items()
    ]
    found = _all_at_once({name: (place.top / name).read_bytes for name in SILENCE})
    for fault in faults:
        assert fault.fired == 1
        fault.remove()
    print({name: round(seconds, 1) for name, (seconds, _) in found.items()})
    assert {name: answer for name, (_, answer) in found.items()} == expected
    assert max(seconds for seconds, _ in found.values()) < REQUEST


def test_silence_stays(served: Served, shared: LiveMount, place: Place) -> None:
    """Each request ends with ETIMEDOUT in time, whatever else is stuck."""
    for name in SILENCE:
        place.put(name, SIZE)
    names(place.top)
    faults = [
        served.faults.add(effect, kind=READING, path=f"*{place.remote}/{name}")
        for name, effect in SILENCE.items()
    ]
    found = _all_at_once({name: _one_page(place, name) for name in SILENCE})
    for fault in faults:
        assert fault.fired
        fault.remove()
    print({name: round(seconds, 1) for name, (seconds, _) in found.items()})
    assert {name: answer for name, (_, answer) in found.items()} == dict.fromkeys(SILENCE, errno.ETIMEDOUT)
    assert max(seconds for seconds, _ in found.values()) < REQUEST
    for name in SILENCE:
        assert (place.top / name).read_bytes() == (place.source / name).read_bytes()


@pytest.mark.parametrize("effect", [Hang(), Status(status=429), Status(status=503, retry_after="1e308")])
def test_a_program_that_reads_a_silent_file_is_told(served: Served, place: Place, effect: Effect) -> None:
    """``cat`` waits for one limit, though the kernel asks again for what its read-ahead did not get."""
    place.put("a", SIZE)
    names(place.top)
    fault = served.faults.add(effect, kind=READING, path=f"*{place.remote}/a")
    seconds, answer = _timed((place.top / "a").read_bytes)
    fault.remove()
    print(round(seconds, 1))
    assert fault.fired
    assert answer == errno.ETIMEDOUT
    assert seconds < REQUEST


@pytest.mark.parametrize("effect", [Hang(), Drip(0.5), Status(status=429)])
def test_a_silent_listing_is_told(served: Served, shared: LiveMount, place: Place, effect: Effect) -> None:
    place.put("folder/a", 10)
    place.put("other/b", 10)
    names(place.top)
    fault = served.faults.add(effect, kind=LISTING, path=f"*{place.remote}/folder")
    seconds, answer = _timed(lambda: names(place.top / "folder"))
    assert names(place.top / "other") == ["b"]
    fault.remove()
    print(round(seconds, 1))
    assert fault.fired
    assert answer == errno.ETIMEDOUT
    assert seconds < REQUEST
    assert names(place.top / "folder") == ["a"]
