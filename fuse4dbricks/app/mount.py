"""The composition root: builds one mount from its parts, runs it, and takes it down in reverse.

The difficulty: what is opened must be closed whatever happens in between, in an order in which nothing uses what is
already closed: first the requests end, then the service tasks, then the index is flushed, then the folder's lock and
the connections go. So everything hangs on one stack, constructors do no I/O, and the only other place that knows all
parts is the reader of this file.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import trio

from fuse4dbricks.access import Access
from fuse4dbricks.app.attending import begin_orders
from fuse4dbricks.app.books import begin_books, open_books
from fuse4dbricks.app.ending import PATIENCE, Ending, ended_by_signals
from fuse4dbricks.app.foresight import build_ahead
from fuse4dbricks.app.memory import give_back_memory
from fuse4dbricks.app.signing_in import SigningIn, open_signing_in, site_of
from fuse4dbricks.app.storage import Storage, open_storage
from fuse4dbricks.app.surroundings import check_apart, check_fuse, prepare_mountpoint
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.counting import CountKeeper
from fuse4dbricks.cache.disk import DiskLimits, DiskTier
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.freshness import Freshness, Ttls
from fuse4dbricks.cache.holdings import Holdings
from fuse4dbricks.cache.lookout import Lookout
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.pruning import run_pruning
from fuse4dbricks.cache.reading.attended import AttendedSource
from fuse4dbricks.cache.reading.data_cache import DataCache
from fuse4dbricks.cache.reading.ports import RangeSource
from fuse4dbricks.cache.shelf import TreeShelf
from fuse4dbricks.clock import Clock, SystemClock
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.config import MountConfig, Presigned
from fuse4dbricks.fuse.session import SessionOptions, serve
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.trust import TrustAhead
from fuse4dbricks.vfs.attributes import Look
from fuse4dbricks.vfs.explaining.explainer import Inquiry
from fuse4dbricks.vfs.filesystem import Filesystem
from fuse4dbricks.workspace.client import Workspace
from fuse4dbricks.workspace.files_api import FilesApi

logger = logging.getLogger("fuse4dbricks.app")

#: Seconds that the sweep of the cache folder leaves to the start, of which it would take a tenth, and to whoever waits for it.
SWEEP_AFTER = 2.0
#: Of the seconds in which a mount has to end, those for all that comes after chunks have been stored: the index's log is
#: written back, connections are closed, the interpreter ends. 0.3 s, and three times as much on a busy machine.
CLOSING_RESERVE = 1.0
#: Bytes of the key that token fingerprints are made with when no index keeps one.
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class RootProbe:
    """Asks for one entry of a volume's root: the cheapest question that the Files API answers by its own rights."""

    files: FilesApi

    async def probe_volume(self, token: Token, volume: RemotePath) -> None:
        """Return if the token may list ``volume``."""
        await self.files.fetch_page(token, volume, page_size=1)


@dataclass(frozen=True, slots=True)
class Base:
    """What every part is built on."""

    config: MountConfig
    workspace: Workspace
    storage: Storage
    supervisor: Supervisor
    metrics: Metrics
    clock: Clock
    connectivity: Connectivity
    signing_in: SigningIn
    stack: AsyncExitStack
    ending: Ending | None = None
    counts: CountKeeper | None = None

    async def note_counts(self) -> None:
        """Write down what was counted so far; returns when others can read it.

        Raises:
            IndexUnavailable: it cannot be written now.
        """
        if self.counts is not None and self.storage.index is not None:
            self.counts.keep()
            await self.storage.index.flush()

    @property
    def source(self) -> RangeSource:
        """Where bytes come from in the end."""
        return AttendedSource(self.workspace.files, self.connectivity)


async def run_mount(config: MountConfig, trust: TrustAhead, *, on_ready: Callable[[], None]) -> None:
    """Mount as ``config`` says until a signal or an unmount ends it; ``on_ready`` is called when it answers.

    Raises:
        UserError: the options or the surroundings do not allow it; nothing is left behind.
    """
    clock, metrics = SystemClock(), Metrics()
    verify = trust.get()
    workspace = workspace_of(config, clock, metrics, verify)
    mountpoint = await trio.to_thread.run_sync(_prepare, config)
    ending = Ending()
    async with ended_by_signals(ending), AsyncExitStack() as stack:
        # The last to run: by then the end was in time.
        stack.callback(ending.done)
        await stack.enter_async_context(workspace)
        with ending.interruptible():
            storage = await open_storage(
                config.cache_folder,
                mountpoint=mountpoint,
                clear=config.clear_cache,
                limit=config.disk_bytes,
                host=workspace.host,
                stack=stack,
                clock=clock,
                metrics=metrics,
            )
        if ending.wanted.is_set():
            return
        keeper = open_books(storage, metrics, stack)
        base = await open_base(
            config,
            workspace,
            storage,
            stack,
            mountpoint=mountpoint,
            clock=clock,
            metrics=metrics,
            verify=verify,
            ending=ending,
            counts=keeper,
        )
        filesystem = build_filesystem(base)
        options = SessionOptions(
            mountpoint,
            fsname=workspace.host,
            allow_other=config.allow_other,
            permission_ttl=config.permission_ttl_sec,
        )
        begin_books(
            keeper,
            storage,
            config,
            mountpoint=mountpoint,
            supervisor=base.supervisor,
            clock=clock,
            stack=stack,
        )
        # The first to run: from then on the teardown has its seconds.
        stack.callback(ending.begin)
        await serve(filesystem, metrics, options, stop=ending.wanted, on_ready=on_ready)


def workspace_of(config: MountConfig, clock: Clock, metrics: Metrics, verify: ssl.SSLContext) -> Workspace:
    """The client of the workspace, which trusts ``verify``; not connected yet.

    Raises:
        UserError: its address is not usable.
    """
    return Workspace.at(
        config.workspace,
        clock=clock,
        metrics=metrics,
        verify=verify,
        use_presigned=config.presigned is Presigned.AUTO,
    )


async def open_base(
    config: MountConfig,
    workspace: Workspace,
    storage: Storage,
    stack: AsyncExitStack,
    *,
    mountpoint: Path,
    clock: Clock,
    metrics: Metrics,
    verify: ssl.SSLContext,
    ending: Ending | None = None,
    counts: CountKeeper | None = None,
) -> Base:
    """What every part is built on, from a workspace and a storage that are open; ``stack`` closes it before ``ending`` does.

    Raises:
        UserError: the environment asks for a kind of credential that is not known.
    """
    supervisor = await stack.enter_async_context(supervised(metrics))
    connectivity = begin_lookout(config, workspace, supervisor, clock)
    signing_in = await open_signing_in(
        config,
        site=site_of(config, clock=clock, verify=verify, weather=connectivity),
        mountpoint=mountpoint,
        folder=storage.folder,
        supervisor=supervisor,
    )
    return Base(
        config,
        workspace,
        storage,
        supervisor,
        metrics,
        clock,
        connectivity,
        signing_in,
        stack,
        ending,
        counts,
    )


def _prepare(config: MountConfig) -> Path:
    check_fuse(allow_other=config.allow_other)
    mountpoint = prepare_mountpoint(config.mountpoint)
    if config.cache_folder is not None:
        check_apart(config.cache_folder, mountpoint)
    return mountpoint


def begin_lookout(
    config: MountConfig, workspace: Workspace, supervisor: Supervisor, clock: Clock
) -> Connectivity:
    """What is known of the way to the workspace, and somebody who looks: now, for the first time.

    A mount that starts without a network thus knows it before anybody asks for something.
    """
    connectivity = Connectivity(clock, config.offline)
    if workspace.door is not None:
        supervisor.run_forever("lookout", Lookout(connectivity, workspace.door, clock).run)
        connectivity.doubted.set()
    return connectivity


def build_filesystem(base: Base) -> Filesystem:
    """All parts above the workspace and the storage, joined."""
    connectivity = base.connectivity
    access, disk = build_access(base), build_disk(base)
    metadata = build_metadata(base, access)
    begin_orders(base, access, metadata, connectivity, disk)
    content = _build_content(base, disk)
    return Filesystem(
        access=access,
        metadata=metadata,
        content=content,
        holdings=_build_holdings(base, content),
        inquiry=Inquiry(
            TreeFetcher(base.workspace.catalog, base.workspace.files, access),
            base.workspace.catalog,
            content.count_calls,
        ),
        connectivity=connectivity,
        desk=base.signing_in.desk(access, connectivity, base.workspace.host),
        look=_look(base),
        ahead=build_ahead(
            base.config,
            access=access,
            metadata=metadata,
            content=content,
            connectivity=connectivity,
            supervisor=base.supervisor,
            metrics=base.metrics,
            clock=base.clock,
        ),
    )


def build_access(base: Base) -> Access:
    """Who asks, and what he may see."""
    config, index = base.config, base.storage.index
    access = Access(
        tokens=base.signing_in.chain,
        identity=base.workspace.identity,
        probe=RootProbe(base.workspace.files),
        shelf=None if index is None else index.grants,
        fingerprint_key=os.urandom(KEY_BYTES) if index is None else index.fingerprint_key,
        connectivity=base.connectivity,
        supervisor=base.supervisor,
        metrics=base.metrics,
        clock=base.clock,
        ttl=config.permission_ttl_sec,
        offline_grace=config.grace_seconds,
    )
    base.signing_in.refusals.tell(access.note_refused)
    return access


def build_metadata(base: Base, access: Access) -> MetadataCache:
    """The tree as last seen."""
    config, index = base.config, base.storage.index
    return MetadataCache(
        fetcher=TreeFetcher(base.workspace.catalog, base.workspace.files, access),
        shelf=TreeShelf(None if index is None else index.tree, Freshness(base.clock)),
        connectivity=base.connectivity,
        supervisor=base.supervisor,
        metrics=base.metrics,
        clock=base.clock,
        ttls=Ttls(
            inner=config.metadata_cache_ttl_sec,
            boundary=config.metadata_cache_ttl_catalog_sec,
            negative=config.metadata_cache_ttl_negative_sec,
        ),
        max_entries=config.metadata_cache_max_entries,
    )


def build_disk(base: Base) -> DiskTier:
    """The disk cache, at work."""
    config, storage = base.config, base.storage
    disk = DiskTier(
        index=storage.index,
        store=storage.store,
        folder=storage.folder,
        workspace=base.workspace.host,
        limits=DiskLimits(
            max_bytes=config.disk_bytes,
            max_age_seconds=config.max_age_seconds,
            min_free_fraction=config.min_free_fraction,
            max_files=config.disk_cache_max_files,
            user_bytes=config.quota_user_bytes,
            catalog_bytes=config.quota_catalog_bytes,
        ),
        supervisor=base.supervisor,
        metrics=base.metrics,
        clock=base.clock,
        chunk_size=config.chunk_size,
        queue_bytes=config.queue_bytes,
    )
    if storage.index is not None:
        # Runs while the supervisor still does: what a reader has just been given is stored before the end.
        base.stack.push_async_callback(_store_the_rest, disk, base.ending)
        base.supervisor.run_forever("eviction", disk.run_eviction)
        base.supervisor.run_forever("sweep", disk.run_sweep, SWEEP_AFTER)
        base.supervisor.run_forever("pruning", run_pruning, storage.index, base.clock, config.max_age_seconds)
    return disk


async def _store_the_rest(disk: DiskTier, ending: Ending | None) -> None:
    """For as long as the end may take: stuck requests may have used up some of that."""
    left = PATIENCE if ending is None else ending.get_left()
    await disk.aclose(within=max(0.0, left - CLOSING_RESERVE))


def _build_content(base: Base, disk: DiskTier) -> DataCache:
    config = base.config
    content = DataCache(
        files=base.source,
        disk=disk,
        supervisor=base.supervisor,
        metrics=base.metrics,
        ram_bytes=config.ram_bytes,
        window_bytes=config.window_bytes,
        chunk_size=config.chunk_size,
        most_gathered=config.gather_bytes if base.storage.index is not None else 0,
    )
    base.supervisor.run_forever("idle", content.run_idle, give_back_memory)
    return content


def _build_holdings(base: Base, content: DataCache) -> Holdings:
    index = base.storage.index
    if index is None or not base.config.disk_bytes:
        return Holdings(None, content)
    return Holdings(index.holdings, content, index.pins.covers)


def _look(base: Base) -> Look:
    config = base.config
    return Look(
        uid=config.shown_uid,
        gid=config.shown_gid,
        workspace=base.workspace.host,
        mounted_at=base.clock.wall(),
        file_mode=config.file_mode,
        dir_mode=config.dir_mode,
        lists_xattrs=not config.hide_xattrs,
        root=config.root_path,
        visibility=config.visibility,
        # With one identity for everybody the kernel's caches hold nothing that somebody may not see.
        is_shared=config.allow_other and not config.single_principal,
    )
