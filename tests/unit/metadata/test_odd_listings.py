"""Listings that no sound server sends, and walks that have to begin anew."""

from __future__ import annotations

import pytest

from fuse4dbricks.cache.freshness import Freshness
from fuse4dbricks.cache.listing import MAX_WALKS, Listing
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import EmptyVolume, NotFound, ProtocolViolation, RequestRejected
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import MODIFIED, VOLUME, Call, HandClock, at, principal_of
from tests.support.metadata import ADA_VIEW, names_of, workspace_of


async def test_an_emptied_volume_is_told_from_a_missing_one_and_proves_nothing() -> None:
    workspace = workspace_of("a")
    async with bench_of(Setting(workspace)) as bench:
        workspace.empty_root()
        with pytest.raises(EmptyVolume):
            await names_of(bench, VOLUME)
        assert not bench.access.get_grant(ADA_VIEW, VOLUME), "Unity Catalog says nothing of reading it"
        with pytest.raises(NotFound):
            await names_of(bench, at("gone"))
        missing = VOLUME.parent.child("missing")
        workspace.readers.add((principal_of("ada").id, missing))
        with pytest.raises(NotFound):
            await names_of(bench, missing)


KNOWN = Freshness(HandClock()).stamp(None, 30)


def file(name: str, size: int = 1) -> Entry:
    return Entry(name, Kind.FILE, Version(size, MODIFIED))


def test_a_name_that_comes_twice_keeps_its_place() -> None:
    listing = Listing(at("d"), KNOWN)
    listing.add_page([file("a"), file("b")], next_token="2")
    listing.add_page([file("a", 2), file("c")], next_token=None)
    assert [(entry.name, entry.size) for entry in listing.entries] == [("a", 2), ("b", 1), ("c", 1)]
    assert listing.is_complete


@pytest.mark.parametrize("is_file_first", [True, False])
def test_of_a_file_and_a_folder_of_one_name_the_file_is_shown(*, is_file_first: bool) -> None:
    both = [file("x"), Entry("x", Kind.DIRECTORY)]
    listing = Listing(at("d"), KNOWN)
    listing.add_page(both if is_file_first else both[::-1], next_token=None)
    assert listing.entries == [file("x")]


def test_a_listing_that_goes_in_circles_is_a_protocol_violation() -> None:
    listing = Listing(at("d"), KNOWN)
    listing.add_page([file("a")], next_token="1")
    listing.add_page([file("b")], next_token="2")
    with pytest.raises(ProtocolViolation):
        listing.add_page([file("c")], next_token="1")


def test_a_listing_that_goes_on_without_a_new_name_is_a_protocol_violation() -> None:
    listing = Listing(at("d"), KNOWN)

    def go_on() -> None:
        for number in range(1000):
            listing.add_page([file("a")], next_token=str(number))

    with pytest.raises(ProtocolViolation):
        go_on()


async def test_a_page_token_that_has_ended_restarts_the_walk_and_positions_stay() -> None:
    workspace = workspace_of("a", "b", "c")
    workspace.page_size = 2
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        workspace.put(at("d", "Z"))
        workspace.fail("listing", RequestRejected("the page token is not good", status=400))
        while not listing.is_complete:
            await bench.metadata.listings.extend(ADA_VIEW, listing)
        assert [entry.name for entry in listing.entries] == ["a", "b", "Z", "c"]


async def test_page_tokens_that_always_end_are_given_up() -> None:
    workspace = workspace_of("a", "b", "c")
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))

        async def reject(call: Call) -> None:
            if listing.next_token is not None:
                raise RequestRejected("ended", status=400)

        workspace.before_reply = reject
        with pytest.raises(RequestRejected):
            await read_pages(bench, listing, MAX_WALKS + 5)


async def read_pages(bench: Bench, listing: Listing, count: int) -> None:
    for _ in range(count):
        await bench.metadata.listings.extend(ADA_VIEW, listing)
