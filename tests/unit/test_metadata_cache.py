"""What the metadata cache asks, what it remembers, and for whom."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.freshness import Freshness, Ttls
from fuse4dbricks.cache.listing import MAX_WALKS, Listing
from fuse4dbricks.cache.shelf import PAGE_ENTRIES
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import (
    InvalidToken,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    RequestRejected,
    Unreachable,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token, Viewer
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import (
    ADA,
    BOB,
    MODIFIED,
    VOLUME,
    Call,
    FakeWorkspace,
    HandClock,
    at,
    principal_of,
    token_of,
    workspace_with,
)

TTLS = Ttls()
MAIN = RemotePath(("main",))


def viewer_of(name: str, uid: int = ADA) -> Viewer:
    return Viewer(uid, principal_of(name), token_of(name))


ADA_VIEW, BOB_VIEW = viewer_of("ada"), viewer_of("bob", BOB)


def workspace_of(*names: str, people: tuple[str, ...] = ("ada", "bob")) -> FakeWorkspace:
    workspace = workspace_with(*people)
    for name in names:
        workspace.put(at("d", name))
    return workspace


async def entry_of(bench: Bench, path: RemotePath, viewer: Viewer = ADA_VIEW) -> Entry:
    known = await bench.metadata.resolve_entry(viewer, path)
    assert known.entry is not None
    return known.entry


async def is_absent(bench: Bench, path: RemotePath, viewer: Viewer = ADA_VIEW) -> bool:
    try:
        await bench.metadata.resolve_entry(viewer, path)
    except NotFound:
        return True
    return False


async def names_of(bench: Bench, path: RemotePath, viewer: Viewer = ADA_VIEW) -> list[str]:
    listing = await bench.metadata.listings.open(viewer, path)
    while not listing.is_complete:
        await bench.metadata.listings.extend(viewer, listing)
    return [entry.name for entry in listing.entries]


# --- few calls -----------------------------------------------------------------------------------


async def test_a_name_in_an_unknown_folder_costs_one_listing_and_its_siblings_nothing() -> None:
    async with bench_of(Setting(workspace_of("a", "b", "c"))) as bench:
        for name in ("a", "b", "c", "a"):
            assert (await entry_of(bench, at("d", name))).version == Version(5, MODIFIED)
        assert [call.kind for call in bench.workspace.calls] == ["listing"]
        assert bench.metrics.get("metadata.hits", layer="ram") == 3


async def test_concurrent_lookups_share_one_call() -> None:
    async with bench_of(Setting(workspace_of("a", "b"))) as bench:
        async with trio.open_nursery() as nursery:
            for name in ("a", "b") * 10:
                nursery.start_soon(bench.metadata.resolve_entry, ADA_VIEW, at("d", name))
        assert bench.workspace.count() == 1


async def test_a_missing_name_costs_one_call_and_is_then_believed_for_the_negative_ttl() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        for _ in range(3):
            assert await is_absent(bench, at("d", "none"))
        assert await is_absent(bench, at("d", "nor this")), "the same listing says so"
        assert bench.workspace.count() == 1
        bench.clock.step(TTLS.negative)
        bench.workspace.put(at("d", "none"))
        assert not await is_absent(bench, at("d", "none"))
        assert bench.workspace.count() == 2


async def test_a_listing_says_what_is_there_for_longer_than_what_is_not() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.negative + 1)
        bench.workspace.put(at("d", "new"))
        await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 1
        await entry_of(bench, at("d", "new"))
        assert bench.workspace.count() == 2


async def test_a_restarted_mount_believes_no_absence_for_longer_either() -> None:
    setting = Setting(workspace_of("a"), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.clock.step(TTLS.negative + 1)
    setting.workspace.put(at("d", "new"))
    async with bench_of(setting) as bench:
        assert not await is_absent(bench, at("d", "new"))


async def test_in_a_folder_of_many_pages_a_name_is_asked_for_alone() -> None:
    workspace = workspace_of(*(f"f{number}" for number in range(5)))
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        await entry_of(bench, at("d", "f4"))
        assert [call.kind for call in workspace.calls] == ["listing", "head"]
        await entry_of(bench, at("d", "f3"))
        assert [call.kind for call in workspace.calls] == ["listing", "head", "head"]
        await entry_of(bench, at("d", "f0"))
        assert workspace.count() == 3, "it was on the page that was read"
        assert await is_absent(bench, at("d", "none"))
        assert workspace.count("head") == 4, "neither a file nor a folder"


async def test_a_folder_in_a_folder_of_many_pages_is_asked_for_as_what_it_was() -> None:
    workspace = workspace_of("f0", "f1", "f2")
    workspace.make_folder(at("d", "z"))
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        assert (await entry_of(bench, at("d", "z"))).kind is Kind.DIRECTORY
        assert workspace.count("head") == 2
        bench.clock.step(TTLS.inner)
        assert (await entry_of(bench, at("d", "z"))).kind is Kind.DIRECTORY
        assert workspace.count("head") <= 3


async def test_what_is_stale_costs_one_call() -> None:
    async with bench_of(Setting(workspace_of("a", "b"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner - 0.1)
        await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 1
        bench.clock.step(0.1)
        bench.workspace.put(at("d", "a"), size=9)
        assert (await entry_of(bench, at("d", "a"))).size == 9
        await entry_of(bench, at("d", "b"))
        assert bench.workspace.count() == 2


async def test_a_listing_of_n_names_costs_its_pages_and_no_head() -> None:
    workspace = workspace_of(*(f"f{number:04}" for number in range(2500)))
    async with bench_of(Setting(workspace)) as bench:
        assert len(await names_of(bench, at("d"))) == 2500
        assert [call.kind for call in workspace.calls] == ["listing"] * 3


async def test_a_name_that_no_securable_has_is_not_asked_for() -> None:
    async with bench_of(Setting(workspace_of())) as bench:
        for name in (".git", "a b", "x\n", "autorun.inf"):
            assert await is_absent(bench, MAIN.parent.child(name))
        assert bench.workspace.count() == 0


async def test_a_file_listed_without_size_or_time_gets_a_head() -> None:
    workspace = workspace_of("a")
    workspace.unsized.add(at("d", "a"))
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        assert (await entry_of(bench, at("d", "a"))).version == Version(5, MODIFIED)
        assert [call.kind for call in workspace.calls] == ["listing", "head"]
        await entry_of(bench, at("d", "a"))
        assert workspace.count() == 2


async def test_a_folder_that_is_gone_is_remembered_as_absent() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        for _ in range(3):
            assert await is_absent(bench, at("gone", "f"))
        assert bench.workspace.count() == 1


async def test_a_clock_that_goes_back_makes_no_storm_of_calls() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner)
        bench.clock.wall_at -= 3600
        for _ in range(10):
            await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 2


# --- whose truth ---------------------------------------------------------------------------------


async def test_catalogs_schemas_and_volumes_are_per_principal() -> None:
    workspace = workspace_of()
    workspace.revoke("bob")
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        for path in (MAIN, VOLUME.parent, VOLUME):
            await entry_of(bench, path)
            assert bench.metadata.load_entry(BOB_VIEW, path) is None
            with pytest.raises(PermissionDenied):
                await bench.metadata.resolve_entry(BOB_VIEW, path)
        assert await names_of(bench, MAIN.parent) == ["main"]
        assert await names_of(bench, MAIN.parent, BOB_VIEW) == []
        assert not bench.metadata.listings.has_seen(BOB_VIEW, MAIN)


async def test_inside_a_volume_one_truth_is_shared() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        await entry_of(bench, at("d", "a"), BOB_VIEW)
        assert bench.workspace.count() == 1


async def test_that_a_name_is_absent_is_per_principal() -> None:
    workspace = workspace_of("f0", "f1", "f2")
    workspace.page_size = 2
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        assert await is_absent(bench, at("d", "later"))
        workspace.put(at("d", "later"))
        assert not await is_absent(bench, at("d", "later"), BOB_VIEW)


async def test_another_spelling_of_a_securable_leads_to_its_own_name() -> None:
    async with bench_of(Setting(workspace_of())) as bench:
        for _ in range(2):
            assert (await entry_of(bench, RemotePath(("MAIN",)))).name == "main"
            assert (await entry_of(bench, MAIN)).name == "main"
        assert bench.workspace.count() == 1
        bench.clock.step(TTLS.boundary - 1)
        await entry_of(bench, MAIN)
        assert bench.workspace.count() == 1, "boundaries are believed for longer"


async def test_nobody_fails_because_somebody_elses_token_did() -> None:
    """Two tokens of one principal, the first of which turns out bad under the call that both wait for."""
    workspace = workspace_of("a")
    good = Viewer(BOB, principal_of("ada"), Token("second"))
    workspace.people[Token("second")] = principal_of("ada")
    del workspace.people[token_of("ada")]
    async with bench_of(Setting(workspace)) as bench, trio.open_nursery() as nursery:

        async def be_refused() -> None:
            with pytest.raises(InvalidToken):
                await bench.metadata.resolve_entry(ADA_VIEW, at("d", "a"))

        nursery.start_soon(be_refused)
        nursery.start_soon(entry_of, bench, at("d", "a"), good)


async def test_a_page_that_somebody_else_was_refused_is_asked_for_again() -> None:
    workspace = workspace_of("a", "b", "c")
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        workspace.revoke("bob")

        async def be_refused() -> None:
            with pytest.raises(PermissionDenied):
                await bench.metadata.listings.extend(BOB_VIEW, listing)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_refused)
            await wait_until_asked(workspace, 2)
            nursery.start_soon(bench.metadata.listings.extend, ADA_VIEW, listing)
        assert listing.is_complete
        assert len(listing) == 3


async def wait_until_asked(workspace: FakeWorkspace, count: int) -> None:
    while workspace.count() < count:
        await trio.lowlevel.checkpoint()


# --- changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_lagging", [False, True], ids=["committed", "index-lags"])
async def test_what_was_marked_stale_is_asked_for_alone(*, is_lagging: bool) -> None:
    tree = FakeTree()
    async with bench_of(Setting(workspace_of("a", "b"), tree=tree)) as bench:
        old = await entry_of(bench, at("d", "a"))
        tree.is_lagging = is_lagging
        bench.workspace.put(at("d", "a"), size=9)
        bench.metadata.mark_stale(at("d", "a"), old.version)
        assert bench.metadata.get_entry(ADA_VIEW, at("d", "a")) is None
        assert (await entry_of(bench, at("d", "a"))).size == 9
        assert (await entry_of(bench, at("d", "b"))).size == 5
        assert [call.kind for call in bench.workspace.calls] == ["listing", "head"]


async def test_a_handle_on_an_old_version_does_not_mark_the_new_one() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        for _ in range(5):
            bench.metadata.mark_stale(at("d", "a"), Version(4, MODIFIED - 1))
            await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 1


async def test_what_was_marked_stale_is_known_after_a_new_listing() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        old = await entry_of(bench, at("d", "a"))
        bench.metadata.mark_stale(at("d", "a"), old.version)
        bench.clock.step(TTLS.inner)
        await names_of(bench, at("d"))
        await entry_of(bench, at("d", "a"))
        assert [call.kind for call in bench.workspace.calls] == ["listing", "listing"]


async def test_marking_what_is_not_known_is_nothing() -> None:
    async with bench_of(Setting(workspace_of("a"), tree=FakeTree())) as bench:
        bench.metadata.mark_stale(at("d", "a"))
        await entry_of(bench, at("d", "a"))


async def test_the_newer_of_a_listing_and_a_single_answer_counts() -> None:
    workspace = workspace_of("f0", "f1", "f2")
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        assert (await entry_of(bench, at("d", "f2"))).size == 5
        bench.clock.step(1)
        workspace.page_size = 1000
        workspace.put(at("d", "f2"), size=7)
        await bench.metadata.listings.refetch(ADA_VIEW, at("d"))
        assert (await entry_of(bench, at("d", "f2"))).size == 7, "listed after the HEAD"
        bench.clock.step(1)
        workspace.remove(at("d", "f2"))
        await bench.metadata.listings.refetch(ADA_VIEW, at("d"))
        assert await is_absent(bench, at("d", "f2"))


async def test_an_etag_of_a_head_outlives_a_listing_without() -> None:
    workspace = workspace_of("f0", "f1")
    workspace.put(at("d", "f2"), etag='"e"')
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        tagged = await entry_of(bench, at("d", "f2"))
        bench.clock.step(TTLS.inner)
        workspace.put(at("d", "f2"))
        assert await names_of(bench, at("d")) == ["f0", "f1", "f2"]
        assert (await entry_of(bench, at("d", "f2"))).version == tagged.version


# --- outages -------------------------------------------------------------------------------------


async def test_an_outage_serves_what_is_known_and_reports_what_is_not() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await names_of(bench, at("d"))
        bench.clock.step(TTLS.boundary)
        bench.workspace.down = Unreachable("no route")
        known = await bench.metadata.resolve_entry(ADA_VIEW, at("d", "a"))
        assert known.entry is not None
        assert 0 < bench.metadata.freshness_left(known) <= 5
        assert await names_of(bench, at("d")) == ["a"]
        assert bench.workspace.count() == 2, "one of them noticed"
        with pytest.raises(Unreachable):
            await names_of(bench, at("other"))


async def test_an_outage_never_says_that_there_is_no_such_file() -> None:
    async with bench_of(Setting(workspace_of("a"), tree=FakeTree())) as bench:
        assert await is_absent(bench, at("d", "none"))
        bench.workspace.down = Unreachable("no route")
        bench.clock.step(TTLS.negative)
        with pytest.raises(Unreachable):
            await bench.metadata.resolve_entry(ADA_VIEW, at("d", "none"))


async def test_a_refusal_is_no_outage() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner)
        bench.workspace.revoke("ada")
        with pytest.raises(PermissionDenied):
            await bench.metadata.resolve_entry(ADA_VIEW, at("d", "a"))


async def test_after_the_outage_all_is_asked_again() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner)
        bench.workspace.down = Unreachable("no route")
        await entry_of(bench, at("d", "a"))
        bench.workspace.down = None
        bench.workspace.put(at("d", "a"), size=9)
        bench.clock.step(5)
        assert (await entry_of(bench, at("d", "a"))).size == 9


# --- the index -----------------------------------------------------------------------------------


async def test_a_restarted_mount_answers_from_the_index() -> None:
    setting = Setting(workspace_of("a", "b"), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
        await names_of(bench, MAIN)
    setting.workspace.calls.clear()
    async with bench_of(setting) as bench:
        assert await names_of(bench, at("d")) == ["a", "b"]
        assert await names_of(bench, MAIN) == ["default"]
        await entry_of(bench, at("d", "a"))
    async with bench_of(setting) as bench:
        await entry_of(bench, at("d", "b"))
        assert bench.metrics.get("metadata.hits", layer="index") == 1
    assert setting.workspace.count() == 0


async def test_what_is_stored_under_a_longer_ttl_is_believed_for_the_present_one() -> None:
    setting = Setting(workspace_of("a"), tree=FakeTree(), ttls=Ttls(inner=3600))
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.ttls = Ttls(inner=10)
    setting.clock.step(20)
    setting.workspace.calls.clear()
    async with bench_of(setting) as bench:
        await entry_of(bench, at("d", "a"))
        await names_of(bench, at("d"))
    assert setting.workspace.count() == 1


async def test_what_was_stored_in_the_future_is_stale() -> None:
    setting = Setting(workspace_of("a"), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.clock.wall_at -= 3600
    async with bench_of(setting) as bench:
        await entry_of(bench, at("d", "a"))
    assert setting.workspace.count() == 2


async def test_a_long_folder_is_read_back_in_pages_and_known_to_be_long() -> None:
    names = [f"f{number:05}" for number in range(PAGE_ENTRIES + 10)]
    setting = Setting(workspace_of(*names), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.workspace.calls.clear()
    async with bench_of(setting) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        assert len(listing) == PAGE_ENTRIES
        assert await names_of(bench, at("d")) == names
        assert await is_absent(bench, at("d", "none"))
        assert setting.workspace.count("listing") == 0, "the whole listing says so"


async def test_an_index_that_is_busy_half_way_ends_no_listing() -> None:
    names = [f"f{number:05}" for number in range(PAGE_ENTRIES + 10)]
    tree = FakeTree()
    setting = Setting(workspace_of(*names), tree=tree)
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    async with bench_of(setting) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        tree.is_busy = True
        while not listing.is_complete:
            await bench.metadata.listings.extend(ADA_VIEW, listing)
        assert [entry.name for entry in listing.entries] == names
    tree.is_busy = False
    async with bench_of(setting) as bench:
        assert await names_of(bench, at("d")) == names, "the index lost nothing by it"


async def test_a_stored_listing_that_lost_a_row_is_not_taken_for_a_shorter_one() -> None:
    names = [f"f{number:05}" for number in range(PAGE_ENTRIES + 10)]
    tree = FakeTree()
    setting = Setting(workspace_of(*names), tree=tree)
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    for lost in (names[3], names[-3]):
        tree.lose(at("d", lost))
        async with bench_of(setting) as bench:
            assert sorted(await names_of(bench, at("d"))) == names, "what was read keeps its place"


async def test_an_index_that_is_busy_at_once_is_a_miss() -> None:
    tree = FakeTree()
    setting = Setting(workspace_of("a"), tree=tree)
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    tree.is_busy = True
    async with bench_of(setting) as bench:
        assert await names_of(bench, at("d")) == ["a"]
        bench.clock.step(TTLS.inner)
        setting.workspace.down = Unreachable("no route")
        assert await names_of(bench, at("d")) == ["a"]


# --- odd listings --------------------------------------------------------------------------------


async def test_the_root_of_an_emptied_volume_is_empty_and_a_missing_one_is_missing() -> None:
    workspace = workspace_of("a")
    async with bench_of(Setting(workspace)) as bench:
        workspace.empty_root()
        assert await names_of(bench, VOLUME) == []
        assert bench.access.get_grant(ADA_VIEW, VOLUME), "Unity Catalog knows the volume, and nobody said no"
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


# --- bounds --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=40))
def test_ram_is_bounded_in_entries_and_every_answer_right(steps: list[tuple[int, int]]) -> None:
    limit = 40

    async def main() -> None:
        workspace = workspace_with("ada")
        workspace.page_size = 10
        for folder in range(10):
            for number in range(folder * 3):
                workspace.put(at(f"d{folder}", f"f{number:02}"), size=folder)
        async with bench_of(Setting(workspace, max_entries=limit)) as bench:
            for folder, number in steps:
                path = at(f"d{folder}", f"f{number:02}")
                assert await is_absent(bench, path) is (number >= folder * 3)
                assert bench.metadata.entries_in_ram <= limit
                if number % 7 == 0 and folder:
                    assert len(await names_of(bench, at(f"d{folder}"))) == folder * 3
                    assert bench.metadata.entries_in_ram <= limit

    trio.run(main)


async def test_a_listing_larger_than_ram_is_still_read_whole() -> None:
    names = [f"f{number:03}" for number in range(100)]
    workspace = workspace_of(*names)
    workspace.page_size = 10
    async with bench_of(Setting(workspace, max_entries=30)) as bench:
        assert await names_of(bench, at("d")) == names
        assert bench.metadata.entries_in_ram <= 30


async def test_reading_ahead_is_one_flight_and_its_failure_harms_nobody() -> None:
    workspace = workspace_of("a", "b", "c")
    workspace.page_size = 1
    async with bench_of(Setting(workspace)) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        workspace.fail("listing", Unreachable("no route"))
        bench.metadata.listings.extend_ahead(ADA_VIEW, listing)
        await wait_all_tasks_blocked()
        assert bench.metrics.get("tasks.failed") == 0
        bench.clock.step(5)
        for _ in range(3):
            bench.metadata.listings.extend_ahead(ADA_VIEW, listing)
        await bench.metadata.listings.extend(ADA_VIEW, listing)
        assert listing.pages == 2
