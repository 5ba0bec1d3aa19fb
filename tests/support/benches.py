"""All parts of a mount without FUSE, joined over a workspace, an index and a data cache in dictionaries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

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
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token, Viewer
from fuse4dbricks.vfs.attributes import Look
from fuse4dbricks.vfs.control.desk import Desk
from fuse4dbricks.vfs.explaining.explainer import Inquiry
from fuse4dbricks.vfs.filesystem import Filesystem
from fuse4dbricks.visibility import EVERYTHING, Visibility
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import (
    ADA,
    NOW,
    PERMISSION_TTL,
    FakeContent,
    FakeWorkspace,
    HandClock,
    at,
    token_of,
    workspace_with,
)

#: Seconds, as --offline-grace has it by default.
OFFLINE_GRACE = 8 * 3600.0


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


def setting_of(*names: str, is_shared: bool = False) -> Setting:
    """Ada may read the volume, whose folder ``d`` holds files of these names."""
    workspace = workspace_with("ada")
    for name in names:
        workspace.put(at("d", name))
    return Setting(workspace, is_shared=is_shared)


async def sign_in(bench: Bench, uid: int, name: str) -> Viewer:
    """Write a token and say who it is."""
    bench.written.set(uid, token_of(name))
    return await bench.access.resolve_viewer(uid)
