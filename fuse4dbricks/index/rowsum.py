"""A checksum of what a row means.

The difficulty: flip one bit in a SQLite file and in a third of the cases ``integrity_check`` still calls it sound,
while a size, a name or an expiry has changed (faults.md F8). So each row that an answer is made of carries a sum
over its meaning: the host, the path and the viewer in words as well as its own values, not the numbers that join
tables. A flip in an index, in a joined row or in the row itself then shows as a sum that does not fit, and the row is
a miss. This is against decay, not against an enemy: whoever can write the folder can write a fitting sum.
"""

from __future__ import annotations

import xxhash

from fuse4dbricks.entry import Version

_SIGN = 1 << 63
_RANGE = 1 << 64


def to_signed(value: int) -> int:
    """An unsigned 64-bit number as SQLite can store it."""
    return value - _RANGE if value >= _SIGN else value


def to_unsigned(value: int) -> int:
    """The inverse of :func:`to_signed`."""
    return value + _RANGE if value < 0 else value


def seal(*fields: str | float | bytes | None) -> int:
    """The sum over ``fields``, of which the first should name the table.

    ``ascii`` of a tuple is unambiguous, the same in every Python version, and half of the 2 µs this takes; ``repr`` is
    not, because what counts as printable changes with the Unicode tables.
    """
    return to_signed(xxhash.xxh3_64_intdigest(ascii(fields).encode()))


def version_key(version: Version) -> int:
    """A version as one number, to be compared where NULLs do not compare."""
    return seal("version", version.size, version.last_modified, version.etag, version.unsettled_at)
