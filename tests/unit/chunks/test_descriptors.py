import os
from pathlib import Path

import pytest

from fuse4dbricks.chunks.descriptors import Descriptors, OpenChunk, stamp_of
from fuse4dbricks.chunks.label import ChunkName


def opened(file: Path) -> OpenChunk:
    file.write_bytes(b"content")
    fd = os.open(file, os.O_RDONLY)
    return OpenChunk(fd, stamp_of(os.fstat(fd)), 7)


def is_open(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").exists()


def names(count: int) -> list[ChunkName]:
    return [ChunkName(bytes([number]) * 16) for number in range(count)]


def test_the_least_recently_used_is_closed_first(tmp_path: Path) -> None:
    cache = Descriptors(limit=2)
    one, two, three = names(3)
    chunks = {name: opened(tmp_path / name.hex()) for name in (one, two, three)}
    cache.keep(one, chunks[one])
    cache.keep(two, chunks[two])
    lent = cache.borrow(one)
    assert lent is chunks[one]
    cache.give_back(lent)
    cache.keep(three, chunks[three])
    assert not is_open(chunks[two].fd)
    assert cache.borrow(two) is None
    assert len(cache) == 2
    cache.close()
    assert not is_open(chunks[one].fd)
    assert not is_open(chunks[three].fd)


@pytest.mark.parametrize("way", ["forget", "close", "replace"])
def test_a_borrowed_descriptor_is_closed_by_its_last_user(tmp_path: Path, way: str) -> None:
    cache = Descriptors()
    (name,) = names(1)
    chunk = opened(tmp_path / "chunk")
    cache.keep(name, chunk)
    assert cache.borrow(name) is cache.borrow(name) is chunk
    if way == "forget":
        cache.forget(name)
    elif way == "close":
        cache.close()
    else:
        cache.keep(name, opened(tmp_path / "newer"))
    assert is_open(chunk.fd)
    cache.give_back(chunk)
    assert is_open(chunk.fd)
    cache.give_back(chunk)
    assert not is_open(chunk.fd)
    cache.close()
