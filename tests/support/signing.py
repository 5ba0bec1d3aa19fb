"""What sources of tokens are built on in tests: a supervisor, a clock by hand, a workspace as a site."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuse4dbricks.auth.entra import EntraSite
from fuse4dbricks.auth.issuers import Site
from fuse4dbricks.auth.renewing import Renewing
from fuse4dbricks.auth.source import Issued, SourceFailure
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.devworkspace.server import LocalWorkspace
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.trust import trust_with
from fuse4dbricks.workspace.url import parse_workspace_url
from tests.support.fakes import HandClock


@dataclass
class Mint:
    """Issues t1, t2, … or fails as told."""

    lifetime: float | None = 3600.0
    failure: SourceFailure | None = None
    calls: list[bool] = field(default_factory=list)
    before: Callable[[], Awaitable[object]] | None = None

    async def issue(self, forced: bool) -> Issued:
        self.calls.append(forced)
        if self.before is not None:
            await self.before()
        if self.failure is not None:
            raise self.failure
        return Issued(Token(f"t{len(self.calls)}"), self.lifetime, "the mint")


@dataclass
class Bench:
    """One renewing token over a mint."""

    mint: Mint
    renewing: Renewing
    clock: HandClock
    supervisor: Supervisor


@asynccontextmanager
async def renewing_bench(mint: Mint | None = None) -> AsyncIterator[Bench]:
    mint, clock = mint or Mint(), HandClock()
    async with supervised(Metrics()) as supervisor:
        yield Bench(mint, Renewing("mint", mint.issue, supervisor=supervisor, clock=clock), clock, supervisor)


def site_for(workspace: LocalWorkspace, **environ: str) -> Site:
    """A running local workspace, with its own Entra beside it."""
    address = parse_workspace_url(workspace.url)
    verify = trust_with(workspace.authority_file)
    return Site(
        base=address.base,
        host=address.host,
        normalise=lambda text: parse_workspace_url(text).host,
        entra=EntraSite(workspace.url, workspace.settings.tenant, verify),
        clock=HandClock(),
        verify=verify,
        environ={"PATH": os.environ["PATH"], **environ},
    )


def write_private(path: Path, text: str) -> Path:
    """A file of mode 0600, as tools make them."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path
