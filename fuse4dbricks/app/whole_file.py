"""Files that people ask for by name: a report, a manifest.

The difficulty: they hold names, which are as protected as the bytes of files, and an older one of the same name may be all that
somebody has. So a new one is its owner's alone from the first byte on, and takes the old one's place when it is whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from fuse4dbricks.errors import ConfigError


@contextmanager
def writing_whole(file: Path) -> Iterator[TextIO]:
    """What is written in the block is in ``file`` at its end, with mode 0600; when the block fails, nothing is.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                yield stream
            Path(temporary).replace(file)
        except BaseException:  # raised on: only the temporary file must not stay
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error
