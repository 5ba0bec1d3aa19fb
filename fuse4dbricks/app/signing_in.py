"""Where tokens come from in this mount: every source, in order, built from its options.

The difficulty: the order is a promise (design section 8), and each source needs to know something that another part
knows: the normalised host, the mount's own device, the cache folder. All of that meets here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from fuse4dbricks.access import Access
from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.auth.entra import AZURE_CLI_CLIENT, PUBLIC_AUTHORITY, Account, EntraSite, discover_tenant
from fuse4dbricks.auth.homes import HomeProfiles
from fuse4dbricks.auth.issuers import Site
from fuse4dbricks.auth.kept_logins import KeptLogins
from fuse4dbricks.auth.logins import DeviceLogins
from fuse4dbricks.auth.own_configuration import OwnConfiguration
from fuse4dbricks.auth.process_environment import ProcessEnvironment
from fuse4dbricks.auth.source import Refusals, TokenSource
from fuse4dbricks.auth.variables import Variables
from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.chunks.folder import CacheFolder
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.config import MountConfig
from fuse4dbricks.fuse.connection import find_mount
from fuse4dbricks.vfs.control.desk import Desk
from fuse4dbricks.weather import FAIR, Weather
from fuse4dbricks.workspace.url import parse_workspace_url


@dataclass(frozen=True, slots=True)
class SigningIn:
    """The token sources of a mount, and those of them that its users reach through ``.auth``."""

    chain: TokenChain
    written: WrittenTokens
    logins: DeviceLogins
    refusals: Refusals

    def desk(self, access: Access, connectivity: Connectivity, workspace: str) -> Desk:
        """What is behind ``.auth``."""
        return Desk(
            access=access,
            connectivity=connectivity,
            tokens=self.chain,
            written=self.written,
            logins=self.logins,
            workspace=workspace,
        )


async def open_signing_in(
    config: MountConfig, *, site: Site, mountpoint: Path, folder: CacheFolder | None, supervisor: Supervisor
) -> SigningIn:
    """All sources. Reads kept logins, and asks nobody for a token yet.

    Raises:
        ConfigError: the environment asks for a kind of credential that is not known.
    """
    written = WrittenTokens()
    logins = await _open_logins(config, site, folder, supervisor)
    sources: list[TokenSource] = [written, logins]
    if not config.no_unified_auth:
        sources += _configured(config, site, mountpoint, supervisor)
    if config.auth_from_process_env:
        sources.append(ProcessEnvironment(host=site.host, normalise=site.normalise))
    single_uid = os.getuid() if config.single_principal else None
    return SigningIn(TokenChain(sources, single_uid=single_uid), written, logins, site.refusals)


def site_of(
    config: MountConfig,
    *,
    clock: Clock,
    verify: ssl.SSLContext,
    weather: Weather = FAIR,
) -> Site:
    """What the sources know of the workspace."""
    address = parse_workspace_url(config.workspace)
    return Site(
        base=address.base,
        host=address.host,
        normalise=lambda text: parse_workspace_url(text).host,
        entra=EntraSite(authority=config.entra_authority or PUBLIC_AUTHORITY, verify=verify),
        clock=clock,
        verify=verify,
        environ=os.environ,
        weather=weather,
    )


async def _open_logins(
    config: MountConfig, site: Site, folder: CacheFolder | None, supervisor: Supervisor
) -> DeviceLogins:
    client_id = config.client_id or AZURE_CLI_CLIENT
    kept = None
    if folder is not None:
        purpose = (site.host, site.entra.authority, config.tenant_id or "", client_id)
        kept = KeptLogins(folder.fd, purpose)
        if not config.keep_logins:
            await trio.to_thread.run_sync(kept.forget_all)
            kept = None
    find_site = _finding_site(config, site)
    logins = DeviceLogins(
        lambda login: Account(find_site, client_id, login),
        supervisor=supervisor,
        clock=site.clock,
        kept=kept,
        weather=site.weather,
        refusals=site.refusals,
    )
    await logins.take_up_kept()
    return logins


def _finding_site(config: MountConfig, site: Site) -> Callable[[], EntraSite]:
    """The Entra tenant: as given, or as the workspace says. Blocks."""

    def find() -> EntraSite:
        tenant = config.tenant_id or discover_tenant(site.base, site.verify)
        return replace(site.entra, tenant=tenant)

    return find


def _configured(
    config: MountConfig, site: Site, mountpoint: Path, supervisor: Supervisor
) -> list[TokenSource]:
    def is_ours(device: int) -> bool:
        mount = find_mount(mountpoint)
        return mount is not None and mount.device == f"{os.major(device)}:{os.minor(device)}"

    owner_uid = os.getuid()
    variables = config.variables
    if config.token is not None:
        variables = Variables(token=config.token)
    own = OwnConfiguration(variables, site, owner_uid, is_ours, supervisor)
    sources = own.sources()
    # Ordinary users cannot read each other's files, and with one identity nobody else's count.
    if config.allow_other and os.geteuid() == 0 and not config.single_principal:
        sources.append(
            HomeProfiles(
                site, mountpoint=mountpoint, is_ours=is_ours, owner_uid=owner_uid, supervisor=supervisor
            )
        )
    return sources
