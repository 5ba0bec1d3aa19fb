"""What an exception says about the index.

The difficulty: a full disk, a damaged file, a busy lock and a value that does not fit all arrive as exceptions of one
library, and some damage does not even do that (6 % of the bit flips in faults.md F8 came up as
``UnicodeDecodeError``). Each needs another answer: wait, set the file aside, try again, or drop the one operation.
"""

from __future__ import annotations

import enum

import apsw


class Ailment(enum.Enum):
    """What is wrong; the values are the ``reason`` label of the metrics."""

    BUSY = "busy"  # somebody holds a lock: the same thing may work at once
    SICK = "disk"  # the disk or the file system fails or is full: it may work later
    CORRUPT = "corrupt"  # the file is damaged: it will not work with this file
    REJECTED = "rejected"  # this operation or this row cannot be; the others can


_BUSY = (apsw.BusyError, apsw.LockedError, apsw.InterruptError, apsw.SchemaChangeError)
_CORRUPT = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)
_SICK = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.NoMemError,
    apsw.NoLFSError,
    apsw.ProtocolError,
    apsw.ConnectionClosedError,
    OSError,
    MemoryError,
)
#: What SQLite says when a statement of ours does not fit the schema, which can only be damage to the schema.
_SCHEMA_DAMAGE = ("no such table", "no such column", "has no column named", "malformed database schema")


def diagnose(error: Exception) -> Ailment:
    """What ``error``, raised by a statement of ours, says."""
    if isinstance(error, _BUSY):
        return Ailment.BUSY
    if isinstance(error, _CORRUPT):
        return Ailment.CORRUPT
    if isinstance(error, _SICK):
        return Ailment.SICK
    if isinstance(error, apsw.SQLError) and any(words in str(error) for words in _SCHEMA_DAMAGE):
        return Ailment.CORRUPT
    return Ailment.REJECTED
