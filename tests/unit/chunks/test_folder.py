import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.chunks.looking import look_at
from fuse4dbricks.errors import CacheError, CacheFolderError
from tests.support.labels import label
from tests.support.stores import write_chunk
from tests.support.users import acting_as_nobody

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make things that belong to others")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    with acting_as_nobody() as folder:
        yield folder


def refusal(path: Path, mountpoint: Path | None = None) -> str:
    with pytest.raises(CacheFolderError) as caught:
        CacheFolder.open(path, mountpoint=mountpoint)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def test_a_new_folder_is_private_tagged_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "there"
    with CacheFolder.open(path) as folder:
        assert folder.path == path
        assert folder.index_path == path / "index.sqlite"
        assert mode(path) == mode(path.parent) == 0o700
        assert (
            (path / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
        )
        assert (path / "fuse4dbricks-cache").read_text() == "fuse4dbricks cache, format 1\n"
        assert all(mode(file) == (0o700 if file.is_dir() else 0o600) for file in path.iterdir())
        available, total = folder.free_bytes()
        assert 0 < available <= total


def test_an_existing_folder_is_opened_again_and_made_private(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.mkdir(mode=0o755)
    (path / "lost+found").mkdir()
    for _ in range(2):
        CacheFolder.open(path).close()
        assert mode(path) == 0o700
        path.chmod(0o755)


def test_a_first_start_that_was_killed_half_way_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.mkdir()
    (path / "lock").touch()
    (path / "fuse4dbricks-cache.tmp").write_text("fuse4db")
    CacheFolder.open(path).close()
    CacheFolder.open(path).close()


def test_links_on_the_way_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with CacheFolder.open(tmp_path / "link" / "cache") as folder:
        assert folder.path == tmp_path / "real" / "cache"


# --- refusals ------------------------------------------------------------------------------------


def test_a_folder_with_other_things_in_it_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    assert "not a cache folder of ours" in refusal(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_a_link_and_a_link_to_our_own_folder_are_refused(tmp_path: Path) -> None:
    CacheFolder.open(tmp_path / "cache").close()
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    (tmp_path / "file").touch()
    assert "link" in refusal(tmp_path / "link")
    assert "no folder" in refusal(tmp_path / "file")
    assert "no folder" in refusal(tmp_path / "file" / "below")


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o720, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "cache"
    path.mkdir()
    path.chmod(bits)
    assert "chmod 700" in refusal(path)
    assert mode(path) == bits & 0o1777
    assert not list(path.iterdir())


def test_a_parent_that_others_may_write_to_is_refused_unless_sticky(tmp_path: Path) -> None:
    (tmp_path / "open" / "inner").mkdir(parents=True)
    path = tmp_path / "open" / "inner" / "cache"
    (tmp_path / "open").chmod(0o777)
    assert f"{tmp_path / 'open'} is writable by everybody" in refusal(path)
    assert not path.exists()
    (tmp_path / "open").chmod(0o1777)
    CacheFolder.open(path).close()


@needs_root
def test_a_parent_that_another_group_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    os.chown(tmp_path / "shared", 0, 4711)
    (tmp_path / "shared").chmod(0o775)
    assert "group 4711" in refusal(tmp_path / "shared" / "cache")


@needs_root
def test_a_parent_that_only_roots_own_group_may_write_to_is_fine(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o775)
    CacheFolder.open(tmp_path / "shared" / "cache").close()


@needs_root
def test_a_folder_of_somebody_else_or_inside_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, 4711, 4711)
    assert "belongs to uid 4711" in refusal(path)
    assert "belongs to uid 4711" in refusal(path / "cache")
    assert not list(path.iterdir())


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    CacheFolder.open(path).close()
    (path / "fuse4dbricks-cache").write_text("fuse4dbricks cache, format 2\n")
    assert "newer" in refusal(path)


@pytest.mark.parametrize(
    "marker", ["", "some other program's\n", "fuse4dbricks cache, format x\n", "x" * 10_000]
)
def test_a_marker_that_is_not_ours_is_refused(tmp_path: Path, marker: str) -> None:
    path = tmp_path / "cache"
    path.mkdir()
    (path / "fuse4dbricks-cache").write_text(marker)
    assert "not one of ours" in refusal(path)


def _link(file: Path, victim: Path) -> None:
    file.symlink_to(victim)


def _hard_link(file: Path, victim: Path) -> None:
    file.hardlink_to(victim)


def _fifo(file: Path, _victim: Path) -> None:
    os.mkfifo(file)


@pytest.mark.parametrize("put", [_link, _hard_link, _fifo])
@pytest.mark.parametrize(
    "name", ["lock", "fuse4dbricks-cache", "index.sqlite", "index.sqlite-wal", "CACHEDIR.TAG"]
)
def test_a_link_or_a_fifo_in_place_of_our_files_is_refused(
    tmp_path: Path, put: Callable[[Path, Path], None], name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "cache"
    CacheFolder.open(path).close()
    (path / name).unlink(missing_ok=True)
    put(path / name, victim)
    refusal(path)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["chunks", "tmp", "chunks/ab"])
def test_a_link_in_place_of_our_folders_is_refused(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    path = tmp_path / "cache"
    CacheFolder.open(path).close()
    shutil.rmtree(path / name)
    (path / name).symlink_to(victim)
    assert "not a folder of ours" in refusal(path)
    assert mode(victim) == 0o755


@pytest.mark.parametrize("inside", [".", "cache", "a/b/cache"])
def test_a_folder_inside_the_mount_point_is_refused(tmp_path: Path, inside: str) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    (tmp_path / "link").symlink_to(mountpoint)
    assert "inside the mount point" in refusal(mountpoint / inside, mountpoint=mountpoint)
    if inside != ".":
        assert "inside the mount point" in refusal(tmp_path / "link" / inside, mountpoint=mountpoint)
    CacheFolder.open(tmp_path / "mnt-cache", mountpoint=mountpoint).close()


@pytest.mark.parametrize("bits", [0o000, 0o300, 0o500])
def test_a_folder_that_we_may_not_read_or_write_is_refused(as_nobody: Path, bits: int) -> None:
    path = as_nobody / "cache"
    path.mkdir()
    path.chmod(bits)
    assert "we may not read or write it" in refusal(path)
    path.chmod(0o700)


def test_a_folder_in_a_place_where_we_may_not_create_is_refused(as_nobody: Path) -> None:
    as_nobody.chmod(0o500)
    assert "we may not read or write it" in refusal(as_nobody / "cache")
    as_nobody.chmod(0o700)


def test_an_ordinary_user_has_his_cache_too(as_nobody: Path) -> None:
    with CacheFolder.open(as_nobody / "cache") as folder:
        store = ChunkStore(folder)
        assert bytes(store.load(label(), 5, write_chunk(store, label(), b"bytes"))) == b"bytes"
        store.close()


def find_holder(path: Path) -> int | None:
    return look_at(path).holder


# --- the lock ------------------------------------------------------------------------------------


def test_a_second_mount_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    script = (
        "import sys; from pathlib import Path; from fuse4dbricks.chunks import CacheFolder\n"
        "folder = CacheFolder.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "open\n"
        assert f"process {first.pid} on " in refusal(path)
        CacheFolder.open(path, exclusive=False).close()  # reading statistics is allowed meanwhile
        first.kill()
    CacheFolder.open(path).close()


def test_the_lock_ends_with_close_and_is_not_shared_within_a_process(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache"):
        assert f"process {os.getpid()}" in refusal(tmp_path / "cache")
    CacheFolder.open(tmp_path / "cache").close()


def test_who_removes_the_lock_file_lets_no_second_mount_in(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as first:
        (first.path / "lock").unlink()
        assert "another mount uses it" in refusal(first.path)
        assert not (first.path / "lock").exists(), "a refused mount changes nothing"
        first.complete()
        assert f"another mount uses it (process {os.getpid()}" in refusal(first.path)
        assert find_holder(first.path) == os.getpid()
    CacheFolder.open(tmp_path / "cache").close()


# --- somebody removes what is in it --------------------------------------------------------------


def empty(path: Path) -> None:
    """``rm -rf path/*``."""
    for each in path.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def test_a_folder_that_was_emptied_while_in_use_is_ours_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    CacheFolder.open(path).close()
    whole = {each.name for each in path.iterdir()}
    with CacheFolder.open(path) as folder:
        empty(path)
        store = ChunkStore(folder)
        checksum = write_chunk(store, label(), b"bytes")
        assert {each.name for each in path.iterdir()} == whole, "known again also after a kill -9"
        store.close()
    with CacheFolder.open(path) as folder:
        assert bytes(ChunkStore(folder).load(label(), 5, checksum)) == b"bytes"


def test_emptying_the_folder_costs_the_batch_that_is_being_written_and_no_other(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        store = ChunkStore(folder)
        with store.writing() as write:
            write(label(0), b"bytes")
            empty(folder.path)
            for index in (1, 2):
                with pytest.raises(CacheError, match=f"cannot write chunk {label(index).name().hex()}"):
                    write(label(index), b"bytes")
        with store.writing() as write:
            checksums = [write(label(index), b"bytes") for index in (0, 1)]
        assert [bytes(store.load(label(index), 5, checksums[index])) for index in (0, 1)] == [b"bytes"] * 2
        store.close()


def test_a_file_where_the_chunks_should_be_is_told_before_any_is_written(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        empty(folder.path / "chunks")
        (folder.path / "chunks").rmdir()
        (folder.path / "chunks").touch()
        with pytest.raises(CacheError, match="cannot write chunks"), ChunkStore(folder).writing():
            pytest.fail("there is nowhere to write to")


@pytest.mark.parametrize("name", ["fuse4dbricks-cache", "lock", "CACHEDIR.TAG", "chunks", "tmp", "*"])
def test_what_is_missing_at_the_end_is_made_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cache"
    with CacheFolder.open(path) as folder:
        whole = sorted(path.rglob("*"))
        if name == "*":
            empty(path)
        else:
            shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
        folder.close()
    assert sorted(path.rglob("*")) == whole
    CacheFolder.open(path).close()


def test_what_stands_in_the_way_costs_neither_the_lock_nor_the_end(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        empty(folder.path)
        (folder.path / "chunks").touch()
        with pytest.raises(CacheError):
            folder.complete()
        (folder.path / "chunks").unlink()
        assert f"process {os.getpid()}" in refusal(folder.path)
    CacheFolder.open(tmp_path / "cache").close()


def test_a_folder_that_was_deleted_stays_deleted(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        shutil.rmtree(folder.path)
        with pytest.raises(CacheError):
            write_chunk(ChunkStore(folder), label(), b"bytes")
    assert not (tmp_path / "cache").exists()


def test_who_only_looks_completes_nothing(tmp_path: Path) -> None:
    CacheFolder.open(tmp_path / "cache").close()
    with CacheFolder.open(tmp_path / "cache", exclusive=False) as folder:
        empty(folder.path)
        folder.complete()
    assert not list((tmp_path / "cache").iterdir())


def test_looking_only_creates_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with pytest.raises(CacheFolderError, match="there is none"):
        CacheFolder.open(path, exclusive=False)
    assert not path.exists()
    path.mkdir()
    with pytest.raises(CacheFolderError, match="empty"):
        CacheFolder.open(path, exclusive=False)
    assert not list(path.iterdir())


# --- space and clearing --------------------------------------------------------------------------


def test_overhead_is_what_du_counts_besides_the_chunks(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        store = ChunkStore(folder)
        (folder.path / "index.sqlite").write_bytes(b"x" * 100_000)
        chunks = sum(store.get_disk_bytes(label(index), 5000) for index in range(40))
        for index in range(40):
            write_chunk(store, label(index), b"y" * 5000)
        counted = subprocess.run(["du", "-s", "-B1", folder.path], capture_output=True, text=True, check=True)
        assert int(counted.stdout.split()[0]) == folder.overhead_bytes() + folder.index_bytes() + chunks
        assert folder.index_bytes() == 102_400


def test_a_closed_or_vanished_folder_is_an_error_of_the_cache(tmp_path: Path) -> None:
    folder = CacheFolder.open(tmp_path / "cache")
    folder.close()
    folder.close()
    for ask in (folder.free_bytes, folder.overhead_bytes, folder.index_bytes):
        with pytest.raises(CacheError):
            ask()


def test_clear_removes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{'a' * 32}.chunk").touch()
    with CacheFolder.open(tmp_path / "cache") as folder:
        path = folder.path
        write_chunk(ChunkStore(folder), label(), b"bytes")
        for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite.damaged-1"):
            (path / name).touch()
        (path / "tmp" / f"{'0' * 16}-1.tmp").touch()
        foreign = [path / "notes", path / "chunks" / "notes", path / "tmp" / "notes", path / "chunks" / "zz"]
        for file in foreign[:3]:
            file.touch()
        foreign[3].symlink_to(outside)
        folder.clear()
        left = {file.relative_to(path) for file in path.rglob("*") if not file.is_dir() or file.is_symlink()}
    assert {str(file) for file in left} == {
        "lock",
        "fuse4dbricks-cache",
        "CACHEDIR.TAG",
        "notes",
        "chunks/notes",
        "chunks/zz",
        "tmp/notes",
    }
    assert len(list(outside.iterdir())) == 1
