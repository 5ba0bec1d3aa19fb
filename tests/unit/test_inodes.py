"""Inode numbers: stable, one for each version, and none left behind."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import NoSuchName
from fuse4dbricks.vfs import inodes
from fuse4dbricks.vfs.inodes import FIRST_DERIVED_INO, InodeTable, Node, derived_ino

T = 1_700_000_000


def folder(name: str) -> Entry:
    return Entry(name, Kind.DIRECTORY)


def file(name: str, size: int = 5, modified: int | None = T, etag: str | None = None, at: int = 0) -> Entry:
    return Entry(name, Kind.FILE, Version(size, modified, etag, at))


def test_numbers_do_not_depend_on_the_order_of_lookups() -> None:
    one, other = InodeTable(), InodeTable()
    names = ["a", "b", "c"]
    first = {name: one.find(one.find(one.root, folder("d")), file(name)).ino for name in names}
    for name in reversed(names):
        assert other.find(other.find(other.root, folder("d")), file(name)).ino == first[name]
    assert len(set(first.values())) == 3
    assert min(first.values()) >= FIRST_DERIVED_INO


def test_each_version_is_an_inode_of_its_own() -> None:
    table = InodeTable()
    versions = [file("f"), file("f", size=6), file("f", modified=T + 1), file("f", modified=None)]
    versions += [file("f", etag='"e"'), file("f", at=T), folder("f")]
    nodes = [table.find(table.root, entry) for entry in versions]
    assert len({node.ino for node in nodes}) == len(versions)
    assert [table.find(table.root, entry) for entry in versions] == nodes


def test_the_same_name_in_another_folder_is_another_inode() -> None:
    table = InodeTable()
    one, two = table.find(table.root, folder("1")), table.find(table.root, folder("2"))
    assert table.find(one, file("f")).ino != table.find(two, file("f")).ino


def test_two_live_nodes_of_one_number_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inodes, "derived_ino", lambda parent_ino, entry: (1 << 63) - 1)
    table = InodeTable()
    nodes = [table.find(table.root, file(name)) for name in "abc"]
    assert [table.find(table.root, file(name)) for name in "abc"] == nodes
    assert len({node.ino for node in nodes}) == 3
    assert all(0 < node.ino < 1 << 63 for node in nodes)
    assert [table.get(node.ino) for node in nodes] == nodes


def test_what_nobody_refers_to_goes_and_its_folders_with_it() -> None:
    table = InodeTable()
    upper = table.find(table.root, folder("upper"))
    lower = table.find(upper, folder("lower"))
    leaf = table.find(lower, file("f"))
    leaf.lookups += 2
    table.settle(lower)
    assert len(table) == 4, "a child holds its folders"
    table.forget(leaf.ino, 1)
    assert table.get(leaf.ino) is leaf
    table.forget(leaf.ino, 1)
    assert len(table) == 1
    with pytest.raises(NoSuchName):
        table.get(leaf.ino)


def test_an_open_handle_holds_a_node() -> None:
    table = InodeTable()
    node = table.find(table.root, file("f"))
    node.lookups, node.holds = 1, 1
    table.forget(node.ino, 1)
    assert table.get(node.ino) is node
    node.holds -= 1
    table.settle(node)
    assert len(table) == 1


def test_the_kernel_may_speak_late_or_too_often() -> None:
    table = InodeTable()
    node = table.find(table.root, file("f"))
    node.lookups = 1
    table.forget(node.ino, 5)
    table.forget(node.ino, 1)
    table.forget(99999, 1)
    table.forget(table.root.ino, 1000)
    assert list(table) == [table.root]


def test_a_forgotten_node_does_not_take_its_successor_along() -> None:
    table = InodeTable()
    old = table.find(table.root, file("f"))
    table.settle(old)
    new = table.find(table.root, file("f"))
    new.lookups = 1
    table.settle(old)
    assert table.get(new.ino) is new


def test_the_time_of_a_folder_follows_the_service() -> None:
    table = InodeTable()
    node = table.find(table.root, Entry("main", Kind.CATALOG, None, 1.0))
    assert table.find(table.root, Entry("main", Kind.CATALOG, None, 2.0)) is node
    assert node.mtime == 2.0


def test_paths() -> None:
    table = InodeTable()
    node = table.root
    for name in ("c", "s", "v", "d"):
        node = table.find(node, folder(name))
    leaf = table.find(node, file("f"))
    assert leaf.path.parts == ("c", "s", "v", "d", "f")
    assert node.path is node.path, "folders keep theirs"
    assert leaf.path is not leaf.path, "a million files do not"


@given(st.text(min_size=1, max_size=20), st.integers(0, 2**63 - 1), st.integers(-(2**40), 2**40))
def test_any_entry_has_a_number(name: str, size: int, modified: int) -> None:
    if not name.isprintable():
        return
    number = derived_ino(1, file(name, size, modified))
    assert FIRST_DERIVED_INO <= number < 1 << 63


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30))
def test_after_everything_is_forgotten_only_the_root_is_left(steps: list[tuple[str, int]]) -> None:
    table = InodeTable()
    counts: dict[int, int] = {}
    known: list[Node] = [table.root]
    for name, parent in steps:
        node = table.find(known[parent % len(known)], folder(name))
        node.lookups += 1
        counts[node.ino] = counts.get(node.ino, 0) + 1
        known.append(node)
    for ino, count in itertools.chain(counts.items()):
        table.forget(ino, count)
    assert list(table) == [table.root]
    assert table.root.holds == 0
