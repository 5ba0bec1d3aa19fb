import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from tests.support.labels import PATH, VERSION, label


@pytest.mark.parametrize(
    "other",
    [
        label(1),
        label(chunk_size=2000),
        label(workspace="adb-2.azuredatabricks.net"),
        label(path=PATH.parent.child("other.csv")),
        label(path=RemotePath(("main", "sales", "raw/2024 über.csv"))),
        label(version=dataclasses.replace(VERSION, size=2501)),
        label(version=dataclasses.replace(VERSION, last_modified=1_700_000_001)),
        label(version=dataclasses.replace(VERSION, last_modified=None)),
        label(version=dataclasses.replace(VERSION, etag="")),
        label(version=dataclasses.replace(VERSION, etag="-")),
        label(version=dataclasses.replace(VERSION, unsettled_at=1_700_000_001)),
    ],
)
def test_everything_that_tells_chunks_apart_is_in_the_name(other: object) -> None:
    assert hasattr(other, "name")
    assert other.name() != label().name()


def test_the_owner_is_not_part_of_the_identity() -> None:
    assert label(owner="7").name() == label().name()
    assert label(owner="7").identity == label().identity


_parts = st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), max_size=4)


@settings(deadline=None)  # the machine may be busy
@given(_parts, _parts, st.none() | st.text(max_size=3), st.none() | st.text(max_size=3))
def test_names_are_equal_only_for_equal_chunks(
    one: list[str], two: list[str], etag: str | None, other_etag: str | None
) -> None:
    first = label(path=RemotePath(tuple(one)), version=Version(1, 2, etag and etag.replace("\0", "")))
    second = label(
        path=RemotePath(tuple(two)), version=Version(1, 2, other_etag and other_etag.replace("\0", ""))
    )
    assert (first.name() == second.name()) == (first.identity == second.identity)


def test_length_is_what_the_file_leaves() -> None:
    assert [label(index).length for index in range(4)] == [1000, 1000, 500, 0]
