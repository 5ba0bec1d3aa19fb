"""Chunks opened in the loop: what is in memory at once, everything else never, and nothing unverified."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.chunks.cached_open import CachedOpener
from fuse4dbricks.chunks.layout import MARKER
from fuse4dbricks.chunks.nowait import NoWaitReader, file_system_type
from fuse4dbricks.chunks.store import MAX_OPEN_NOW
from fuse4dbricks.errors import ChunkUnusable
from tests.support.labels import chunk_file, label
from tests.support.openers import FailingCall, of_another_owner, plain
from tests.support.stores import write_chunk

PAYLOAD = bytes(range(250)) * 4
NAME = label().name()

#: What a kernel answers that has not this call, has not this flag, or may not be asked.
NEVER = [errno.ENOSYS, errno.EINVAL, errno.EPERM]


@pytest.fixture(params=["openat2", "plain"])
def store(request: pytest.FixtureRequest, folder: CacheFolder) -> Iterator[ChunkStore]:
    opener = CachedOpener() if request.param == "openat2" else CachedOpener(plain)
    if not opener.is_able or opener.open(folder.fd, NAME) is not None or not opener.is_able:
        pytest.skip("no openat2 with RESOLVE_CACHED here")
    opened = ChunkStore(folder, opener=opener)
    yield opened
    opened.close()


@pytest.fixture
def checksum(store: ChunkStore) -> int:
    """Of a chunk that was stored."""
    return write_chunk(store, label(), PAYLOAD)


@pytest.fixture
def file(folder: CacheFolder) -> Path:
    return chunk_file(folder.path, label())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_chunk_in_memory_is_opened_and_verified_by_its_first_read(store: ChunkStore, checksum: int) -> None:
    assert store.open_now(NAME, 1000, checksum)
    assert store.is_open(NAME)
    assert not store.is_verified(NAME)
    assert store.read_now(NAME, 10, 20) == PAYLOAD[10:30]
    assert store.is_verified(NAME)
    assert store.read_now(NAME, 0, 1000) == PAYLOAD


def test_a_chunk_that_is_open_is_not_opened_again(store: ChunkStore, checksum: int) -> None:
    assert store.open_now(NAME, 1000, checksum)
    before = descriptors()
    assert store.open_now(NAME, 1000, checksum)
    assert descriptors() == before


def test_what_was_verified_before_is_still_verified(store: ChunkStore, checksum: int) -> None:
    store.load(label(), 1000, checksum)
    store.close()
    assert store.open_now(NAME, 1000, checksum)
    assert store.read(NAME, 0, 10) == PAYLOAD[:10]


@pytest.mark.parametrize("place", range(0, 1000, 111))
def test_a_flipped_bit_is_no_answer(store: ChunkStore, checksum: int, file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    store.open_now(NAME, 1000, checksum)
    assert store.read_now(NAME, 0, 1000) is None
    assert not store.is_open(NAME)
    with pytest.raises(ChunkUnusable):
        store.load(label(), 1000, checksum)


@pytest.mark.parametrize("place", [-1, -9, -17, -30, -100])
@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_flipped_bit_in_the_trailer_is_noticed(
    store: ChunkStore, checksum: int, file: Path, place: int, is_ahead: bool
) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    if is_ahead:
        store.open_ahead([(NAME, 1000, checksum)])
    assert not store.is_open(NAME)
    assert not store.open_now(NAME, 1000, checksum)


@pytest.mark.parametrize("change", [b"", b"short", b"F" * 39, b"F" * 40, PAYLOAD, PAYLOAD * 2])
def test_a_file_of_another_length_is_not_opened(
    store: ChunkStore, checksum: int, file: Path, change: bytes
) -> None:
    file.write_bytes(change)
    before = descriptors()
    assert not store.open_now(NAME, 1000, checksum)
    assert store.read_now(NAME, 0, 10) is None
    assert descriptors() == before


def test_a_file_that_grew_or_whose_row_has_another_length_is_not_opened(
    store: ChunkStore, checksum: int, file: Path
) -> None:
    assert not store.open_now(NAME, 999, checksum)
    with file.open("ab") as growing:
        growing.write(b"more")
    assert not store.open_now(NAME, 1000, checksum)


@pytest.mark.parametrize("kind", ["missing", "link", "fifo", "folder", "no shard"])
def test_what_is_not_a_chunk_file_is_never_waited_for(
    store: ChunkStore, checksum: int, file: Path, tmp_path: Path, kind: str
) -> None:
    file.rename(tmp_path / "victim")
    if kind == "link":
        file.symlink_to(tmp_path / "victim")
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "no shard":
        file.parent.rmdir()
    before = descriptors()
    assert not store.open_now(NAME, 1000, checksum)
    assert not store.is_open(NAME)
    store.open_ahead([(label(1).name(), 1000, 1), (NAME, 1000, checksum), (label(2).name(), 1000, 1)])
    assert not store.is_open(NAME)
    assert descriptors() == before


def test_no_link_is_followed_on_the_way(folder: CacheFolder, tmp_path: Path) -> None:
    store = ChunkStore(folder)
    checksum = write_chunk(store, label(), PAYLOAD)
    shard = chunk_file(folder.path, label()).parent
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    assert not store.open_now(NAME, 1000, checksum)
    store.close()


def test_a_replaced_or_removed_chunk_is_not_read_from_its_old_descriptor(
    store: ChunkStore, checksum: int, file: Path
) -> None:
    assert store.open_now(NAME, 1000, checksum)
    other = write_chunk(store, label(), PAYLOAD[::-1])
    assert store.read_now(NAME, 0, 1000) is None
    assert store.open_now(NAME, 1000, other)
    assert store.read_now(NAME, 0, 1000) == PAYLOAD[::-1]
    twin = file.with_name("twin")
    twin.write_bytes(file.read_bytes())
    twin.replace(file)
    assert store.read_now(NAME, 0, 1000) is None, "the file that was opened lost its name"
    store.remove([NAME])
    assert not store.open_now(NAME, 1000, other)


def test_a_write_between_opening_and_reading_is_noticed(store: ChunkStore, checksum: int, file: Path) -> None:
    assert store.open_now(NAME, 1000, checksum)
    file.write_bytes(file.read_bytes())
    assert store.read_now(NAME, 0, 1000) is None


@pytest.mark.parametrize("way", ["now", "ahead", "load"])
def test_a_read_writes_nothing_not_even_its_time(folder: CacheFolder, file: Path, way: str) -> None:
    store = ChunkStore(folder)
    checksum = write_chunk(store, label(), PAYLOAD)
    # Earlier than the last write, so that the kernel would note the first read, unless mounted without.
    os.utime(file, ns=(10**18, file.stat().st_mtime_ns))
    if way == "now" and not store.open_now(NAME, 1000, checksum):
        pytest.skip("no openat2 with RESOLVE_CACHED here")
    if way == "ahead":
        store.open_ahead([(NAME, 1000, checksum)])
    elif way == "load":
        store.load(label(), 1000, checksum)
    assert store.read_now(NAME, 0, 1000) == PAYLOAD
    assert file.stat().st_atime_ns == 10**18
    store.close()


def test_a_large_chunk_is_left_to_threads(store: ChunkStore) -> None:
    large = label(chunk_size=MAX_OPEN_NOW + 1)
    checksum = write_chunk(store, large, bytes(MAX_OPEN_NOW + 1))
    assert not store.open_now(large.name(), MAX_OPEN_NOW + 1, checksum)


@pytest.mark.parametrize("number", NEVER)
def test_a_kernel_without_the_call_is_asked_once(folder: CacheFolder, number: int) -> None:
    call = FailingCall(number)
    store = ChunkStore(folder, opener=CachedOpener(call))
    checksum = write_chunk(store, label(), PAYLOAD)
    assert not store.open_now(NAME, 1000, checksum)
    # A filter's EPERM might be about the one file, so that is asked for in the other way as well.
    assert call.calls == (2 if number == errno.EPERM else 1)
    call.number, call.calls = None, 0
    assert not store.open_now(NAME, 1000, checksum)
    assert call.calls == 0
    store.open_ahead([(NAME, 1000, checksum)])
    assert store.read_now(NAME, 0, 1000) == PAYLOAD
    store.close()


def test_a_file_of_another_owner_is_opened_in_the_loop_and_so_is_the_next_one(folder: CacheFolder) -> None:
    opener = CachedOpener(of_another_owner)
    store = ChunkStore(folder, opener=opener)
    checksum = write_chunk(store, label(), PAYLOAD)
    assert store.open_now(NAME, 1000, checksum)
    assert store.read_now(NAME, 0, 1000) == PAYLOAD
    assert opener.is_able
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
def test_the_kernel_refuses_to_read_a_file_of_another_owner_without_a_trace_and_lets_it_be_read(
    folder: CacheFolder, file: Path
) -> None:
    opener = CachedOpener()
    store = ChunkStore(folder, opener=opener)
    checksums = {label(n).name(): write_chunk(store, label(n), PAYLOAD) for n in (0, 1)}
    me, nobody = os.geteuid(), 65_534
    for each in (folder.path, *folder.path.rglob("*")):
        os.chown(each, nobody, -1)
    os.chown(file, me, -1)
    file.chmod(0o644)
    if not all(store.open_now(name, 1000, checksum) for name, checksum in checksums.items()):
        pytest.skip("no openat2 with RESOLVE_CACHED here")
    store.close()
    os.seteuid(nobody)
    try:
        opened = [store.open_now(name, 1000, checksum) for name, checksum in checksums.items()]
        read = [store.read_now(name, 0, 1000) for name in checksums]
    finally:
        os.seteuid(me)
    assert (opened, read, opener.is_able) == ([True, True], [PAYLOAD, PAYLOAD], True)
    store.close()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.EIO, errno.EXDEV])
def test_a_name_that_has_to_be_waited_for_is_asked_for_the_next_time(
    folder: CacheFolder, number: int
) -> None:
    call = FailingCall(number)
    store = ChunkStore(folder, opener=CachedOpener(call))
    checksum = write_chunk(store, label(), PAYLOAD)
    assert not store.open_now(NAME, 1000, checksum)
    call.number = None
    assert store.open_now(NAME, 1000, checksum)
    store.close()


def test_without_any_way_threads_open(folder: CacheFolder) -> None:
    store = ChunkStore(folder, opener=CachedOpener(None))
    assert not store.open_now(NAME, 1000, write_chunk(store, label(), PAYLOAD))
    store.close()


def test_nothing_is_opened_on_a_file_system_that_was_not_seen_to_refuse_waiting(folder: CacheFolder) -> None:
    if file_system_type(folder.fd) == "tmpfs":
        pytest.skip("a file system in memory needs no proof")
    (folder.path / MARKER).rename(folder.path / "marker")
    call = FailingCall(None)
    store = ChunkStore(folder, opener=CachedOpener(call))
    checksum = write_chunk(store, label(), PAYLOAD)
    other = write_chunk(store, label(1), PAYLOAD)
    assert not store.open_now(NAME, 1000, checksum)
    assert call.calls == 0
    store.load(label(1), 1000, other)
    assert store.read_now(label(1).name(), 0, 10) == PAYLOAD[:10], "the first proof"
    assert store.open_now(NAME, 1000, checksum)
    store.close()


def test_a_short_read_shows_nothing_of_the_buffer(tmp_path: Path) -> None:
    content = bytearray(os.urandom(200_000))
    (tmp_path / "file").write_bytes(content)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        reader = NoWaitReader(fd)
        assert reader.read(fd, 0, 200_000) == content
        assert reader.read(fd, 7, 150_000) == content[7:150_007]
        assert reader.read(fd, 100_000, 150_000) is None
        assert reader.read(fd, 0, 0) == bytearray()
        first, second = reader.read(fd, 0, 100_000), reader.read(fd, 100_000, 100_000)
        assert (first, second) == (content[:100_000], content[100_000:]), "each has a buffer of its own"
    finally:
        os.close(fd)
