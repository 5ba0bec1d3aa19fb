"""When two observations are of the same bytes, as far as the service tells."""

from __future__ import annotations

import pytest

from fuse4dbricks.cache.versions import merged
from fuse4dbricks.entry import SETTLE_SECONDS, Entry, Kind, Version

T = 1_700_000_000


def test_an_old_file_has_the_same_version_whenever_it_is_seen() -> None:
    assert Version.observed(5, T, None, T + 100) == Version.observed(5, T, None, T + 200.5) == Version(5, T)


def test_a_file_seen_too_soon_is_only_equal_to_itself() -> None:
    soon = Version.observed(5, T, None, T + SETTLE_SECONDS - 0.1)
    assert soon.unsettled_at == T + 1
    assert soon != Version.observed(5, T, None, T + 100)
    assert soon != Version.observed(5, T, None, T + 0.5)


def test_the_edge_of_settling() -> None:
    assert Version.observed(5, T, None, T + SETTLE_SECONDS).unsettled_at == 0


def test_a_time_from_the_future_is_unsettled() -> None:
    assert Version.observed(5, T + 3600, None, T).unsettled_at == T


def test_without_a_time_nothing_is_settled_and_with_an_etag_everything_is() -> None:
    assert Version.observed(5, None, None, T + 1e6).unsettled_at == T + 1_000_000
    assert Version.observed(5, T, '"e"', T).unsettled_at == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Version(5, T), Version(5, T), True),
        (Version(5, T, None, T), Version(5, T), True),
        (Version(5, T), Version(6, T), False),
        (Version(5, T), Version(5, T + 1), False),
        (Version(5, T, '"a"'), Version(5, T, '"b"'), False),
        (Version(5, T, '"a"'), Version(5, T + 1, '"a"'), True),
        (Version(5, T, '"a"'), Version(5, T), True),
        (Version(5, T, '"a"'), Version(5, T + 1), False),
        (Version(5, None), Version(5, T), True),
    ],
)
def test_same_bytes(one: Version, other: Version, *, same: bool) -> None:
    assert one.same_bytes_as(other) is same
    assert other.same_bytes_as(one) is same


def file(version: Version | None) -> Entry:
    return Entry("f", Kind.FILE, version)


def test_a_listing_does_not_take_an_etag_away() -> None:
    tagged = file(Version(5, T, '"a"'))
    assert merged(tagged, file(Version(5, T))) == tagged


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, file(Version(5, T))),
        (Entry("f", Kind.DIRECTORY), file(Version(5, T))),
        (file(None), file(Version(5, T))),
        (file(Version(5, T, '"a"')), file(Version(5, T, '"b"'))),
        (file(Version(5, T)), file(Version(5, T + 1))),
        (file(Version(5, T, None, T)), file(Version(5, T))),
        (file(Version(5, T)), file(Version(5, T, None, T + 1))),
        (file(Version(5, None, '"a"')), file(Version(5, None))),
    ],
)
def test_what_may_have_changed_is_new(old: Entry | None, new: Entry) -> None:
    assert merged(old, new) is new


def test_kinds() -> None:
    assert [kind for kind in Kind if not kind.is_directory] == [Kind.FILE]
    assert [kind for kind in Kind if kind.is_boundary] == [Kind.ROOT, Kind.CATALOG, Kind.SCHEMA, Kind.VOLUME]
    assert (file(Version(7, T)).size, Entry("d", Kind.DIRECTORY).size) == (7, 0)
