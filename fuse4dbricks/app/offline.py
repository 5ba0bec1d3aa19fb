"""What can be read without a network: listing it, writing it down, and holding it against what was written down.

The difficulty: a manifest is for people who want to know before they leave the network, and for scripts that compare
it weeks later, perhaps with files elsewhere. So it carries a plain SHA-256 of each file's bytes, read from the chunk
files and not believed of any index, and it is written whole or not at all. It may name millions of files, so each is
written down before the next is looked for, and none is kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse4dbricks.app.below import Below
from fuse4dbricks.app.whole_file import writing_whole
from fuse4dbricks.chunks import CacheFolder, ChunkName
from fuse4dbricks.chunks.found import read_found
from fuse4dbricks.errors import CacheError, ChunkUnusable, ConfigError
from fuse4dbricks.index.offline import OfflineFile, OfflineIndex, offline_index
from fuse4dbricks.paths import RemotePath

KIND = "fuse4dbricks offline manifest"
#: Of the manifest; grows when a field changes its meaning or goes.
SCHEMA = 1

#: Bytes of a manifest that are read: some two million files.
MAX_MANIFEST_BYTES = 1 << 30

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not as a manifest has it.

    Attributes:
        host, path: of the file.
        why: ``gone``, ``changed``, ``incomplete`` or ``damaged``.
    """

    host: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a manifest names: so many files, of so many bytes."""

    files: int
    bytes: int


@contextmanager
def opened(path: Path) -> Iterator[tuple[CacheFolder, OfflineIndex | None]]:
    """The cache folder at ``path`` and its index, if something was ever cached; for its owner alone.

    Raises:
        CacheFolderError: it cannot be used.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        if not folder.index_path.exists():
            yield folder, None
            return
        with offline_index(folder.index_path) as index:
            yield folder, index


def list_files(path: Path, below: Below) -> Iterator[OfflineFile]:
    """Of which of the files something could be read, in the cache folder ``path``: one after the other.

    Raises:
        CacheFolderError: it cannot be used; at the first file, or when damage is come upon.
    """
    with opened(path) as (_, index):
        yield from _files(index, below)


def _files(index: OfflineIndex | None, below: Below) -> Iterator[OfflineFile]:
    if index is not None:
        shows = below.visibility.shows
        yield from (each for each in index.files(below.under, below.host) if shows(each.path))


def _complete_files(index: OfflineIndex | None, below: Below) -> Iterator[OfflineFile]:
    return (each for each in _files(index, below) if each.is_complete)


def write_manifest(path: Path, below: Below, out: Path, on_progress: OnProgress) -> Written:
    """Write every complete file with its checksum into ``out``.

    It is for its owner alone, in place of an older one, whole or not at all. ``on_progress`` is told the bytes that
    are read, and of how many.

    Raises:
        CacheFolderError: the folder cannot be used.
        ConfigError: it cannot be written there.
    """
    with opened(path) as (folder, index), writing_whole(out) as stream:
        total = sum(each.version.size for each in _complete_files(index, below))
        head = {"kind": KIND, "schema": SCHEMA, "made_at": time.time(), "under": str(below.under)}
        stream.write(f'{json.dumps(head).removesuffix("}")}, "files": [')
        done = files = size = 0
        for file in _complete_files(index, below):
            assert index is not None  # there are files
            digest = _digest(folder, index, file)
            done += file.version.size
            on_progress(done, max(done, total))
            if digest is not None:
                stream.write(("," if files else "") + "\n" + json.dumps(_described(file, digest)))
                files, size = files + 1, size + file.version.size
        stream.write(f'\n], "bytes": {size}}}\n')
    return Written(files, size)


def _described(file: OfflineFile, digest: str) -> dict[str, Any]:
    version = file.version
    return {
        "host": file.host,
        "path": str(file.path),
        "size": version.size,
        "last_modified": version.last_modified,
        "etag": version.etag,
        "sha256": digest,
    }


def _digest(folder: CacheFolder, index: OfflineIndex, file: OfflineFile) -> str | None:
    """SHA-256 of a file's bytes; None when some are missing or are not what was written."""
    sha, size = hashlib.sha256(), 0
    try:
        for name in index.chunk_names(file):
            trailer, payload = read_found(folder.fd, ChunkName(name))
            label = trailer.label
            if label.chunk_index * label.chunk_size != size:
                return None
            sha.update(payload)
            size += len(payload)
    except (ChunkUnusable, CacheError):
        return None
    return sha.hexdigest() if size == file.version.size else None


def read_manifest(file: Path) -> list[dict[str, Any]]:
    """The files of a manifest.

    Raises:
        ConfigError: it is none, or one of another version.
    """
    try:
        with file.open("rb") as stream:
            manifest = json.loads(stream.read(MAX_MANIFEST_BYTES))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise ConfigError(f"{file} is no manifest") from None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ConfigError(f"{file} is no manifest")
    if manifest.get("schema") != SCHEMA:
        raise ConfigError(
            f"{file} is a manifest of version {manifest.get('schema')!r}; this one knows {SCHEMA}"
        )
    files = manifest.get("files")
    if not isinstance(files, list) or not all(map(_is_described, files)):
        raise ConfigError(f"{file} is no manifest: its files are not described as they should be")
    return files


def _is_described(each: object) -> bool:
    return (
        isinstance(each, dict)
        and all(isinstance(each.get(field), str) for field in ("host", "path", "sha256"))
        and isinstance(each.get("size"), int)
        and each["path"].startswith("/Volumes/")
    )


def compare(path: Path, wanted: list[dict[str, Any]], on_progress: OnProgress) -> list[Difference]:
    """What is not as a manifest has it: every byte is read.

    Raises:
        CacheFolderError: the folder cannot be used.
    """
    differences = []
    with opened(path) as (folder, index):
        done, total = 0, sum(each["size"] for each in wanted)
        for each in wanted:
            why = "gone" if index is None else _why_different(folder, index, each)
            if why:
                differences.append(Difference(each["host"], each["path"], why))
            done += each["size"]
            on_progress(done, total)
    return differences


def _why_different(folder: CacheFolder, index: OfflineIndex, wanted: dict[str, Any]) -> str:
    path = RemotePath(tuple(wanted["path"].removeprefix("/Volumes/").split("/")))
    file = index.find(path, wanted["host"])
    if file is None:
        return "gone"
    version = file.version
    if (version.size, version.last_modified) != (wanted["size"], wanted.get("last_modified")):
        return "changed"
    if not file.is_complete:
        return "incomplete"
    return "" if _digest(folder, index, file) == wanted["sha256"] else "damaged"
