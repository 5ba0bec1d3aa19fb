"""Each fault of the plan, on listing and on reading through a real mount.

What passes is mended: the reader gets the right bytes and never learns of it. What stays is told: the errno of the
table, within 30 seconds. Either way the mount is alive afterwards and serves right bytes, and the fault has happened.
Faults that are only noticed by a time limit of 10 to 25 seconds are in ``test_mounted_limits.py``.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace.body_effects import Bandwidth, Garbled, Gzip, LongBody, ShortBody
from fuse4dbricks.devworkspace.effects import (
    EndlessPages,
    Headers,
    IgnoreRange,
    Json,
    Latency,
    OtherRange,
    Page,
    Redirect,
    Reset,
    Status,
)
from fuse4dbricks.devworkspace.faults import Effect
from fuse4dbricks.devworkspace.gates import FILES_API_KINDS, ConcurrencyGate, QpsGate
from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.places import Place, names
from tests.support.waiting import wait_for
from tests.support.workspace import Served

pytestmark = [needs_fuse, pytest.mark.mounted]

#: An outage is believed for 5 seconds, in which nothing is asked.
RECOVERY = 12.0

READING, LISTING = "fs.files.get", "fs.directories.list"

#: Long enough to be read in several requests and in two ranges.
SIZE = 3 * MIB + 5

#: An error is told within this many seconds; the mount's own outer limit.
PROMISE = 30.0

RETRY_AFTER = ("0", "1", "0.5", "-5", "nan", "inf", "soon", "", "1, 2", "0x1")

MENDED: dict[str, Effect] = {
    "latency": Latency(0.3),
    **{str(status): Status(status=status) for status in (429, 500, 502, 503, 504)},
    "503 Retry-After 1": Status(status=503, retry_after="1"),
    "429 RetryInfo": Status(status=429, retry_delay=0.5),
    "HTML page": Page(),
    "HTML page as 503": Page(status=503),
    "HTML page as 404": Page(status=404),
    "reset before the headers": Reset(),
}

MENDED_IN_READING: dict[str, Effect] = {
    **{f"429 Retry-After {value!r}": Status(status=429, retry_after=value) for value in RETRY_AFTER},
    "bandwidth": Bandwidth(4_000_000),
    "reset after 0 bytes": Reset(after_bytes=0),
    "reset in the body": Reset(after_bytes=100_000),
    "short, consistent": ShortBody(100_000),
    "short, cut": ShortBody(100_000, "cut"),
    "short, without a length": ShortBody(100_000, "close"),
    "empty": ShortBody(0),
    "long": LongBody(1000),
    "gzip": Gzip(),
    "gzip bomb": Gzip(bomb=32 * MIB),
    "another range": OtherRange("bytes=0-9"),
    "another range of this length": OtherRange(f"bytes=1-{SIZE - 1}"),
    "wrong Content-Range": Headers({"content-range": f"bytes 1-{SIZE - 1}/{SIZE}"}),
    "no Content-Range": Headers({"content-range": None}),
    "multipart": Headers({"content-type": "multipart/byteranges; boundary=x", "content-range": None}),
}

TOLD: dict[str, tuple[Effect, set[int]]] = {
    "500": (Status(status=500), {errno.EIO}),
    "501": (Status(status=501), {errno.EIO}),
    "502": (Status(status=502), {errno.EIO}),
    "504": (Status(status=504), {errno.EIO}),
    "400": (Status(status=400), {errno.EIO}),
    "403": (Status(status=403, error_code="PERMISSION_DENIED"), {errno.EACCES}),
    "429 for an hour": (Status(status=429, retry_after="3600"), {errno.ETIMEDOUT}),
    "reset": (Reset(), {errno.EHOSTUNREACH}),
    "429 until 2100": (Status(status=429, retry_after="Fri, 01 Jan 2100 00:00:00 GMT"), {errno.ETIMEDOUT}),
    "503 for an hour": (Status(status=503, retry_after="3600"), {errno.ETIMEDOUT}),
    "HTML page": (Page(), {errno.EIO}),
    "redirect": (Redirect(), {errno.EIO}),
    "redirect to metadata": (Redirect("http://169.254.169.254/latest"), {errno.EIO}),
}

TOLD_IN_BODIES: dict[str, Effect] = {
    "short, consistent": ShortBody(100_000),
    "empty, cut": ShortBody(0, "cut"),
    "empty, without a length": ShortBody(0, "close"),
    "long": LongBody(1),
    "gzip": Gzip(),
    "another range": OtherRange("bytes=0-9"),
    "wrong Content-Range": Headers({"content-range": f"bytes 1-{SIZE - 1}/{SIZE}"}),
    "no Content-Range": Headers({"content-range": None}),
    "JSON": Json({"contents": []}),
}

TOLD_IN_LISTINGS: dict[str, Effect] = {
    "not an object": Json([]),
    "text for the list": Json({"contents": "all of it"}),
    "number for the token": Json({"contents": [], "next_page_token": 7}),
    "half of its JSON": Garbled(),
    "short": ShortBody(10),
    "gzip": Gzip(),
    "endless": EndlessPages(),
}


def _params(cases: Mapping[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


def _raises(path: Path, ask: str) -> int:
    """The errno of a read or a listing that must fail, in time."""
    began = time.monotonic()
    with pytest.raises(OSError) as failed:
        path.read_bytes() if ask == READING else names(path)
    assert time.monotonic() - began < PROMISE
    return failed.value.errno or 0


@pytest.fixture(autouse=True)
def untouched(place: Place) -> bytes:
    """The bytes of a file in each test's volume that nothing reads before :func:`_assert_well` does."""
    return place.put("folder of the next/after", 1000)


def _assert_well(shared: LiveMount, place: Place) -> None:
    """The mount lives and serves what nobody has asked for yet."""
    assert shared.process.poll() is None
    expected = (place.source / "folder of the next/after").read_bytes()
    assert (place.top / "folder of the next/after").read_bytes() == expected
    assert "failed unexpectedly" not in shared.log


# --- reading ---------------------------------------------------------------------------------------


@_params({**MENDED, **MENDED_IN_READING})
def test_reading_gets_over_it(served: Served, shared: LiveMount, place: Place, case: Effect) -> None:
    expected = place.put("a", SIZE)
    names(place.top)
    fault = served.faults.add(case, kind=READING, path=f"*{place.remote}/a", times=1)
    assert (place.top / "a").read_bytes() == expected
    assert fault.fired == 1
    fault.remove()
    _assert_well(shared, place)


def test_the_whole_file_for_a_range_is_no_answer(served: Served, shared: LiveMount, place: Place) -> None:
    expected = place.put("a", 6 * MIB)
    names(place.top)
    fault = served.faults.add(IgnoreRange(), kind=READING, path=f"*{place.remote}/a", times=1)
    with (place.top / "a").open("rb", buffering=0) as stream:
        stream.seek(5 * MIB)
        assert stream.read(1000) == expected[5 * MIB : 5 * MIB + 1000]
    assert fault.fired == 1
    fault.remove()
    assert (place.top / "a").read_bytes() == expected


def test_a_date_in_retry_after(served: Served, place: Place) -> None:
    expected = place.put("a", SIZE)
    names(place.top)
    late = Status(status=503, retry_after=formatdate(time.time() + 2, usegmt=True))
    fault = served.faults.add(late, kind=READING, path=f"*{place.remote}/a", times=1)
    assert (place.top / "a").read_bytes() == expected
    assert fault.fired == 1
    first, second = (record.at for record in served.journal.get_log(READING) if record.path == f"/api/2.0/fs/files{place.remote}/a")  # fmt: skip
    assert second - first > 0.5
    fault.remove()


@_params(TOLD)
def test_reading_is_told(
    served: Served, shared: LiveMount, place: Place, case: tuple[Effect, set[int]]
) -> None:
    effect, expected = case
    content = place.put("a", SIZE)
    names(place.top)
    fault = served.faults.add(effect, kind=READING, path=f"*{place.remote}/a")
    assert _raises(place.top / "a", READING) in expected
    assert fault.fired
    fault.remove()
    if errno.EACCES in expected:
        return  # a refusal is believed for some seconds; the next test reads again
    assert (place.top / "a").read_bytes() == content
    _assert_well(shared, place)


@_params(TOLD_IN_BODIES)
def test_reading_is_told_of_bad_bodies(served: Served, shared: LiveMount, place: Place, case: Effect) -> None:
    content = place.put("a", SIZE)
    names(place.top)
    fault = served.faults.add(case, kind=READING, path=f"*{place.remote}/a")
    assert _raises(place.top / "a", READING) == errno.EIO
    assert fault.fired
    fault.remove()
    assert (place.top / "a").read_bytes() == content
    _assert_well(shared, place)


@pytest.mark.parametrize(
    "case", [ShortBody(300_000, "cut"), ShortBody(300_000, "close"), Reset(after_bytes=300_000)]
)
def test_a_body_that_always_breaks_off_is_put_together(served: Served, place: Place, case: Effect) -> None:
    """As long as each attempt brings something, no reader hears of it."""
    expected = place.put("a", SIZE)
    names(place.top)
    fault = served.faults.add(case, kind=READING, path=f"*{place.remote}/a")
    assert (place.top / "a").read_bytes() == expected
    assert fault.fired > 5
    fault.remove()


def test_another_total_is_another_version(served: Served, shared: LiveMount, place: Place) -> None:
    place.put("a", SIZE)
    names(place.top)
    other = Headers({"content-range": f"bytes 0-{SIZE - 1}/{SIZE + 1}"})
    fault = served.faults.add(other, kind=READING, path=f"*{place.remote}/a", times=1)
    assert _raises(place.top / "a", READING) == errno.ESTALE
    assert fault.fired == 1
    fault.remove()
    assert (place.top / "a").read_bytes() == (place.source / "a").read_bytes()
    _assert_well(shared, place)


def test_a_file_that_always_breaks_off_harms_no_other(served: Served, place: Place) -> None:
    place.put("bad", SIZE)
    good = place.put("good", SIZE)
    names(place.top)
    fault = served.faults.add(Reset(after_bytes=0), kind=READING, path=f"*{place.remote}/bad")
    assert _raises(place.top / "bad", READING) == errno.EHOSTUNREACH
    assert fault.fired
    assert (place.top / "good").read_bytes() == good
    fault.remove()


# --- listing ---------------------------------------------------------------------------------------


@_params(MENDED)
def test_listing_gets_over_it(served: Served, shared: LiveMount, place: Place, case: Effect) -> None:
    place.put("folder/a", 10)
    names(place.top)
    fault = served.faults.add(case, kind=LISTING, path=f"*{place.remote}/folder", times=1)
    assert names(place.top / "folder") == ["a"]
    assert fault.fired == 1
    fault.remove()
    _assert_well(shared, place)


@_params(TOLD)
def test_listing_is_told(
    served: Served, shared: LiveMount, place: Place, case: tuple[Effect, set[int]]
) -> None:
    effect, expected = case
    place.put("folder/a", 10)
    names(place.top)
    fault = served.faults.add(effect, kind=LISTING, path=f"*{place.remote}/folder")
    assert _raises(place.top / "folder", LISTING) in expected
    assert fault.fired
    fault.remove()
    if errno.EACCES in expected:
        return
    assert names(place.top / "folder") == ["a"]
    _assert_well(shared, place)


@_params(TOLD_IN_LISTINGS)
def test_listing_is_told_of_bad_bodies(served: Served, shared: LiveMount, place: Place, case: Effect) -> None:
    place.put("folder/a", 10)
    names(place.top)
    fault = served.faults.add(case, kind=LISTING, path=f"*{place.remote}/folder")
    assert _raises(place.top / "folder", LISTING) == errno.EIO
    assert fault.fired
    fault.remove()
    assert names(place.top / "folder") == ["a"]
    _assert_well(shared, place)


def test_a_listing_that_never_ends_ends(served: Served, shared: LiveMount, place: Place) -> None:
    """Each page has a new token and the same names."""
    place.put("folder/a", 10)
    names(place.top)
    fault = served.faults.add(EndlessPages(fresh_tokens=True), kind=LISTING, path=f"*{place.remote}/folder")
    began = time.monotonic()
    try:
        assert names(place.top / "folder") == ["a"]
    except OSError as error:
        assert error.errno == errno.EIO  # noqa: PT017 - either end is right
    assert time.monotonic() - began < PROMISE
    assert fault.fired > 1
    fault.remove()
    _assert_well(shared, place)


# --- the levels above ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "effect",
    [Status(status=503), Status(status=429, retry_after="0"), Reset(), Page()],
    ids=lambda effect: type(effect).__name__,
)
def test_every_level_gets_over_it(workspace: Served, tmp_path: Path, effect: Effect) -> None:
    """A mount for each: what is asked but once is asked at the start."""
    (workspace.volume / "a").write_bytes(b"right")
    kinds = ("scim.me", "uc.catalogs.*", "uc.schemas.*", "uc.volumes.*", LISTING, READING)
    faults = [workspace.faults.add(effect, kind=kind, times=1) for kind in kinds]
    with mounted(workspace, tmp_path) as live:
        assert names(live.path / "main/sales") == ["raw"]
        assert (live.path / "main/sales/raw/a").read_bytes() == b"right"
    assert [fault.fired for fault in faults] == [1] * len(kinds)


# --- the limits of the service ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "is_ours"),
    [
        (ConcurrencyGate(10), True),
        (QpsGate(100), True),
        (ConcurrencyGate(3), False),
        (QpsGate(20, "1"), False),
    ],
)
def test_a_busy_service(
    served: Served, shared: LiveMount, place: Place, gate: ConcurrencyGate | QpsGate, is_ours: bool
) -> None:
    """Its stated limits are never met; narrower ones are waited out."""
    expected = {f"{number:02d}": place.put(f"{number:02d}", 20_000 + number) for number in range(60)}
    fault = served.faults.add(gate, kind=FILES_API_KINDS)
    slowly = served.faults.add(Latency(0.05), kind=FILES_API_KINDS)
    with ThreadPoolExecutor(16) as pool:
        found = dict(
            zip(expected, pool.map(lambda name: (place.top / name).read_bytes(), expected), strict=True)
        )
    assert found == expected
    assert fault.fired >= 60
    assert (gate.refused == 0) is is_ours
    fault.remove()
    slowly.remove()
    _assert_well(shared, place)


def test_an_outage_passes(served: Served, shared: LiveMount, place: Place) -> None:
    expected = place.put("a", SIZE)
    names(place.top)
    served.go_down()
    try:
        assert _raises(place.top / "a", READING) == errno.EHOSTUNREACH
        # It holds for a while, in which nobody waits.
        began = time.monotonic()
        assert _raises(place.top / "a", READING) == errno.EHOSTUNREACH
        assert time.monotonic() - began < 1
        assert names(place.top) == ["a", "folder of the next"]
    finally:
        served.come_back()
    assert wait_for(lambda: _is_right(place.top / "a", expected), RECOVERY)
    _assert_well(shared, place)


def _is_right(path: Path, expected: bytes) -> bool:
    try:
        return path.read_bytes() == expected
    except OSError:
        return False
