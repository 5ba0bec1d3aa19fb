"""The tree as last seen: who sees what, and when a listing is complete."""

from pathlib import Path

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.index import Index, StoredEntry, StoredListing
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.indexes import (
    FILE,
    FOLDER,
    VOLUME,
    HandClock,
    checked,
    file_entry,
    folder_entry,
    names_in,
    opened,
    post_walk,
)


def see(index: Index, path: RemotePath, entry: Entry, principal: str | None = None) -> None:
    index.tree.post_entry(path, principal, entry, fetched_at=100.0, expires_at=130.0)


async def test_an_entry_comes_back_as_it_was_seen(tmp_path: Path) -> None:
    entries = [
        Entry("a.csv", Kind.FILE, Version(7, 1_700_000_000, '"etag"', 1_700_000_001)),
        Entry("no time", Kind.FILE, Version(2**62, None)),
        Entry("not known yet", Kind.FILE),
        Entry("'; DROP TABLE dentry; --", Kind.FILE, Version(0, 0)),
        Entry("\U0001f600\x01\n%?*[", Kind.DIRECTORY),
    ]
    async with opened(tmp_path) as index:
        for entry in entries:
            see(index, FOLDER.child(entry.name), entry)
        await index.flush()
        for entry in entries:
            stored = index.tree.load_entry(FOLDER.child(entry.name), None)
            assert stored == StoredEntry(entry, 100.0, 130.0)
    async with opened(tmp_path) as index:
        assert [index.tree.load_entry(FOLDER.child(e.name), None) for e in entries] == [
            StoredEntry(entry, 100.0, 130.0) for entry in entries
        ]


async def test_times_of_securables_are_kept(tmp_path: Path) -> None:
    volume = Entry("raw", Kind.VOLUME, mtime=1_700_000_000.25)
    async with opened(tmp_path) as index:
        see(index, VOLUME, volume, "alice")
        await index.flush()
        stored = index.tree.load_entry(VOLUME, "alice")
        assert stored is not None
        assert stored.entry == volume


async def test_the_root_has_no_entry_but_a_listing(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        see(index, ROOT, Entry("", Kind.ROOT), "alice")
        index.tree.post_expire(ROOT)
        post_walk(index, ROOT, [[Entry("main", Kind.CATALOG)]], principal="alice")
        await index.flush()
        assert index.tree.load_entry(ROOT, "alice") is None
        assert names_in(index, ROOT, "alice") == ["main"]


async def test_what_one_principal_saw_is_nobody_elses(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        see(index, VOLUME, Entry("raw", Kind.VOLUME), "alice")
        post_walk(index, VOLUME.parent, [[Entry("raw", Kind.VOLUME)]], principal="alice")
        await index.flush()
        for other in ("bob", "alic", "alice ", None):
            assert index.tree.load_entry(VOLUME, other) is None
            assert index.tree.load_listing(VOLUME.parent, other) is None
            assert index.tree.load_listing_entries(VOLUME.parent, other, None, 10) is None
        assert names_in(index, VOLUME.parent, "alice") == ["raw"]


async def test_a_negative_answer_is_for_who_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        see(index, FILE, file_entry("a.csv"))
        index.tree.post_absent(FILE, "bob", fetched_at=101.0, expires_at=106.0)
        await index.flush()
        assert index.tree.load_entry(FILE, "bob") == StoredEntry(None, 101.0, 106.0)
        assert index.tree.load_entry(FILE, "carol") is None
        assert index.tree.load_entry(FILE, None) == StoredEntry(file_entry("a.csv"), 100.0, 130.0)


async def test_seeing_a_file_ends_every_negative_answer(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for principal in ("alice", "bob"):
            index.tree.post_absent(FILE, principal, fetched_at=100.0, expires_at=105.0)
            index.tree.post_absent(FOLDER.child("b"), principal, fetched_at=100.0, expires_at=105.0)
        see(index, FILE, file_entry("a.csv"))
        await index.flush()
        assert index.tree.load_entry(FILE, "alice") is None
        assert index.tree.load_entry(FOLDER.child("b"), "bob") == StoredEntry(None, 100.0, 105.0)
        post_walk(index, FOLDER, [[file_entry("a.csv"), file_entry("b")]])
        await index.flush()
        assert index.tree.load_entry(FOLDER.child("b"), "bob") is None


async def test_a_securable_that_is_gone_for_one_stays_for_the_other(tmp_path: Path) -> None:
    schema = VOLUME.parent
    async with opened(tmp_path) as index:
        for principal in ("alice", "bob"):
            post_walk(index, schema, [[Entry("raw", Kind.VOLUME)]], principal=principal)
            see(index, schema, Entry("sales", Kind.SCHEMA), principal)
        see(index, FILE, file_entry("a.csv"))
        index.tree.post_absent(schema, "bob", fetched_at=101.0, expires_at=106.0)
        await index.flush()
        assert index.tree.load_entry(schema, "bob") == StoredEntry(None, 101.0, 106.0)
        assert index.tree.load_listing(schema, "bob") is None
        assert index.tree.load_entry(VOLUME, "bob") is None
        assert names_in(index, schema, "alice") == ["raw"]
        assert index.tree.load_entry(FILE, None) is not None
    assert checked(tmp_path).is_clean


async def test_a_listing_is_complete_with_its_last_page(tmp_path: Path) -> None:
    pages = [[file_entry(f"{page}-{n:03}") for n in range(100)] for page in range(3)]
    async with opened(tmp_path) as index:
        for position, page in enumerate(pages):
            index.tree.post_listing(
                FOLDER, None, page, fetched_at=1.0, expires_at=2.0, first=position == 0, last=position == 2
            )
            await index.flush()
            count = 100 * (position + 1)
            assert index.tree.load_listing(FOLDER, None) == StoredListing(position == 2, 1.0, 2.0, count)
        names = [entry.name for page in pages for entry in page]
        assert names_in(index, FOLDER, page=70) == names
        assert names_in(index, FOLDER, page=100) == names


async def test_an_empty_folder_is_complete_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[]])
        await index.flush()
        assert index.tree.load_listing(FOLDER, None) == StoredListing(True, 100.0, 130.0, 0)
        assert index.tree.load_listing_entries(FOLDER, None, None, 10) == []


async def test_names_that_a_walk_does_not_see_are_gone_when_it_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry("a"), file_entry("b")], [file_entry("c")]])
        index.tree.post_listing(
            FOLDER, None, [file_entry("b")], fetched_at=200.0, expires_at=230.0, first=True, last=False
        )
        await index.flush()
        assert names_in(index, FOLDER) == ["a", "b", "c"]
        # A file made after the walk passed its place, and seen alone.
        see(index, FOLDER.child("aa"), file_entry("aa"))
        index.tree.post_listing(
            FOLDER, None, [file_entry("d")], fetched_at=200.0, expires_at=230.0, first=False, last=True
        )
        await index.flush()
        assert names_in(index, FOLDER) == ["aa", "b", "d"]
        assert index.tree.load_listing(FOLDER, None) == StoredListing(True, 200.0, 230.0, 3)
    assert checked(tmp_path).is_clean


async def test_an_interrupted_walk_leaves_what_the_last_complete_one_said(tmp_path: Path) -> None:
    """With its own age: it is expired, and it is what offline serves."""
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry("a"), file_entry("b")]])
        index.tree.post_listing(
            FOLDER, None, [file_entry("c")], fetched_at=200.0, expires_at=230.0, first=True, last=False
        )
        await index.flush()
        assert index.tree.load_listing(FOLDER, None) == StoredListing(True, 100.0, 130.0, 3)
        assert names_in(index, FOLDER) == ["a", "b", "c"]


async def test_a_first_walk_that_is_interrupted_is_not_complete(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        index.tree.post_listing(
            FOLDER, None, [file_entry("a")], fetched_at=1.0, expires_at=2.0, first=True, last=False
        )
    async with opened(tmp_path) as index:
        assert index.tree.load_listing(FOLDER, None) == StoredListing(False, 1.0, 2.0, 1)
        # The rest of that walk, in a process that does not know of its beginning.
        index.tree.post_listing(
            FOLDER, None, [file_entry("b")], fetched_at=1.0, expires_at=2.0, first=False, last=True
        )
        await index.flush()
        assert index.tree.load_listing(FOLDER, None) == StoredListing(False, 1.0, 2.0, 2)


async def test_a_walk_that_lost_a_page_never_completes(tmp_path: Path) -> None:
    """Else the names of that page would be "no such file"."""
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry("old")]])
        unwritable = Entry("lost", Kind.FILE, Version(2**80, 0))
        pages = [[file_entry("a")], [unwritable, file_entry("b")], [file_entry("c")]]
        post_walk(index, FOLDER, pages, fetched_at=200.0, expires_at=230.0)
        await index.flush()
        listing = index.tree.load_listing(FOLDER, None)
        assert listing == StoredListing(True, 100.0, 130.0, 3)
        assert names_in(index, FOLDER) == ["a", "c", "old"]
        post_walk(index, FOLDER, [[file_entry("a")], [file_entry("b")]], fetched_at=300.0, expires_at=330.0)
        await index.flush()
        assert names_in(index, FOLDER) == ["a", "b"]


async def test_two_walks_at_once_do_not_complete_each_other(tmp_path: Path) -> None:
    """Two principals list the same folder of a volume; the second began when "b" was gone and "y" there."""
    mine = [[file_entry("a"), file_entry("b")], [file_entry("x")]]
    his = [[file_entry("a")], [file_entry("x"), file_entry("y")]]
    async with opened(tmp_path) as index:
        for position in range(2):
            for fetched_at, pages in ((200.0, mine), (201.0, his)):
                index.tree.post_listing(
                    FOLDER,
                    None,
                    pages[position],
                    fetched_at=fetched_at,
                    expires_at=fetched_at + 30,
                    first=position == 0,
                    last=position == 1,
                )
                await index.flush()
                listing = index.tree.load_listing(FOLDER, None)
                assert listing is not None
                assert listing.complete == (position == 1 and pages is his)
        assert names_in(index, FOLDER) == ["a", "x", "y"]
    assert checked(tmp_path).is_clean


async def test_a_name_listed_twice_counts_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry("a", 1), file_entry("a", 2)], [file_entry("a", 3)]])
        await index.flush()
        assert index.tree.load_listing(FOLDER, None) == StoredListing(True, 100.0, 130.0, 1)
        stored = index.tree.load_entry(FOLDER.child("a"), None)
        assert stored is not None
        assert stored.entry == file_entry("a", 3)


async def test_names_differ_by_case_and_sort_by_bytes(tmp_path: Path) -> None:
    names = ["A", "B", "a", "e\u0301", "\u00e9", "\uffff", "\U00010000"]
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry(name) for name in reversed(names)]])
        await index.flush()
        assert names_in(index, FOLDER, page=2) == sorted(names, key=lambda name: name.encode())


async def test_a_file_in_place_of_a_folder_has_no_children(tmp_path: Path) -> None:
    for listed in (True, False):
        folder = FOLDER.child(f"sub-{listed}")
        async with opened(tmp_path) as index:
            post_walk(index, FOLDER, [[folder_entry(folder.name)]])
            post_walk(index, folder, [[folder_entry("deep"), file_entry("x")]])
            post_walk(index, folder.child("deep"), [[file_entry("y")]])
            neighbour = FOLDER.child(f"{folder.name}0")
            post_walk(index, neighbour, [[file_entry("z")]])
            await index.flush()
            if listed:
                post_walk(index, FOLDER, [[file_entry(folder.name)]])
            else:
                see(index, folder, file_entry(folder.name))
            await index.flush()
            assert index.tree.load_listing(folder, None) is None
            assert index.tree.load_entry(folder.child("x"), None) is None
            assert index.tree.load_entry(folder.child("deep").child("y"), None) is None
            assert names_in(index, neighbour) == ["z"]
            stored = index.tree.load_entry(folder, None)
            assert stored is not None
            assert stored.entry == file_entry(folder.name)


async def test_a_file_found_by_the_first_listing_has_no_children_either(tmp_path: Path) -> None:
    folder = FOLDER.child("sub")
    async with opened(tmp_path) as index:
        see(index, folder, folder_entry("sub"))
        see(index, folder.child("x"), file_entry("x"))
        post_walk(index, FOLDER, [[file_entry("sub")]])
        await index.flush()
        assert index.tree.load_entry(folder.child("x"), None) is None


async def test_a_folder_that_went_and_came_back_is_a_new_one(tmp_path: Path) -> None:
    folder = FOLDER.child("sub")
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[folder_entry("sub")]])
        post_walk(index, folder, [[file_entry(f"{n}") for n in range(1000)]] * 3)
        post_walk(index, FOLDER, [[]])
        post_walk(index, folder, [[file_entry("new")]])
        await index.flush()
        assert names_in(index, folder) == ["new"]
    async with opened(tmp_path) as index:
        assert names_in(index, folder) == ["new"]
        await index.flush()
    assert checked(tmp_path).is_clean


async def test_what_is_told_to_be_stale_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        see(index, FOLDER, folder_entry(FOLDER.name))
        see(index, FOLDER, folder_entry(FOLDER.name), "alice")
        post_walk(index, FOLDER, [[file_entry("a")]])
        index.tree.post_expire(FOLDER)
        index.tree.post_expire(FOLDER.child("not known"))
        await index.flush()
        for principal in (None, "alice"):
            stored = index.tree.load_entry(FOLDER, principal)
            assert stored == StoredEntry(folder_entry(FOLDER.name), 100.0, 0.0)
        assert index.tree.load_listing(FOLDER, None) == StoredListing(True, 100.0, 0.0, 1)
        assert index.tree.load_entry(FOLDER.child("a"), None) == StoredEntry(file_entry("a"), 100.0, 130.0)
    assert checked(tmp_path).is_clean


async def test_counts_follow_names_that_come_and_go_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, ROOT, [[Entry("a", Kind.CATALOG), Entry("b", Kind.CATALOG)]], principal="alice")
        see(index, ROOT.child("c"), Entry("c", Kind.CATALOG), "alice")
        see(index, ROOT.child("a"), Entry("a", Kind.CATALOG), "alice")
        index.tree.post_absent(ROOT.child("b"), "alice", fetched_at=1.0, expires_at=2.0)
        index.tree.post_absent(ROOT.child("zzz"), "alice", fetched_at=1.0, expires_at=2.0)
        await index.flush()
        listing = index.tree.load_listing(ROOT, "alice")
        assert listing is not None
        assert listing.count == 2
        assert names_in(index, ROOT, "alice") == ["a", "c"]
    assert checked(tmp_path).is_clean


async def test_negative_answers_do_not_pile_up(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        for n in range(1500):
            index.tree.post_absent(
                FOLDER.child(f"guess-{n}"), "bob", fetched_at=clock.unix, expires_at=clock.unix + 5
            )
        await index.flush()
        clock.step(10)
        for n in range(500):
            index.tree.post_absent(
                FOLDER.child(f"later-{n}"), "bob", fetched_at=clock.unix, expires_at=clock.unix + 5
            )
        await index.flush()
        assert index.tree.load_entry(FOLDER.child("guess-0"), "bob") is None
        assert index.tree.load_entry(FOLDER.child("later-0"), "bob") is not None


async def test_a_name_that_cannot_be_written_is_the_only_one_lost(tmp_path: Path) -> None:
    metrics = Metrics()
    async with opened(tmp_path, metrics=metrics) as index:
        see(index, FOLDER.child("a"), file_entry("a"))
        see(index, FOLDER.child("\ud800"), file_entry("\ud800"))
        see(index, FOLDER.child("b"), file_entry("b"))
        await index.flush()
        assert index.tree.load_entry(FOLDER.child("a"), None) is not None
        assert index.tree.load_entry(FOLDER.child("b"), None) is not None
        assert index.tree.load_entry(FOLDER.child("\ud800"), None) is None
        assert index.is_healthy
    assert metrics.get("index.dropped_posts") == 1


async def test_two_workspaces_in_one_folder_do_not_mix(tmp_path: Path) -> None:
    async with opened(tmp_path, workspace="one") as index:
        see(index, FILE, file_entry("a.csv", 1))
        key = index.fingerprint_key
    async with opened(tmp_path, workspace="two") as index:
        assert index.tree.load_entry(FILE, None) is None
        assert index.fingerprint_key != key
        see(index, FILE, file_entry("a.csv", 2))
    async with opened(tmp_path, workspace="one") as index:
        stored = index.tree.load_entry(FILE, None)
        assert stored is not None
        assert stored.entry == file_entry("a.csv", 1)
        assert index.fingerprint_key == key
