"""Names from both untrusted sides, and paths on their way into a URL."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.entry import Kind
from fuse4dbricks.errors import NameTooLong, NoSuchName
from fuse4dbricks.paths import NAME_MAX, ROOT, RemotePath, name_from_kernel, quote_part, why_unusable

VOLUME = RemotePath(("c", "s", "v"))
USABLE = st.text(min_size=1, max_size=60).filter(lambda name: why_unusable(name) is None)


@given(st.binary(max_size=300))
def test_a_name_from_the_kernel_is_decoded_or_refused(raw: bytes) -> None:
    try:
        name = name_from_kernel(raw)
    except (NameTooLong, NoSuchName):
        return
    assert name.encode() == raw
    assert why_unusable(name) is None


@pytest.mark.parametrize("raw", [b"", b".", b"..", b"a/b", b"a\0b", b"\xff", b"\xed\xa0\x80"])
def test_what_cannot_be_a_name_is_no_such_name(raw: bytes) -> None:
    with pytest.raises(NoSuchName):
        name_from_kernel(raw)


def test_the_limit_counts_bytes() -> None:
    assert len(name_from_kernel("é".encode() * 127)) == 127
    with pytest.raises(NameTooLong):
        name_from_kernel("é".encode() * 128)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "\ud800", "é" * 128, None, 7, b"a"])
def test_unusable_names_of_the_server(name: object) -> None:
    assert why_unusable(name)


@pytest.mark.parametrize("name", ["a", "...", " ", "a\nb", "%2e%2e", "\\", "x" * NAME_MAX, "日本"])
def test_usable_names_of_the_server(name: str) -> None:
    assert why_unusable(name) is None


@given(st.lists(USABLE, min_size=3, max_size=6))
def test_each_part_survives_its_way_through_a_url(parts: list[str]) -> None:
    path = RemotePath(tuple(parts)).files_api_path()
    split = urlsplit(f"https://host/api/2.0/fs/files{path}")
    assert (split.query, split.fragment) == ("", "")
    assert [unquote(part) for part in split.path.split("/")[5:]] == ["Volumes", *parts]


def test_what_looks_like_a_query_is_quoted() -> None:
    assert quote_part("c?x=1#y/../%") == "c%3Fx%3D1%23y%2F..%2F%25"


def test_family() -> None:
    child = VOLUME.child("d").child("f")
    assert child == RemotePath(("c", "s", "v", "d", "f"))
    assert hash(child) == hash(RemotePath(("c", "s", "v", "d", "f")))
    assert child.parent.parent == VOLUME == child.volume == VOLUME.volume
    assert (child.name, child.depth, str(child)) == ("f", 5, "/Volumes/c/s/v/d/f")
    assert ROOT.parent == ROOT
    assert ROOT.name == ""
    assert child != VOLUME
    assert VOLUME != ("c", "s", "v")


def test_boundaries() -> None:
    kinds = [RemotePath(VOLUME.parts[:depth]).boundary_kind for depth in range(4)]
    assert kinds == [Kind.ROOT, Kind.CATALOG, Kind.SCHEMA, Kind.VOLUME]
    assert VOLUME.child("x").boundary_kind is None
    assert [VOLUME.parent.in_volume, VOLUME.in_volume] == [False, True]
    assert VOLUME.full_name == "c.s.v"
    with pytest.raises(ValueError, match="not in a volume"):
        _ = VOLUME.parent.volume
