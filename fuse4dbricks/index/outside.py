"""Reading the index from another process than the mount's, for a person at a terminal.

The difficulty: the folder may be none, half made, damaged, another program's or a newer one's, and a mount may write in it
meanwhile. Nobody waits in an event loop here, so a lock is waited for; and whatever is wrong with the file, on opening it or in
the middle of an answer, comes out as one line that says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.connection import open_reader
from fuse4dbricks.index.migrations import refuse_newer

#: Milliseconds to wait for a lock; nobody waits in a loop here.
BUSY_MS = 5000


def open_outside(file: Path) -> apsw.Connection:
    """A read-only connection to the index ``file``, which waits for locks.

    Links on the way to its folder are followed: they are the person's own; the file itself must be none.

    Raises:
        apsw.Error: it cannot be opened.
    """
    return open_reader(file.parent.resolve() / file.name, busy_ms=BUSY_MS)


@contextmanager
def reading_from_outside(file: Path) -> Iterator[apsw.Connection]:
    """The index ``file``, read-only, for the length of a block; what goes wrong in the block is mapped, too.

    Raises:
        CacheFolderError: there is none, it is damaged, another program's or a newer one's.
    """
    try:
        db = open_outside(file)
        try:
            refuse_newer(db, file)
            yield db
        finally:
            db.close(force=True)
    except apsw.CantOpenError as error:
        raise CacheFolderError(f"the cache folder {file.parent} has no index that can be opened") from error
    except (apsw.Error, ValueError) as error:  # ValueError: text that is none, values that cannot be
        raise CacheFolderError(
            f"the index {file} cannot be read ({error}); `fuse4dbricks cache rebuild` makes a new one"
        ) from error
