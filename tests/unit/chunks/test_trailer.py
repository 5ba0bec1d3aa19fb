import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuse4dbricks.chunks.trailer import (
    FOOTER_BYTES,
    Trailer,
    decode_trailer,
    payload_checksum,
    trailer_length,
)
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import ChunkUnusable
from fuse4dbricks.paths import RemotePath
from tests.support.labels import label

_text = st.text(st.characters(codec="utf-8"), max_size=20)
_versions = st.builds(
    Version,
    st.integers(0, 1 << 50),
    st.none() | st.integers(-(1 << 40), 1 << 40),
    st.none() | _text,
    st.integers(0, 1 << 40),
)


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(_text),
    _versions,
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.integers(0, (1 << 63) - 1),
)
def test_a_trailer_says_all_that_a_rebuilt_index_needs(
    parts: list[str], version: Version, index: int, length: int, checksum: int
) -> None:
    written = Trailer(label(index, path=RemotePath(tuple(parts)), version=version), length, checksum, 17)
    raw = written.encode()
    read = decode_trailer(raw, length + len(raw))
    assert read == written
    assert read.label.owner == "42"
    assert trailer_length(raw[-FOOTER_BYTES:]) == len(raw)


def test_every_flipped_bit_is_noticed() -> None:
    raw = Trailer(label(), 1000, 12345, 17).encode()
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ChunkUnusable):
            decode_trailer(bytes(flipped), 1000 + len(raw))


@pytest.mark.parametrize("kept", [0, 1, FOOTER_BYTES - 1, FOOTER_BYTES, FOOTER_BYTES + 1])
def test_a_cut_trailer_is_noticed(kept: int) -> None:
    raw = Trailer(label(), 1000, 12345, 17).encode()
    with pytest.raises(ChunkUnusable):
        decode_trailer(raw[len(raw) - kept :], 1000 + kept)
    with pytest.raises(ChunkUnusable):
        decode_trailer(raw[:kept], 1000 + kept)


def test_a_trailer_of_another_length_of_file_is_noticed() -> None:
    raw = Trailer(label(), 1000, 12345, 17).encode()
    with pytest.raises(ChunkUnusable, match="payload"):
        decode_trailer(raw, 1001 + len(raw))


def test_the_checksum_is_bound_to_the_chunk_and_fits_a_signed_integer() -> None:
    sums = {payload_checksum(b"the same bytes", label(index).name()) for index in range(100)}
    assert len(sums) == 100
    assert all(0 <= one < 1 << 63 for one in sums)
