"""Every header of a range reply that can contradict the request is compared with it."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import ProtocolViolation, VersionChanged
from fuse4dbricks.workspace.ranges import check_range_reply, observed_version
from tests.support.scripted import MODIFIED, NOW, http_date

SIZE = 1000
VERSION = Version(SIZE, MODIFIED)
RIGHT = {
    "content-range": "bytes 100-199/1000",
    "content-length": "100",
    "last-modified": http_date(MODIFIED),
    "content-type": "application/octet-stream",
}
WHOLE = {"content-length": "1000", "last-modified": http_date(MODIFIED)}


def check(
    changes: dict[str, str | None],
    status: int = 206,
    version: Version = VERSION,
    start: int = 100,
    stop: int = 200,
    base: dict[str, str] = RIGHT,
) -> Version:
    present = {name: value for name, value in (base | changes).items() if value is not None}
    headers = httpx.Headers([(name.encode(), value.encode()) for name, value in present.items()])
    return check_range_reply(status, headers, start=start, stop=stop, version=version)


def test_the_right_reply() -> None:
    assert check({}) == VERSION
    assert check({"content-length": None}) == VERSION
    assert check({"content-encoding": "identity"}) == VERSION
    assert check({"content-type": "text/html"}) == VERSION


@pytest.mark.parametrize(
    "changes",
    [
        {"content-range": None},
        {"content-range": "bytes 100-199/*"},
        {"content-range": "bytes */1000"},
        {"content-range": "bytes=100-199/1000"},
        {"content-range": "bytes 100-199/1000, bytes 300-399/1000"},
        {"content-range": "bytes 100-198/1000", "content-length": "99"},
        {"content-range": "bytes 99-199/1000", "content-length": "101"},
        {"content-range": "bytes 101-200/1000"},
        {"content-range": "bytes 100-200/1000", "content-length": "101"},
        {"content-range": "bytes 0-999/1000", "content-length": "1000"},
        {"content-range": "bytes 199-100/1000"},
        {"content-range": "bytes ٣-199/1000"},
        {"content-length": "99"},
        {"content-length": "101"},
        {"content-length": "-1"},
        {"content-length": "hundred"},
        {"content-encoding": "gzip"},
        {"content-encoding": "br"},
        {"content-type": "multipart/byteranges; boundary=x"},
        {"last-modified": None},
        {"last-modified": "yesterday"},
    ],
)
def test_each_contradiction_is_a_violation(changes: dict[str, str | None]) -> None:
    with pytest.raises(ProtocolViolation):
        check(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"last-modified": http_date(MODIFIED + 1)},
        {"last-modified": http_date(MODIFIED - 1)},
        {"content-range": "bytes 100-199/999"},
        {"content-range": "bytes 100-199/1001"},
        # Shrunk below what was asked for: the range is clipped because the file is another one.
        {"content-range": "bytes 100-149/150", "content-length": "50"},
    ],
)
def test_another_version_is_not_a_violation(changes: dict[str, str | None]) -> None:
    with pytest.raises(VersionChanged):
        check(changes)


def test_etags_decide_where_both_sides_have_one() -> None:
    tagged = Version(SIZE, MODIFIED, '"a"')
    assert check({"etag": '"a"'}, version=tagged) == tagged
    assert check({"etag": '"a"', "last-modified": None}, version=tagged) == tagged
    with pytest.raises(VersionChanged):
        check({"etag": '"b"'}, version=tagged)
    # A listing never carries one; from then on the stream holds to the one it saw first.
    assert check({"etag": '"a"'}) == tagged
    assert check({}, version=tagged) == tagged


def test_unsettled_versions_stay_what_they_are() -> None:
    unsettled = Version(SIZE, MODIFIED, None, MODIFIED + 1)
    assert check({}, version=unsettled) == unsettled


def test_a_version_without_a_time_takes_what_there_is() -> None:
    assert check({}, version=Version(SIZE, None)) == Version(SIZE, None)
    assert check({"last-modified": None}, version=Version(SIZE, None)) == Version(SIZE, None)


def test_a_200_is_accepted_for_the_whole_file_of_the_right_version_only() -> None:
    assert check({}, 200, start=0, stop=SIZE, base=WHOLE) == VERSION
    with pytest.raises(ProtocolViolation):
        check({}, 200, start=0, stop=SIZE - 1, base=WHOLE)
    with pytest.raises(ProtocolViolation):
        check({}, 200, start=100, stop=200, base=WHOLE)
    with pytest.raises(ProtocolViolation):
        check({"content-length": None}, 200, start=0, stop=SIZE, base=WHOLE)
    with pytest.raises(ProtocolViolation):
        check({"last-modified": None}, 200, start=0, stop=SIZE, base=WHOLE)
    with pytest.raises(ProtocolViolation):
        check({}, 200, Version(SIZE, None), start=0, stop=SIZE, base=WHOLE)
    with pytest.raises(ProtocolViolation):
        check({"content-length": "4000"}, 200, start=0, stop=SIZE, base=WHOLE)
    with pytest.raises(VersionChanged):
        check({"last-modified": http_date(MODIFIED + 1)}, 200, start=0, stop=SIZE, base=WHOLE)


def test_a_login_page_with_status_200_is_a_violation() -> None:
    page = {"content-type": "text/html", "content-length": "1000"}
    with pytest.raises(ProtocolViolation):
        check({}, 200, start=0, stop=SIZE, base=page)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(st.characters(codec="latin-1"), max_size=30)
            | st.sampled_from(["0", "100", "bytes 0-1/2", "bytes 100-199/1000"])
            for name in RIGHT
        },
    ),
    st.sampled_from([200, 206]),
)
def test_any_headers_are_right_or_one_of_two_errors(changes: dict[str, str | None], status: int) -> None:
    try:
        check(changes, status)
    except (ProtocolViolation, VersionChanged):
        return
    assert (RIGHT | changes)["content-range"] == RIGHT["content-range"]


def test_a_head_tells_size_time_and_etag() -> None:
    headers = httpx.Headers(WHOLE | {"etag": '"a"'})
    assert observed_version(headers, NOW) == Version(SIZE, MODIFIED, '"a"')
    assert observed_version(httpx.Headers({"content-length": "0"}), NOW) == Version(0, None, None, int(NOW))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-length": "x"},
        {"content-length": "-1"},
        {"content-length": str(2**63)},
        {"content-length": "1" * 30},
        {"content-length": "1", "content-encoding": "gzip"},
        {"content-length": "1", "last-modified": "then"},
    ],
)
def test_a_head_that_does_not_tell(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolViolation):
        observed_version(httpx.Headers(headers), NOW)
