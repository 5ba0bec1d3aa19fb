import errno
import os
import resource
import shutil
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.chunks.nowait import file_system_type
from fuse4dbricks.errors import CacheError, ChunkUnusable
from tests.support.labels import chunk_file, label
from tests.support.stores import write_chunk

PAYLOAD = bytes(range(250)) * 4


def stored(store: ChunkStore, index: int = 0, payload: bytes = PAYLOAD) -> int:
    return write_chunk(store, label(index), payload)


def test_a_written_chunk_is_read_back_whole_and_in_part(store: ChunkStore) -> None:
    checksum = stored(store)
    name = label().name()
    assert not store.is_verified(name)
    assert store.read_now(name, 0, 10) is None
    assert store.load(label(owner="another"), 1000, checksum) == PAYLOAD
    assert store.is_verified(name)
    assert bytes(store.read(name, 10, 20)) == PAYLOAD[10:30]
    assert bytes(store.read_now(name, 990, 100) or b"") == PAYLOAD[990:]
    past_the_end = store.read_now(name, 1000, 100)
    assert past_the_end is not None
    assert len(past_the_end) == len(store.read(name, 2000, 100)) == 0


def test_an_empty_payload_is_a_chunk_too(store: ChunkStore) -> None:
    checksum = stored(store, payload=b"")
    assert len(store.load(label(), 0, checksum)) == 0


def test_the_payload_starts_the_file_and_only_the_owner_may_read_it(
    store: ChunkStore, folder: CacheFolder
) -> None:
    stored(store)
    file = chunk_file(folder.path, label())
    assert file.read_bytes()[:1000] == PAYLOAD
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert store.get_disk_bytes(label(), 1000) == file.stat().st_blocks * 512


def test_a_memoryview_is_written_as_it_is(store: ChunkStore) -> None:
    checksum = write_chunk(store, label(), memoryview(bytearray(PAYLOAD))[100:200])
    assert store.load(label(), 100, checksum) == PAYLOAD[100:200]


def test_reading_a_part_of_an_unverified_chunk_is_refused(store: ChunkStore) -> None:
    stored(store)
    with pytest.raises(ChunkUnusable, match="not verified"):
        store.read(label().name(), 0, 10)


def test_writing_again_replaces_and_must_be_verified_again(store: ChunkStore) -> None:
    old = stored(store)
    store.load(label(), 1000, old)
    new = stored(store, payload=b"x" * 1000)
    assert not store.is_verified(label().name())
    assert store.read_now(label().name(), 0, 1) is None
    assert store.load(label(), 1000, new) == b"x" * 1000
    with pytest.raises(ChunkUnusable):
        store.load(label(), 1000, old)


# --- what is not as it was written ---------------------------------------------------------------


def every_mutation(good: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    for length in range(len(good)):
        yield good[:length]
        yield good[length + 1 :]
        yield good[:length] + bytes(len(good) - length) if any(good[length:]) else good[:-1]
    for more in (b"\0", b"x" * 4096, good):
        yield good + more
        yield more + good


def test_every_flip_cut_and_extension_of_a_chunk_file_is_noticed(
    store: ChunkStore, folder: CacheFolder
) -> None:
    checksum = stored(store, payload=PAYLOAD[:100])
    file = chunk_file(folder.path, label())
    good = file.read_bytes()
    tried = 0
    for bad in every_mutation(good):
        file.write_bytes(bad)
        with pytest.raises(ChunkUnusable):
            store.load(label(), 100, checksum)
        tried += 1
    assert tried > 3000
    file.write_bytes(good)
    assert store.load(label(), 100, checksum) == PAYLOAD[:100]


def test_the_file_of_another_chunk_in_its_place_is_noticed(store: ChunkStore, folder: CacheFolder) -> None:
    checksum = stored(store, 0)
    stored(store, 1)
    chunk_file(folder.path, label(1)).replace(chunk_file(folder.path, label(0)))
    with pytest.raises(ChunkUnusable, match="another"):
        store.load(label(0), 1000, checksum)


def test_an_older_chunk_put_back_in_place_of_a_newer_is_noticed(
    store: ChunkStore, folder: CacheFolder, tmp_path: Path
) -> None:
    stored(store)
    file = chunk_file(folder.path, label())
    old = file.read_bytes()
    checksum = stored(store, payload=b"n" * 1000)
    file.write_bytes(old)
    with pytest.raises(ChunkUnusable, match="checksum"):
        store.load(label(), 1000, checksum)


def write_to(file: Path) -> None:
    """Write the very same bytes; the clock of older kernels may be too coarse to show that, so say it."""
    file.write_bytes(file.read_bytes())
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def test_a_change_after_verification_is_noticed_by_every_way_of_reading(
    store: ChunkStore, folder: CacheFolder
) -> None:
    checksum = stored(store)
    name = label().name()
    store.load(label(), 1000, checksum)
    write_to(chunk_file(folder.path, label()))
    assert store.read_now(name, 0, 10) is None
    assert not store.is_verified(name)
    store.load(label(), 1000, checksum)
    write_to(chunk_file(folder.path, label()))
    with pytest.raises(ChunkUnusable, match="written to"):
        store.read(name, 0, 10)
    assert not store.is_verified(name)


def test_a_replacement_of_a_verified_chunk_whose_descriptor_is_gone_is_noticed(
    store: ChunkStore, folder: CacheFolder, tmp_path: Path
) -> None:
    checksum = stored(store)
    store.load(label(), 1000, checksum)
    store.close()
    twin = tmp_path / "twin"
    file = chunk_file(folder.path, label())
    twin.write_bytes(b"!" * file.stat().st_size)
    twin.replace(file)
    with pytest.raises(ChunkUnusable, match="written to"):
        store.read(label().name(), 0, 10)


@pytest.mark.parametrize("kind", ["missing", "link", "fifo", "folder", "socket folder"])
def test_what_is_not_a_chunk_file_is_a_bad_chunk_and_never_blocks(
    store: ChunkStore, folder: CacheFolder, tmp_path: Path, kind: str
) -> None:
    checksum = stored(store)
    file = chunk_file(folder.path, label())
    victim = tmp_path / "victim"
    file.rename(victim)
    if kind == "link":
        file.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "socket folder":
        file.parent.rmdir()
        file.parent.symlink_to(tmp_path)
    with pytest.raises(ChunkUnusable):
        store.load(label(), 1000, checksum)
    store.remove([label().name()])
    assert victim.read_bytes()[:1000] == PAYLOAD


def test_a_link_in_place_of_the_shard_is_not_written_through(
    store: ChunkStore, folder: CacheFolder, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    chunk_file(folder.path, label()).parent.rmdir()
    chunk_file(folder.path, label()).parent.symlink_to(outside)
    with pytest.raises(CacheError):
        stored(store)
    assert not list(outside.iterdir())
    assert not list((folder.path / "tmp").iterdir())


def test_a_folder_in_the_place_of_a_chunk_is_no_fault_of_the_disk(
    store: ChunkStore, folder: CacheFolder
) -> None:
    chunk_file(folder.path, label()).mkdir()
    with pytest.raises(ChunkUnusable):
        stored(store)
    assert not list((folder.path / "tmp").iterdir())


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_folder_in_the_place_of_a_chunk_is_removed_when_there_is_nothing_in_it(
    store: ChunkStore, folder: CacheFolder, is_empty: bool
) -> None:
    place = chunk_file(folder.path, label())
    place.mkdir()
    if not is_empty:
        (place / "notes").touch()
    store.remove([label().name()])
    assert place.exists() is not is_empty
    if is_empty:
        assert bytes(store.load(label(), 1000, stored(store))) == PAYLOAD


# --- a disk that fails ---------------------------------------------------------------------------


@contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """Python ignores SIGXFSZ: a write beyond the limit is cut, the next one is EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_is_cut_short_leaves_nothing_and_tells_the_errno(
    store: ChunkStore, folder: CacheFolder
) -> None:
    with largest_file(500), pytest.raises(CacheError) as caught:
        stored(store)
    assert not isinstance(caught.value, ChunkUnusable)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert not list((folder.path / "tmp").iterdir())
    with pytest.raises(ChunkUnusable):
        store.load(label(), 1000, 0)


def test_folders_that_vanish_are_made_again(store: ChunkStore, folder: CacheFolder) -> None:
    for name in ("chunks", "tmp"):
        shutil.rmtree(folder.path / name)
    assert store.load(label(), 1000, stored(store)) == PAYLOAD


def test_a_cache_folder_that_was_removed_is_an_error_not_a_crash(
    store: ChunkStore, folder: CacheFolder
) -> None:
    checksum = stored(store)
    folder.path.rename(folder.path.with_name("moved"))
    assert store.load(label(), 1000, checksum) == PAYLOAD  # the folder is known by descriptor, not by name
    shutil.rmtree(folder.path.with_name("moved"))
    with pytest.raises(ChunkUnusable):
        store.load(label(), 1000, checksum)
    with pytest.raises(CacheError):
        stored(store)


# --- removing, listing, sweeping -----------------------------------------------------------------


def test_removed_chunks_are_gone_forgotten_and_may_be_missing(store: ChunkStore, folder: CacheFolder) -> None:
    store.load(label(), 1000, stored(store))
    store.remove([label().name(), label(1).name()])
    assert not store.is_verified(label().name())
    assert store.read_now(label().name(), 0, 1) is None
    assert not chunk_file(folder.path, label()).exists()


def test_a_shard_lists_its_chunks_and_a_chunk_describes_itself(
    store: ChunkStore, folder: CacheFolder
) -> None:
    checksums = {label(index).name(): stored(store, index) for index in range(3)}
    foreign = chunk_file(folder.path, label()).parent / "notes.txt"
    foreign.write_text("not ours")
    found = [name for shard in range(256) for name in store.list_shard(shard)]
    assert set(found) == set(checksums)
    for name in found:
        described = store.load_found(name)
        assert described.trailer.label.name() == name
        assert described.trailer.checksum == checksums[name]
        assert described.trailer.length == 1000
        assert described.disk_bytes == store.get_disk_bytes(label(), 1000)


@pytest.mark.parametrize("kept", [0, 10, 900, 1100])
def test_a_cut_chunk_does_not_describe_itself(store: ChunkStore, folder: CacheFolder, kept: int) -> None:
    stored(store)
    file = chunk_file(folder.path, label())
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ChunkUnusable):
        store.load_found(label().name())


def test_a_chunk_under_another_name_does_not_describe_itself(store: ChunkStore, folder: CacheFolder) -> None:
    stored(store, 0)
    stored(store, 1)
    chunk_file(folder.path, label(0)).replace(chunk_file(folder.path, label(1)))
    with pytest.raises(ChunkUnusable, match="another"):
        store.load_found(label(1).name())


def test_leftovers_of_earlier_runs_are_swept_and_nothing_else(store: ChunkStore, folder: CacheFolder) -> None:
    stored(store)
    leftover = folder.path / "tmp" / f"{'0' * 16}-7.tmp"
    foreign = folder.path / "tmp" / "notes.tmp"
    for file in (leftover, foreign):
        file.write_bytes(b"half")
    assert store.sweep_temporary() == 1
    assert not leftover.exists()
    assert foreign.exists()


# --- together ------------------------------------------------------------------------------------


def test_readers_never_see_another_files_bytes_while_chunks_come_and_go(folder: CacheFolder) -> None:
    """Descriptors are closed and their numbers reused all the time: a stale number would show at once."""
    store = ChunkStore(folder)
    payloads = [bytes([index]) * 1000 for index in range(8)]
    checksums = [write_chunk(store, label(index), payload) for index, payload in enumerate(payloads)]
    seen: Counter[str] = Counter()

    def check(index: int, how: str, part: bytes | bytearray | memoryview | None) -> None:
        seen[how if part is not None else "miss"] += 1
        if part is not None and part != payloads[index][:50]:
            seen["wrong"] += 1

    def read_in_thread(rounds: int) -> None:
        for turn in range(rounds):
            index = turn % 8
            try:
                check(index, "part", store.read(label(index).name(), 100, 50))
            except ChunkUnusable:
                with suppress(ChunkUnusable):
                    check(index, "whole", store.load(label(index), 1000, checksums[index])[100:150])

    def churn(rounds: int) -> None:
        for turn in range(rounds):
            store.remove([label(turn % 8).name()])
            write_chunk(store, label(turn % 8), payloads[turn % 8])

    threads = [threading.Thread(target=read_in_thread, args=(1000,)) for _ in range(2)]
    threads.append(threading.Thread(target=churn, args=(300,)))
    for thread in threads:
        thread.start()
    turn = 0
    while any(thread.is_alive() for thread in threads):
        check(turn % 8, "now", store.read_now(label(turn % 8).name(), 100, 50))
        turn += 1
    store.close()
    assert seen["wrong"] == 0
    assert seen["part"] > 0
    assert seen["whole"] > 0


def test_no_descriptor_is_left_open(folder: CacheFolder) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = ChunkStore(folder)
    for index in range(300):
        tiny = label(index, chunk_size=1)
        checksum = write_chunk(store, tiny, b"x")
        store.load(tiny, 1, checksum)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 256
    store.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_tmpfs_is_read_in_the_loop_though_it_knows_no_nowait() -> None:
    shared_memory = Path("/dev/shm")
    fd = os.open(shared_memory, os.O_RDONLY) if shared_memory.is_dir() else None
    if fd is None or file_system_type(fd) != "tmpfs":
        pytest.skip("/dev/shm is not a tmpfs here")
    os.close(fd)
    cache = shared_memory / f"fuse4dbricks-test-{os.getpid()}"
    try:
        with CacheFolder.open(cache) as folder:
            store = ChunkStore(folder)
            store.load(label(), 1000, write_chunk(store, label(), PAYLOAD))
            assert bytes(store.read_now(label().name(), 5, 5) or b"") == PAYLOAD[5:10]
            store.close()
    finally:
        shutil.rmtree(cache)
