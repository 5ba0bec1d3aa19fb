"""A workspace, an index and a data cache in dictionaries, behind the seams that the real ones are used through.

They count what they are asked, fail when told to, and can be held still, so that a test decides what happens while
a call is under way. Nothing here waits for time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from fuse4dbricks.access import Access
from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.auth.entra import AZURE_CLI_CLIENT, Account, EntraSite
from fuse4dbricks.auth.environment import EnvironmentToken
from fuse4dbricks.auth.logins import DeviceLogins
from fuse4dbricks.auth.source import TokenSource
from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.freshness import Freshness, Ttls
from fuse4dbricks.cache.holdings import HoldingRows, Holdings
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.shelf import TreeShelf
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import InvalidToken, NotFound, PermissionDenied, RemoteError, VersionChanged
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal, Token, Viewer
from fuse4dbricks.vfs.attributes import Look
from fuse4dbricks.vfs.control.desk import Desk
from fuse4dbricks.vfs.explaining.explainer import Inquiry
from fuse4dbricks.vfs.filesystem import Filesystem
from fuse4dbricks.visibility import EVERYTHING, Visibility
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
    """

    def __init__(self, *names: str) -> None:
        self.people = {token_of(name): principal_of(name) for name in names}
        self.readers: set[tuple[str, RemotePath]] = set()
        self.page_size = 1000
        self.calls: list[Call] = []
        self.down: RemoteError | None = None
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
        return any(
            reader == principal.id and volume.parts[:depth] == path.parts[:depth]
            for reader, volume in self.readers
        )

    async def _enter_volume(self, kind: str, token: Token, path: RemotePath) -> None:
        principal = await self._enter(kind, token, path)
        if (principal.id, path.volume) not in self.readers:
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


# --- the index -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredEntry:
    entry: Entry | None
    fetched_at: float
    expires_at: float


@dataclass(frozen=True)
class StoredListing:
    complete: bool
    fetched_at: float
    expires_at: float
    count: int


@dataclass
class _Walk:
    stored: StoredListing
    seen: set[str] = field(default_factory=set)


class FakeTree:
    """The index's tree; satisfies TreeIndex. While ``is_lagging``, what is posted is not yet committed."""

    def __init__(self) -> None:
        self.is_busy = False
        self.is_lagging = False
        self._waiting: list[Callable[[], None]] = []
        self._entries: dict[tuple[RemotePath, str | None], StoredEntry] = {}
        self._listings: dict[tuple[RemotePath, str | None], StoredListing] = {}
        self._walks: dict[tuple[RemotePath, str | None], _Walk] = {}

    def _post(self, write: Callable[[], None]) -> None:
        if self.is_lagging:
            self._waiting.append(write)
        else:
            write()

    def commit(self) -> None:
        """Everything posted is in."""
        waiting, self._waiting = self._waiting, []
        for write in waiting:
            write()

    def lose(self, path: RemotePath) -> None:
        """Damage takes a row, and the listing still counts it."""
        for key in [key for key in self._entries if key[0] == path]:
            del self._entries[key]

    def load_entry(self, path: RemotePath, principal: str | None) -> StoredEntry | None:
        return self._entries.get((path, principal))

    def load_listing(self, path: RemotePath, principal: str | None) -> StoredListing | None:
        return self._listings.get((path, principal))

    def load_listing_entries(
        self, path: RemotePath, principal: str | None, after: str | None, limit: int
    ) -> list[Entry] | None:
        if self.is_busy:
            return None
        names = sorted(
            key.name
            for (key, scope), stored in self._entries.items()
            if scope == principal and key.depth and key.parent == path and stored.entry is not None
        )
        entries = [self._entries[path.child(name), principal].entry for name in names if name > (after or "")]
        return [entry for entry in entries[:limit] if entry is not None]

    def load_seen_entries(self, path: RemotePath, principal: str | None, limit: int) -> list[Entry]:
        return self.load_listing_entries(path, principal, None, limit) or []

    def post_listing(
        self,
        path: RemotePath,
        principal: str | None,
        entries: Sequence[Entry],
        *,
        fetched_at: float,
        expires_at: float,
        first: bool,
        last: bool,
    ) -> None:
        def write() -> None:
            key = (path, principal)
            if first:
                self._walks[key] = _Walk(StoredListing(False, fetched_at, expires_at, 0))
            walk = self._walks[key]
            for entry in entries:
                walk.seen.add(entry.name)
                self._entries[path.child(entry.name), principal] = StoredEntry(entry, fetched_at, expires_at)
            if last:
                self._listings[key] = StoredListing(True, fetched_at, expires_at, len(walk.seen))
                unseen = [
                    (known, scope)
                    for known, scope in self._entries
                    if scope == principal
                    and known.depth
                    and known.parent == path
                    and known.name not in walk.seen
                ]
                for gone in unseen:
                    del self._entries[gone]

        self._post(write)

    def post_entry(
        self, path: RemotePath, principal: str | None, entry: Entry, *, fetched_at: float, expires_at: float
    ) -> None:
        stored = StoredEntry(entry, fetched_at, expires_at)
        self._post(lambda: self._entries.__setitem__((path, principal), stored))

    def post_absent(
        self, path: RemotePath, principal: str | None, *, fetched_at: float, expires_at: float
    ) -> None:
        stored = StoredEntry(None, fetched_at, expires_at)
        self._post(lambda: self._entries.__setitem__((path, principal), stored))

    def post_expire(self, path: RemotePath) -> None:
        def write() -> None:
            for key, stored in self._entries.items():
                if key[0] == path:
                    self._entries[key] = replace(stored, expires_at=0.0)

        self._post(write)


@dataclass(frozen=True)
class StoredProof:
    proved_at: float
    expires_at: float


class FakeGrants:
    """The index's grants; satisfies GrantShelf."""

    def __init__(self) -> None:
        self.principals: dict[bytes, Principal] = {}
        self.proofs: dict[tuple[str, RemotePath], StoredProof] = {}
        self.posts: Counter[str] = Counter()

    def load_principal(self, fingerprint: bytes) -> Principal | None:
        return self.principals.get(fingerprint)

    def post_principal(self, fingerprint: bytes, uid: int, principal: Principal) -> None:
        self.posts["principal"] += 1
        self.principals[fingerprint] = principal

    def load_grant(self, principal_id: str, volume: RemotePath) -> StoredProof | None:
        return self.proofs.get((principal_id, volume))

    def post_grant(
        self, principal_id: str, volume: RemotePath, *, proved_at: float, expires_at: float
    ) -> None:
        self.posts["grant"] += 1
        self.proofs[principal_id, volume] = StoredProof(proved_at, expires_at)

    def post_revoked(self, principal_id: str, volume: RemotePath) -> None:
        self.posts["revoked"] += 1
        self.proofs.pop((principal_id, volume), None)

    def post_drop_principal(self, principal_id: str) -> None:
        self.posts["dropped"] += 1
        for key in [key for key in self.proofs if key[0] == principal_id]:
            del self.proofs[key]
        for fingerprint in [f for f, known in self.principals.items() if known.id == principal_id]:
            del self.principals[fingerprint]


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


# --- all of it, joined ---------------------------------------------------------------------------


@dataclass
class Bench:
    """The driver without FUSE, over the fakes."""

    workspace: FakeWorkspace
    clock: HandClock
    metrics: Metrics
    supervisor: Supervisor
    written: WrittenTokens
    connectivity: Connectivity
    access: Access
    metadata: MetadataCache
    content: FakeContent
    filesystem: Filesystem


@dataclass
class Setting:
    """What a bench is made of; one setting can be used by several benches in turn, as by mounts after one another."""

    workspace: FakeWorkspace
    clock: HandClock = field(default_factory=HandClock)
    tree: FakeTree | None = None
    grants: FakeGrants | None = None
    held: HoldingRows | None = None
    pinned: frozenset[RemotePath] = frozenset()
    lists_xattrs: bool = True
    ttls: Ttls = field(default_factory=Ttls)
    max_entries: int = 20_000
    is_shared: bool = False
    environment_token: Token | None = None
    sources: Sequence[TokenSource] = ()
    connectivity: Connectivity | None = None
    root: RemotePath = ROOT
    visibility: Visibility = EVERYTHING


def workspace_with(*names: str) -> FakeWorkspace:
    """People who may read the volume, which holds nothing yet."""
    workspace = FakeWorkspace(*names)
    workspace.make_folder(VOLUME)
    for name in names:
        workspace.allow(name)
    return workspace


@asynccontextmanager
async def bench_of(setting: Setting) -> AsyncIterator[Bench]:
    """The parts of one mount."""
    metrics, clock, workspace = Metrics(), setting.clock, setting.workspace
    async with supervised(metrics) as supervisor:
        written, connectivity = WrittenTokens(), setting.connectivity or Connectivity(clock)
        sources: list[TokenSource] = [written, *setting.sources]
        if setting.environment_token is not None:
            sources.append(EnvironmentToken(setting.environment_token, owner_uid=ADA))
        tokens = TokenChain(sources)
        logins = DeviceLogins(
            lambda kept: Account(EntraSite, AZURE_CLI_CLIENT, kept), supervisor=supervisor, clock=clock
        )
        access = Access(
            tokens=tokens,
            identity=workspace,
            probe=workspace,
            shelf=setting.grants,
            fingerprint_key=b"k" * 32,
            connectivity=connectivity,
            supervisor=supervisor,
            metrics=metrics,
            clock=clock,
            ttl=PERMISSION_TTL,
        )
        fetcher = TreeFetcher(workspace, workspace, access)
        metadata = MetadataCache(
            fetcher=fetcher,
            shelf=TreeShelf(setting.tree, Freshness(clock)),
            connectivity=connectivity,
            supervisor=supervisor,
            metrics=metrics,
            clock=clock,
            ttls=setting.ttls,
            max_entries=setting.max_entries,
        )
        content = FakeContent(workspace)
        filesystem = Filesystem(
            access=access,
            metadata=metadata,
            content=content,
            holdings=Holdings(setting.held, content, setting.pinned.__contains__),
            inquiry=Inquiry(fetcher, workspace, lambda holding: int(not holding.is_complete)),
            connectivity=connectivity,
            desk=Desk(
                access=access,
                connectivity=connectivity,
                tokens=tokens,
                written=written,
                logins=logins,
                workspace="adb-1.azuredatabricks.net",
            ),
            look=Look(
                0,
                0,
                "adb-1.azuredatabricks.net",
                NOW,
                is_shared=setting.is_shared,
                lists_xattrs=setting.lists_xattrs,
                root=setting.root,
                visibility=setting.visibility,
            ),
        )
        yield Bench(
            workspace,
            clock,
            metrics,
            supervisor,
            written,
            connectivity,
            access,
            metadata,
            content,
            filesystem,
        )
