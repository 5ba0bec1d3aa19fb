"""The facade: one workspace, three small parts.

The difficulty it hides: all calls of a mount share one connection pool, one pair of limiters and one set of time
limits, however many users ask.
"""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

import httpx

from fuse4dbricks.clock import Clock
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace.calls import Caller
from fuse4dbricks.workspace.cloud import CloudStore, open_cloud_store
from fuse4dbricks.workspace.door import Door
from fuse4dbricks.workspace.files_api import FilesApi
from fuse4dbricks.workspace.identity import Identity
from fuse4dbricks.workspace.limits import Limits
from fuse4dbricks.workspace.retry import Patience
from fuse4dbricks.workspace.transport import open_transport
from fuse4dbricks.workspace.unity_catalog import UnityCatalog
from fuse4dbricks.workspace.url import parse_workspace_url


class Workspace:
    """A Databricks workspace. An async context manager; leaving it closes the connections.

    Attributes:
        host: normalised, with the port if it is not the scheme's own; part of every cache key.
        identity: whose token is this.
        catalog: catalogs, schemas, volumes.
        files: what is inside volumes.
        door: whether there is a way there at all; None where a transport of one's own has no connections.
    """

    def __init__(
        self,
        host: str,
        caller: Caller,
        transport: httpx.AsyncBaseTransport,
        door: Door | None,
        cloud: CloudStore | None,
    ) -> None:
        self.host = host
        self.door = door
        self.identity = Identity(caller)
        self.catalog = UnityCatalog(caller, self.identity, caller.metrics)
        self.files = FilesApi(caller, self.identity, caller.metrics, cloud)
        self._transport = transport
        self._cloud = cloud

    @classmethod
    def at(
        cls,
        url: str,
        *,
        clock: Clock,
        metrics: Metrics,
        patience: Patience | None = None,
        verify: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        limits: Limits | None = None,
        use_presigned: bool = False,
    ) -> Self:
        """The workspace at ``url``. Nothing is sent yet.

        Args:
            url: with or without ``https://``; ``http://`` on loopback only; path and query are ignored.
            clock: for wall time; time limits run on trio's clock.
            metrics: where calls are counted.
            patience: time limits of each call.
            verify: whom to trust; by default the usual authorities, or SSL_CERT_FILE.
            transport: instead of the network.
            limits: of calls at once and per second.
            use_presigned: whether large files may come from the cloud store, by URLs that the workspace gives out.

        Raises:
            ConfigError: the URL, or what the environment says about proxy and certificates, cannot be used.
        """
        address = parse_workspace_url(url)
        patience = patience or Patience()
        limits = limits or Limits()
        door = None
        if transport is None:
            transport = open_transport(
                address, verify=verify, patience=patience, connections=limits.connections
            )
            door = Door(transport, address.base, patience.connect)
        caller = Caller(
            base=address.base,
            transport=transport,
            limits=limits,
            patience=patience,
            metrics=metrics,
            clock=clock,
        )
        cloud = (
            open_cloud_store(address, verify=verify, patience=patience, clock=clock, metrics=metrics)
            if use_presigned
            else None
        )
        return cls(address.host, caller, transport, door, cloud)

    async def aclose(self) -> None:
        """Close all connections; calls in flight fail."""
        await self._transport.aclose()
        if self._cloud is not None:
            await self._cloud.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
