"""Decoded JSON to domain words: right shapes are read, wrong ones refused, bad entries left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import ProtocolViolation
from fuse4dbricks.paths import why_unusable
from fuse4dbricks.tokens import Principal
from fuse4dbricks.workspace import wire

AT = 1_800_000_000.0
MS = 1_721_300_000_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def objects(*keys: str) -> st.SearchStrategy[Any]:
    """Objects that hold some of ``keys`` with any values: near misses, which plain JSON seldom is."""
    return st.dictionaries(st.sampled_from(keys), json_values, max_size=len(keys))


near_listings = st.fixed_dictionaries(
    {},
    optional={
        "contents": st.lists(
            objects("name", "path", "is_directory", "file_size", "last_modified") | json_values, max_size=5
        ),
        "next_page_token": json_values,
    },
)
near_catalogs = st.fixed_dictionaries(
    {},
    optional={
        "catalogs": st.lists(objects("name", "updated_at", "created_at") | json_values, max_size=5),
        "next_page_token": json_values,
    },
)
near_permissions = st.fixed_dictionaries(
    {},
    optional={
        "privilege_assignments": st.lists(objects("privileges", "principal") | json_values, max_size=4),
        "next_page_token": json_values,
    },
)


def file(name: Any = "a", size: Any = 1, modified: Any = MS, **more: Any) -> dict[str, Any]:
    return {"name": name, "is_directory": False, "file_size": size, "last_modified": modified, **more}


def names(listing: wire.Listing) -> list[str]:
    return [entry.name for entry in listing.entries]


def test_a_folder_as_recorded() -> None:
    payload = {
        "contents": [
            {"path": "/Volumes/c/s/v/a.txt", "name": "a.txt", "is_directory": False, "file_size": 12}
            | {"last_modified": MS},
            {"path": "/Volumes/c/s/v/dir/", "name": "dir", "is_directory": True},
        ],
        "next_page_token": "t",
    }
    listing = wire.parse_directory(payload, AT)
    assert listing.entries == (
        Entry("a.txt", Kind.FILE, Version(12, MS // 1000)),
        Entry("dir", Kind.DIRECTORY),
    )
    assert listing.next_token == "t"
    assert listing.rejects == ()


def test_an_empty_folder_is_an_empty_object() -> None:
    assert wire.parse_directory({}, AT) == wire.Listing((), None, ())
    assert wire.parse_directory({"next_page_token": "t"}, AT).next_token == "t"


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_ends_a_listing(token: str | None) -> None:
    assert wire.parse_directory({"contents": [], "next_page_token": token}, AT).next_token is None


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        1,
        {"contents": None},
        {"contents": {}},
        {"contents": "a"},
        {"error_code": "NOT_FOUND", "message": "…"},
        {"message": "welcome to the proxy"},
        {"contents": [], "next_page_token": 7},
        {"contents": [], "next_page_token": ["t"]},
        {"contents": [], "next_page_token": "\ud800"},
        {"contents": [], "next_page_token": "x" * (wire.MAX_PAGE_TOKEN + 1)},
    ],
)
def test_a_wrong_shape_is_never_an_empty_folder(payload: Any) -> None:
    with pytest.raises(ProtocolViolation):
        wire.parse_directory(payload, AT)


@pytest.mark.parametrize(
    "bad",
    [
        file(name="."),
        file(name=".."),
        file(name=""),
        file(name="a/b"),
        file(name="a\0b"),
        file(name="\ud800"),
        file(name="x" * 256),
        file(name=None),
        file(name=7),
        file(size=-1),
        file(size=2**63),
        file(size=True),
        file(size="12"),
        file(size=1.5),
        file(modified=-1),
        file(modified=True),
        file(modified="today"),
        file(modified=2**80),
        file(modified=float("nan")),
        file(modified=float("inf")),
        {"name": "a", "is_directory": "no"},
        {"is_directory": False},
        "a",
        None,
    ],
)
def test_one_bad_entry_does_not_take_the_folder_down(bad: Any) -> None:
    listing = wire.parse_directory({"contents": [file("before"), bad, file("after")]}, AT)
    assert names(listing) == ["before", "after"]
    assert len(listing.rejects) == 1


@pytest.mark.parametrize("missing", ["file_size", "last_modified"])
def test_a_file_without_size_or_time_still_needs_a_head(missing: str) -> None:
    item = file("a")
    del item[missing]
    assert wire.parse_directory({"contents": [item]}, AT).entries == (Entry("a", Kind.FILE, None),)


def test_is_directory_may_be_absent_when_false() -> None:
    item = file("a")
    del item["is_directory"]
    assert wire.parse_directory({"contents": [item]}, AT).entries[0].kind is Kind.FILE


def test_milliseconds_become_whole_seconds() -> None:
    item = file("a", modified=MS + 999)
    entry = wire.parse_directory({"contents": [item]}, AT).entries[0]
    assert entry.version is not None
    assert entry.version.last_modified == MS // 1000


def test_a_file_seen_right_after_its_change_is_unsettled() -> None:
    seen = MS / 1000 + 1
    entry = wire.parse_directory({"contents": [file("a")]}, seen).entries[0]
    assert entry.version is not None
    assert entry.version.unsettled_at == int(seen)


@pytest.mark.parametrize("order", [1, -1])
def test_where_a_file_and_a_folder_share_a_name_the_file_wins(order: int) -> None:
    twins = [file("a", size=5), {"name": "a", "is_directory": True}][::order]
    listing = wire.parse_directory({"contents": [*twins, file("b")]}, AT)
    assert sorted(names(listing)) == ["a", "b"]
    assert {entry.name: entry.kind for entry in listing.entries}["a"] is Kind.FILE


def test_of_two_files_of_one_name_the_first_stays() -> None:
    listing = wire.parse_directory({"contents": [file("a", size=1), file("a", size=2)]}, AT)
    assert [entry.size for entry in listing.entries] == [1]


def test_names_that_differ_in_case_or_normal_form_are_two() -> None:
    twins = ["a", "A", "\u00e9", "e\u0301"]
    assert names(wire.parse_directory({"contents": [file(name) for name in twins]}, AT)) == twins


def test_the_servers_path_is_never_read() -> None:
    item = file("a", path="/Volumes/other/secret/v/b")
    assert names(wire.parse_directory({"contents": [item]}, AT)) == ["a"]


def test_securables() -> None:
    payload = {
        "volumes": [
            {"name": "v", "created_at": 1000, "updated_at": 5000},
            {"name": "w", "created_at": 1000},
            {"name": "x"},
            {"name": "y", "created_at": "long ago"},
            {"full_name": "no.name.here"},
            {"name": "v"},
        ],
        "next_page_token": "t",
    }
    listing = wire.parse_securables(payload, Kind.VOLUME)
    assert [(entry.name, entry.mtime) for entry in listing.entries] == [
        ("v", 5.0),
        ("w", 1.0),
        ("x", None),
        ("y", None),
    ]
    assert len(listing.rejects) == 1
    assert listing.next_token == "t"


def test_a_page_of_schemas_is_not_a_page_of_volumes() -> None:
    with pytest.raises(ProtocolViolation):
        wire.parse_securables({"schemas": []}, Kind.VOLUME)


def test_a_securable_has_the_servers_spelling() -> None:
    assert wire.parse_securable({"name": "main"}, Kind.CATALOG) == Entry("main", Kind.CATALOG)
    bad: Any
    for bad in ({}, {"name": ".."}, [], None):
        with pytest.raises(ProtocolViolation):
            wire.parse_securable(bad, Kind.CATALOG)


def test_privileges_are_opaque_and_may_be_absent() -> None:
    payload = {
        "privilege_assignments": [
            {"principal": "a", "privileges": [{"privilege": "USE_CATALOG"}, {"privilege": "NEW_ONE"}]},
            {"principal": "b"},
        ],
    }
    assert wire.parse_privileges(payload) == (["USE_CATALOG", "NEW_ONE"], None)
    assert wire.parse_privileges({}) == ([], None)


def test_principals() -> None:
    assert wire.parse_principal({"id": "12", "userName": "a@b"}) == Principal("12", "a@b")
    assert wire.parse_principal({"id": "12"}) == Principal("12", "12")
    bad: Any
    for bad in ({}, {"id": 12}, {"id": ""}, {"id": "x" * 257}, {"id": "a\n"}, {"id": "\ud800"}, []):
        with pytest.raises(ProtocolViolation):
            wire.parse_principal(bad)


def test_download_urls_do_not_show_themselves() -> None:
    payload = {"url": "https://store/x?sig=s3cret", "headers": [{"name": "x-ms-a", "value": "b"}]}
    found = wire.parse_download_url(payload)
    assert found.headers == (("x-ms-a", "b"),)
    assert "s3cret" not in repr(found)
    assert wire.parse_download_url({"url": "https://store/x"}).headers == ()


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"url": 1},
        {"url": ""},
        {"url": "https://a\r\nb"},
        {"url": "https://é"},
        {"url": "https://a", "headers": {}},
        {"url": "https://a", "headers": [{"name": "a b", "value": "c"}]},
        {"url": "https://a", "headers": [{"name": "a", "value": "b\r\nc: d"}]},
        {"url": "https://a", "headers": [{"name": "a"}]},
    ],
)
def test_malformed_download_urls(payload: Any) -> None:
    with pytest.raises(ProtocolViolation):
        wire.parse_download_url(payload)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"{} {}",
        b'{"a": NaN}',
        b"Infinity",
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"[" * 200_000,
        b"9" * 5000,
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        wire.decode_json(body)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_a_violation(body: bytes) -> None:
    only_violation(wire.decode_json, body)


@given(json_values | near_listings)
def test_any_json_is_a_clean_folder_or_a_violation(payload: Any) -> None:
    listing = only_violation(lambda value: wire.parse_directory(value, AT), payload)
    if listing is not None:
        assert all(why_unusable(name) is None for name in names(listing))
        assert len(set(names(listing))) == len(listing.entries)
        for entry in listing.entries:
            assert entry.version is None or 0 <= entry.version.size < 2**63


@given(json_values | near_catalogs)
def test_any_json_is_a_clean_list_of_catalogs_or_a_violation(payload: Any) -> None:
    listing = only_violation(lambda value: wire.parse_securables(value, Kind.CATALOG), payload)
    if listing is not None:
        assert all(why_unusable(name) is None for name in names(listing))


@given(json_values | near_permissions | objects("id", "userName", "name", "url", "headers", "created_at"))
def test_any_json_is_the_rest_or_a_violation(payload: Any) -> None:
    only_violation(wire.parse_privileges, payload)
    only_violation(wire.parse_principal, payload)
    only_violation(wire.parse_download_url, payload)
    only_violation(lambda value: wire.parse_securable(value, Kind.SCHEMA), payload)


def only_violation(parse: Callable[[Any], Any], argument: Any) -> Any:
    """The result of ``parse``; a ProtocolViolation is fine, anything else fails the test."""
    try:
        return parse(argument)
    except ProtocolViolation:
        return None


def test_a_million_digit_number_is_no_size() -> None:
    payload = json.loads('{"contents": [{"name": "a", "file_size": 1e999, "last_modified": 1}]}')
    assert wire.parse_directory(payload, AT).entries == ()
