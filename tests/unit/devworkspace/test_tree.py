"""The folder on disk, and the one that is only a rule."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.devworkspace.disk_tree import DiskTree
from fuse4dbricks.devworkspace.namespace import Namespace, SecurableMissing
from fuse4dbricks.devworkspace.synthetic import Flock, SyntheticTree, expected_bytes
from fuse4dbricks.devworkspace.tree import Item


def settle(folder: Path) -> None:
    """Make a folder look as if it had not changed for long."""
    os.utime(folder, (1_700_000_000, 1_700_000_000))


def test_entries_are_sorted_files_first(tmp_path: Path) -> None:
    for name in ("b", "B", "ä", "a"):
        (tmp_path / name).touch()
    (tmp_path / "Z").mkdir()

    assert list(DiskTree(tmp_path).items(())) == [
        Item(False, "B"),
        Item(False, "a"),
        Item(False, "b"),
        Item(False, "ä"),
        Item(True, "Z"),
    ]


def test_a_settled_folder_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    settle(tmp_path)
    tree = DiskTree(tmp_path)
    first = tree.items(())

    assert tree.items(()) is first
    (tmp_path / "b").touch()
    assert [item.name for item in tree.items(())] == ["a", "b"]


def test_a_folder_that_has_just_changed_is_read_again(tmp_path: Path) -> None:
    tree = DiskTree(tmp_path)
    for number in range(20):
        (tmp_path / f"f{number}").touch()
        assert len(tree.items(())) == number + 1


def test_links_devices_and_undecodable_names_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(b"\xff")).touch()
    tree = DiskTree(root)

    assert list(tree.items(())) == []
    for parts in (("link",), ("up",), ("up", "outside"), ("fifo",), ("nope", "x"), ("a\0b",), ("x" * 300,)):
        assert tree.stat(parts) is None
        assert tree.open(parts) is None
    for parts in (("link",), ("up", "outside"), ("fifo",)):
        with pytest.raises(FileExistsError):
            tree.create(parts)
    assert (tmp_path / "outside").read_bytes() == b"secret"


def test_an_upload_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    tree = DiskTree(tmp_path)
    upload = tree.create(("c", "s", "v", "new", "f"))
    upload.write(b"one")
    assert tree.stat(("c", "s", "v", "new", "f")) is None
    upload.write(b"two")
    upload.commit()
    upload.abort()
    given_up = tree.create(("c", "s", "v", "g"))
    given_up.write(b"x")
    given_up.abort()

    assert (tmp_path / "c/s/v/new/f").read_bytes() == b"onetwo"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["f"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_open_file_is_one_version(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old content")
    content = DiskTree(tmp_path).open(("f",))
    assert content is not None
    (tmp_path / "g").write_bytes(b"new")
    (tmp_path / "g").replace(tmp_path / "f")

    assert content.read(4, 100) == b"content"
    content.close()


def test_removing(tmp_path: Path) -> None:
    tree = DiskTree(tmp_path)
    tree.make_folder(("a", "b"))
    tree.make_folder(("a", "b"))

    with pytest.raises(OSError, match="not empty"):
        tree.remove(("a",))
    tree.remove(("a", "b"))
    tree.remove(("a",))
    with pytest.raises(FileNotFoundError):
        tree.remove(("a",))


def test_names_of_securables_are_found_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "Main" / "SALES" / "raw").mkdir(parents=True)
    (tmp_path / "not a catalog").mkdir()
    namespace = Namespace(DiskTree(tmp_path))

    assert namespace.children(()) == ["main"]
    assert namespace.locate(("MAIN", "sales", "Raw")) == ("Main", "SALES", "raw")
    with pytest.raises(SecurableMissing) as caught:
        namespace.locate(("main", "Nope", "raw"))
    assert (caught.value.kind, caught.value.full_name) == ("SCHEMA", "main.nope")


def test_a_new_catalog_is_seen_at_once(tmp_path: Path) -> None:
    namespace = Namespace(DiskTree(tmp_path))
    assert namespace.children(()) == []
    (tmp_path / "main").mkdir()

    assert namespace.children(()) == ["main"]


@given(offset=st.integers(0, 1 << 40), length=st.integers(0, 200), cut=st.integers(0, 200))
def test_synthetic_bytes_depend_on_their_place_only(offset: int, length: int, cut: int) -> None:
    whole = expected_bytes("c/s/v/f", 1, offset, length)
    cut = min(cut, length)

    assert len(whole) == length
    assert whole[cut:] == expected_bytes("c/s/v/f", 1, offset + cut, length - cut)


def test_synthetic_bytes_name_their_version_and_file() -> None:
    some = {expected_bytes(path, version, 0, 32) for path in ("a", "b") for version in (1, 2)}

    assert len(some) == 4


def test_a_synthetic_tree() -> None:
    tree = SyntheticTree({"c/s/v/dir/big": 16 << 30})
    opened = tree.open(("c", "s", "v", "dir", "big"))
    tree.put("c/s/v/dir/big", 5, version=2)
    node = tree.stat(("c", "s", "v", "dir", "big"))

    assert opened is not None
    assert opened.read((16 << 30) - 3, 100) == expected_bytes("c/s/v/dir/big", 1, (16 << 30) - 3, 3)
    assert node is not None
    assert node.size == 5
    assert list(tree.items(("c", "s", "v"))) == [Item(True, "dir")]
    tree.discard("c/s/v/dir/big")
    assert list(tree.items(("c", "s", "v", "dir"))) == []
    assert tree.open(("c", "s", "v", "dir", "big")) is None


def test_a_flock_sorts_as_it_is_numbered() -> None:
    flock = Flock(1_000_000)

    assert flock[999_999] == flock[-1] == Item(False, "000999999.bin")
    assert flock[10:12] == [Item(False, "000000010.bin"), Item(False, "000000011.bin")]
    assert flock[10:12] == sorted(flock[10:12])
    assert flock.find("000999999.bin")
    assert not flock.find("001000000.bin")
    with pytest.raises(IndexError):
        flock[1_000_000]
