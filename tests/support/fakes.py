"""A workspace and a data cache in dictionaries, behind the seams that the real ones are used through.

They count what they are asked, fail when told to, and can be held still, so that a test decides what happens while
a call is under way. Nothing here waits for time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import trio

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import InvalidToken, NotFound, PermissionDenied, RemoteError, VersionChanged
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.tokens import Principal, Token, Viewer
from fuse4dbricks.workspace.limits import Ticket

NOW = 1_750_000_000.0
#: Well before NOW, so that files are settled unless a test says otherwise.
MODIFIED = 1_700_000_000
VOLUME = RemotePath(("main", "default", "files"))
ADA, BOB, EVE = 1001, 1002, 1003
PERMISSION_TTL = 600.0
#: Bytes of a chunk; small, so that files of a few bytes have several.
CHUNK = 4


def at(*parts: str) -> RemotePath:
    """A path inside the volume that tests use."""
    return RemotePath((*VOLUME.parts, *parts))


def token_of(name: str) -> Token:
    return Token(f"token-of-{name}")


def principal_of(name: str) -> Principal:
    return Principal(f"id-of-{name}", f"{name}@example.com")


class HandClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall_at = NOW

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return self.wall_at

    def step(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall_at += seconds


@dataclass(frozen=True)
class FakePage:
    entries: tuple[Entry, ...]
    next_token: str | None


@dataclass(frozen=True)
class Call:
    kind: str
    token: str
    path: RemotePath


class FakeWorkspace:
    """Catalogs, files and identities; satisfies CatalogApi, FolderApi, WhoAmI and VolumeProbe.

    Attributes:
        people: whose token each is; any other token is refused.
        readers: (principal id, volume) pairs that may read.
        page_size: entries in a page.
        calls: everything that was asked, in order.
        down: raised by every call while set.
        is_coy: whether the Files API says 404 of what may not be read, although Unity Catalog shows it to all.
    """

    def __init__(self, *names: str) -> None:
        self.people = {token_of(name): principal_of(name) for name in names}
        self.readers: set[tuple[str, RemotePath]] = set()
        self.page_size = 1000
        self.calls: list[Call] = []
        self.down: RemoteError | None = None
        self.is_coy = False
        self.privileges: list[str] = []
        self.unsized: set[RemotePath] = set()
        self.before_reply: Callable[[Call], Awaitable[None]] | None = None
        self._failures: list[tuple[str, RemoteError]] = []
        self._folders: dict[RemotePath, dict[str, Entry]] = {ROOT: {}}
        self._missing_roots: set[RemotePath] = set()

    # --- scripting -------------------------------------------------------------------------------

    def allow(self, name: str, volume: RemotePath = VOLUME) -> None:
        self.readers.add((principal_of(name).id, volume))

    def revoke(self, name: str, volume: RemotePath = VOLUME) -> None:
        self.readers.discard((principal_of(name).id, volume))

    def make_folder(self, path: RemotePath) -> None:
        if path.depth:
            self.make_folder(path.parent)
            kind = path.boundary_kind or Kind.DIRECTORY
            self._folders[path.parent].setdefault(path.name, Entry(path.name, kind))
        self._folders.setdefault(path, {})

    def put(
        self,
        path: RemotePath,
        size: int = 5,
        modified: int = MODIFIED,
        etag: str | None = None,
        unsettled_at: int = 0,
    ) -> None:
        self.make_folder(path.parent)
        version = Version(size, modified, etag, unsettled_at)
        self._folders[path.parent][path.name] = Entry(path.name, Kind.FILE, version)

    def remove(self, path: RemotePath) -> None:
        del self._folders[path.parent][path.name]
        self._folders.pop(path, None)

    def empty_root(self, volume: RemotePath = VOLUME) -> None:
        """Nothing is left in it, and the Files API says 404, as some stores make it."""
        self._folders[volume].clear()
        self._missing_roots.add(volume)

    def fail(self, kind: str, *errors: RemoteError) -> None:
        """The next calls of ``kind`` raise these."""
        self._failures += [(kind, error) for error in errors]

    def count(self, kind: str | None = None) -> int:
        return sum(kind in {None, call.kind} for call in self.calls)

    def find(self, path: RemotePath) -> Entry:
        entry = self._folders.get(path.parent, {}).get(path.name)
        if entry is None:
            raise NotFound(f"no {path}", status=404)
        return entry

    # --- the seams -------------------------------------------------------------------------------

    async def fetch_principal(self, token: Token) -> Principal:
        return await self._enter("identity", token, ROOT)

    async def fetch_children(self, token: Token, path: RemotePath) -> Sequence[Entry]:
        principal = await self._enter("catalog", token, path)
        children = self._folders.get(path, {}).values()
        return tuple(entry for entry in children if self._may_see(principal, path.child(entry.name)))

    async def fetch_securable(self, token: Token, path: RemotePath) -> Entry:
        principal = await self._enter("catalog", token, path)
        canonical = RemotePath(tuple(part.lower() for part in path.parts))
        entry = self.find(canonical)
        if not self._may_see(principal, canonical):
            raise PermissionDenied(f"no USE on {path}", status=403)
        return entry

    async def fetch_effective_permissions(
        self, token: Token, path: RemotePath, principal: Principal
    ) -> list[str]:
        await self._enter("privileges", token, path)
        return self.privileges

    async def fetch_page(
        self, token: Token, path: RemotePath, page_token: str | None = None, *, ticket: Ticket | None = None
    ) -> FakePage:
        await self._enter_volume("listing", token, path)
        if path in self._missing_roots or path not in self._folders:
            raise NotFound(f"no {path}", status=404)
        # The token names where to go on, as object stores do: changes in between skip and repeat nothing.
        names = sorted(name for name in self._folders[path] if name > (page_token or ""))
        entries = [self._folders[path][name] for name in names[: self.page_size]]
        bare = {path.child(entry.name) for entry in entries} & self.unsized
        shown = tuple(
            replace(entry, version=None) if path.child(entry.name) in bare else entry for entry in entries
        )
        return FakePage(shown, entries[-1].name if self.page_size < len(names) else None)

    async def fetch_version(self, token: Token, path: RemotePath) -> Version:
        await self._enter_volume("head", token, path)
        version = self.find(path).version
        if version is None:
            raise NotFound(f"{path} is a folder", status=404)
        return version

    async def fetch_directory_exists(self, token: Token, path: RemotePath) -> bool:
        await self._enter_volume("head", token, path)
        return path in self._folders

    async def probe_volume(self, token: Token, volume: RemotePath) -> None:
        await self._enter_volume("probe", token, volume)
        if volume in self._missing_roots or volume not in self._folders:
            raise NotFound(f"no {volume}", status=404)

    def _may_see(self, principal: Principal, path: RemotePath) -> bool:
        """Securables on the way to a volume that may be read."""
        depth = min(path.depth, 3)
        return self.is_coy or any(
            reader == principal.id and volume.parts[:depth] == path.parts[:depth]
            for reader, volume in self.readers
        )

    async def _enter_volume(self, kind: str, token: Token, path: RemotePath) -> None:
        principal = await self._enter(kind, token, path)
        if (principal.id, path.volume) not in self.readers:
            if self.is_coy:
                raise NotFound(f"no {path}", status=404)
            raise PermissionDenied(f"no READ VOLUME on {path.volume}", status=403)

    async def _enter(self, kind: str, token: Token, path: RemotePath) -> Principal:
        call = Call(kind, token.reveal(), path)
        self.calls.append(call)
        await trio.lowlevel.checkpoint()
        if self.before_reply is not None:
            await self.before_reply(call)
        if self.down is not None:
            raise self.down
        for position, (wanted, error) in enumerate(self._failures):
            if wanted == kind:
                del self._failures[position]
                raise error
        if token not in self.people:
            raise InvalidToken("the token is not good", status=403)
        return self.people[token]


def workspace_with(*names: str) -> FakeWorkspace:
    """People who may read the volume, which holds nothing yet."""
    workspace = FakeWorkspace(*names)
    workspace.make_folder(VOLUME)
    for name in names:
        workspace.allow(name)
    return workspace


# --- content -------------------------------------------------------------------------------------


def bytes_of(version: Version) -> bytes:
    """The content of a version: each version has another."""
    unit = f"{version.size}:{version.last_modified}:{version.etag};".encode()
    return (unit * (version.size // len(unit) + 1))[: version.size]


class FakeReader:
    """Reads one version; satisfies Reader."""

    def __init__(
        self,
        content: FakeContent,
        viewer_of: Callable[[], Awaitable[Viewer]],
        path: RemotePath,
        version: Version,
    ) -> None:
        self.version = version
        self.is_closed = False
        self._content = content
        self._viewer_of = viewer_of
        self._path = path

    def get(self, offset: int, length: int) -> bytes | None:
        known = self._content.cached.get((self._path, self.version))
        return None if known is None else known[offset : offset + length]

    async def read(self, offset: int, length: int) -> bytes:
        viewer = await self._viewer_of()
        now = await self._content.workspace.fetch_version(viewer.token, self._path)
        if not now.same_bytes_as(self.version):
            raise VersionChanged(f"{self._path} is another file now", status=412)
        self._content.cached[self._path, self.version] = bytes_of(self.version)
        return bytes_of(self.version)[offset : offset + length]

    def close(self) -> None:
        self.is_closed = True


class FakeContent:
    """A data cache that keeps whole files; satisfies Content and HeldInRam."""

    chunk_size = CHUNK

    def __init__(self, workspace: FakeWorkspace) -> None:
        self.workspace = workspace
        self.cached: dict[tuple[RemotePath, Version], bytes] = {}
        self.readers: list[FakeReader] = []

    def get_complete(self, path: RemotePath, version: Version) -> frozenset[int]:
        chunks = -(-version.size // self.chunk_size) if (path, version) in self.cached else 0
        return frozenset(range(chunks))

    def open(
        self, viewer_of: Callable[[], Awaitable[Viewer]], path: RemotePath, version: Version
    ) -> FakeReader:
        reader = FakeReader(self, viewer_of, path, version)
        self.readers.append(reader)
        return reader
