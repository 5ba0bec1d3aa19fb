"""Chunks opened ahead are verified by the read that first takes them, in the loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.errors import ChunkUnusable
from tests.support.labels import chunk_file, label
from tests.support.stores import write_chunk

PAYLOAD = bytes(range(250)) * 4
NAME = label().name()


@pytest.fixture
def file(store: ChunkStore, folder: CacheFolder) -> Path:
    """Of a chunk that was stored."""
    write_chunk(store, label(), PAYLOAD)
    return chunk_file(folder.path, label())


def checksum_of(store: ChunkStore) -> int:
    """Of the chunk's bytes, by storing it anew."""
    return write_chunk(store, label(), PAYLOAD)


def test_the_first_read_verifies_and_answers(store: ChunkStore) -> None:
    store.open_ahead([(NAME, 1000, checksum_of(store))])
    assert store.is_open(NAME)
    assert not store.is_verified(NAME)
    assert store.read_now(NAME, 10, 20) == PAYLOAD[10:30]
    assert store.is_verified(NAME)
    assert store.read_now(NAME, 0, 1000) == PAYLOAD
    assert store.read_now(NAME, 990, 100) == PAYLOAD[990:]


def test_nothing_but_a_read_in_the_loop_trusts_it(store: ChunkStore) -> None:
    store.open_ahead([(NAME, 1000, checksum_of(store))])
    with pytest.raises(ChunkUnusable, match="not verified"):
        store.read(NAME, 0, 10)


def test_opened_again_after_it_was_verified_it_is_still_verified(store: ChunkStore) -> None:
    checksum = checksum_of(store)
    store.load(label(), 1000, checksum)
    store.close()
    store.open_ahead([(NAME, 1000, checksum)])
    assert store.read(NAME, 0, 10) == PAYLOAD[:10]


@pytest.mark.parametrize("place", range(0, 1000, 37))
def test_a_flipped_bit_is_no_answer(store: ChunkStore, file: Path, place: int) -> None:
    checksum = checksum_of(store)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    store.open_ahead([(NAME, 1000, checksum)])
    assert store.read_now(NAME, 0, 1000) is None
    assert not store.is_open(NAME)
    with pytest.raises(ChunkUnusable):
        store.load(label(), 1000, checksum)


@pytest.mark.parametrize("change", [b"", b"short", PAYLOAD, PAYLOAD * 2])
def test_a_file_of_another_length_is_not_opened(store: ChunkStore, file: Path, change: bytes) -> None:
    checksum = checksum_of(store)
    file.write_bytes(change)
    store.open_ahead([(NAME, 1000, checksum)])
    assert not store.is_open(NAME)
    assert store.read_now(NAME, 0, 10) is None


def test_a_file_that_grew_is_not_opened(store: ChunkStore, file: Path) -> None:
    checksum = checksum_of(store)
    with file.open("ab") as growing:
        growing.write(b"more")
    store.open_ahead([(NAME, 1000, checksum)])
    assert not store.is_open(NAME)


def test_the_right_bytes_of_another_chunk_are_no_answer(
    store: ChunkStore, folder: CacheFolder, file: Path
) -> None:
    checksum = checksum_of(store)
    write_chunk(store, label(1), PAYLOAD)
    file.write_bytes(chunk_file(folder.path, label(1)).read_bytes())
    store.open_ahead([(NAME, 1000, write_chunk(store, label(1), PAYLOAD))])
    assert store.read_now(NAME, 0, 1000) is None
    store.open_ahead([(NAME, 1000, checksum)])
    assert not store.is_open(NAME), "the bytes are the same, but the file says of itself that it is another's"


def test_a_write_between_opening_and_reading_is_noticed(store: ChunkStore, file: Path) -> None:
    store.open_ahead([(NAME, 1000, checksum_of(store))])
    file.write_bytes(file.read_bytes())
    assert store.read_now(NAME, 0, 1000) is None


def test_missing_chunks_and_folders_in_their_place_are_passed_over(store: ChunkStore, file: Path) -> None:
    checksum = checksum_of(store)
    file.unlink()
    file.mkdir()
    store.open_ahead([(label(2).name(), 1000, 1), (NAME, 1000, checksum), (label(1).name(), 1000, 1)])
    assert not store.is_open(NAME)
    assert not store.is_open(label(2).name())
