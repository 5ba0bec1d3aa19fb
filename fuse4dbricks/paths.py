"""Names and paths, and the only place where either becomes part of a URL.

The difficulty: names come from two untrusted sides. The kernel gives bytes that need not be UTF-8; the server
gives strings that may be ``..``, hold ``/`` or NUL, or carry a lone surrogate that cannot be encoded at all.
A name passes one of the two checks here before anything else sees it, a path is always built from a parent and
a checked name, and each part is percent-encoded on its own, so that ``c?x=1`` can never alias ``c``.
"""

from __future__ import annotations

from urllib.parse import quote

from fuse4dbricks.entry import Kind
from fuse4dbricks.errors import NameTooLong, NoSuchName

#: Linux NAME_MAX, in bytes of UTF-8.
NAME_MAX = 255

#: Where the workspace has its volumes.
VOLUMES = "/Volumes"

_IMPOSSIBLE = frozenset({b"", b".", b".."})
_KIND_BY_DEPTH = (Kind.ROOT, Kind.CATALOG, Kind.SCHEMA, Kind.VOLUME)


def name_from_kernel(raw: bytes) -> str:
    """Decode a name that a local program asked for.

    Raises:
        NameTooLong: over :data:`NAME_MAX` bytes.
        NoSuchName: it cannot exist remotely: not UTF-8, or what :func:`why_unusable` would leave out.
    """
    if len(raw) > NAME_MAX:
        raise NameTooLong(f"a name of {len(raw)} bytes; {NAME_MAX} is the limit")
    if raw in _IMPOSSIBLE or b"/" in raw or b"\0" in raw:
        raise NoSuchName("the name cannot be that of an entry")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NoSuchName("the name is not UTF-8") from None


def why_unusable(name: object) -> str | None:
    """Why a server-supplied name cannot be shown in a folder, or None when it can."""
    if not isinstance(name, str) or not name:
        return "empty"
    if name in {".", ".."}:
        return "a relative path"
    if "/" in name or "\0" in name:
        return "holds a slash or NUL"
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "not encodable as UTF-8"
    return None if length <= NAME_MAX else f"{length} bytes long"


def quote_part(part: str) -> str:
    """Percent-encode one path component, slashes included."""
    return quote(part, safe="")


class RemotePath:
    """A place in the workspace: ``()`` is the root, then catalog, schema, volume, and what is inside. Immutable.

    Attributes:
        parts: checked names, never empty strings.
    """

    # A dict keyed by path is the hot lookup of every cache, and a path is made for every request: hashed once,
    # and without a dataclass's or cached_property's own cost, which is a third of a cached stat.
    __slots__ = ("_hash", "_parent", "_volume", "parts")

    parts: tuple[str, ...]

    def __init__(self, parts: tuple[str, ...] = ()) -> None:
        self.parts = parts
        self._hash = hash(parts)
        self._parent: RemotePath | None = None
        self._volume: RemotePath | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, RemotePath) and self.parts == other.parts)

    def __repr__(self) -> str:
        return f"RemotePath({self.parts!r})"

    def __str__(self) -> str:
        return VOLUMES + "".join(f"/{part}" for part in self.parts)

    @property
    def name(self) -> str:
        """The last component; empty for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> RemotePath:
        """The folder that holds it; the root is its own parent."""
        if self._parent is None:
            self._parent = RemotePath(self.parts[:-1])
        return self._parent

    def child(self, name: str) -> RemotePath:
        """The path of a checked name inside this folder."""
        path = RemotePath((*self.parts, name))
        # Whoever makes a path of a file goes on to ask for both.
        path._parent = self
        path._volume = self if len(self.parts) == 3 else self._volume
        return path

    @property
    def depth(self) -> int:
        """0 for the root, 3 for a volume."""
        return len(self.parts)

    @property
    def in_volume(self) -> bool:
        """Whether it is a volume or lies inside one."""
        return len(self.parts) >= 3

    @property
    def volume(self) -> RemotePath:
        """The volume that it is or lies in.

        Raises:
            ValueError: for the root, a catalog or a schema.
        """
        if self._volume is None:
            if not self.in_volume:
                raise ValueError(f"{self} is not in a volume")
            self._volume = RemotePath(self.parts[:3]) if len(self.parts) > 3 else self
        return self._volume

    @property
    def folded(self) -> tuple[str, ...]:
        """Equal for all spellings of one place: the service minds no case in catalogs, schemas and volumes."""
        return tuple(part.lower() for part in self.parts[:3]) + self.parts[3:]

    @property
    def boundary_kind(self) -> Kind | None:
        """ROOT, CATALOG, SCHEMA or VOLUME by depth; None inside a volume."""
        return _KIND_BY_DEPTH[len(self.parts)] if len(self.parts) < len(_KIND_BY_DEPTH) else None

    @property
    def full_name(self) -> str:
        """``catalog.schema.volume`` as Unity Catalog writes it (boundary levels only)."""
        return ".".join(self.parts)

    def files_api_path(self) -> str:
        """``/Volumes/…`` with each part percent-encoded, for ``/api/2.0/fs/{files,directories}``."""
        return "/Volumes/" + "/".join(quote_part(part) for part in self.parts)


ROOT = RemotePath()
