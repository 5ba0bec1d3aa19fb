"""The configuration of the user who mounts: which of it is looked at, in which order.

The difficulty: a machine may hold several credentials at once, for several workspaces. As in Databricks' SDK, what
the environment says comes first, and the file and the command line tools are only looked at when the environment
names no credential; otherwise a refused token would quietly be replaced by another identity. And what is meant
for another workspace is not sent to this one: ``DATABRICKS_HOST`` says which one the variables are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fuse4dbricks.auth.bounded_threads import BoundedThreads
from fuse4dbricks.auth.commands import is_installed
from fuse4dbricks.auth.config_file import FILE_NAME, IsOurs, read_own_file
from fuse4dbricks.auth.environment import EnvironmentToken
from fuse4dbricks.auth.issuers import (
    AZURE_CLI,
    AZURE_SECRET,
    DATABRICKS_CLI,
    M2M,
    PAT,
    Site,
    issue_azure_cli_token,
    issue_azure_token,
    issue_client_token,
    issue_databricks_cli_token,
    issue_from_profile,
)
from fuse4dbricks.auth.owned import OwnedSource, UnusedSource
from fuse4dbricks.auth.profiles import parse_profile
from fuse4dbricks.auth.renewing import Issue, Renewing
from fuse4dbricks.auth.source import Issued, TokenSource, nothing_there
from fuse4dbricks.auth.variables import Variables
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import ConfigError

READ_SECONDS = 5.0

KINDS = (PAT, M2M, AZURE_SECRET, DATABRICKS_CLI, AZURE_CLI)

_CLIENT = "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"
_ARM = "ARM_CLIENT_ID, ARM_CLIENT_SECRET and ARM_TENANT_ID"


@dataclass(frozen=True, slots=True)
class OwnConfiguration:
    """Makes the sources of the user who mounts."""

    variables: Variables
    site: Site
    owner_uid: int
    is_ours: IsOurs
    supervisor: Supervisor

    def sources(self) -> list[TokenSource]:
        """In the order in which they are asked.

        Raises:
            ConfigError: ``DATABRICKS_AUTH_TYPE`` is a kind that is not known here.
        """
        wanted = self.variables.auth_type
        if wanted is not None and wanted not in KINDS:
            raise ConfigError(f"DATABRICKS_AUTH_TYPE must be one of {', '.join(KINDS)}, not {wanted[:40]!r}")
        by_environment = [*self._by_environment()]
        if (
            any(not isinstance(source, UnusedSource) for source in by_environment)
            and not self.variables.profile
        ):
            return by_environment
        return [*by_environment, self._profile_source(), *self._by_programs()]

    def _is_wanted(self, kind: str) -> bool:
        return self.variables.auth_type in {None, kind}

    # --- the environment -------------------------------------------------------------------------

    def _by_environment(self) -> Iterator[TokenSource]:
        variables = self.variables
        foreign = self._why_foreign()
        if variables.token is not None and self._is_wanted(PAT):
            if foreign:
                yield self._unused("DATABRICKS_TOKEN", foreign)
            else:
                yield EnvironmentToken(variables.token, owner_uid=self.owner_uid)
        if (variables.client_id or variables.client_secret) and self._is_wanted(M2M):
            yield self._unused(_CLIENT, foreign) if foreign else self._client_source()
        if variables.arm_secret and self._is_wanted(AZURE_SECRET):
            yield self._arm_source()

    def _why_foreign(self) -> str | None:
        if self.variables.host is None:
            return None
        try:
            theirs = self.site.normalise(self.variables.host)
        except ConfigError:
            return "DATABRICKS_HOST is not usable"
        if theirs == self.site.host:
            return None
        return f"DATABRICKS_HOST is {theirs}, and this mount is of {self.site.host}"

    def _client_source(self) -> TokenSource:
        client_id, secret = self.variables.client_id, self.variables.client_secret
        if client_id is None or secret is None:
            missing = "DATABRICKS_CLIENT_ID" if client_id is None else "DATABRICKS_CLIENT_SECRET"
            return self._unused(_CLIENT, f"{missing} is not set")
        return self._owned(_CLIENT, lambda _forced: issue_client_token(self.site, client_id, secret))

    def _arm_source(self) -> TokenSource:
        client_id, tenant = self.variables.arm_client_id, self.variables.arm_tenant
        secret, environment = self.variables.arm_secret, self.variables.arm_environment
        if client_id is None or tenant is None or secret is None:
            missing = "ARM_CLIENT_ID" if client_id is None else "ARM_TENANT_ID"
            return self._unused(_ARM, f"{missing} is not set")
        if not self.site.is_azure and self.variables.auth_type is None:
            return self._unused(_ARM, f"{self.site.host} is not a workspace of Azure")
        return self._owned(
            _ARM, lambda _forced: issue_azure_token(self.site, client_id, secret, tenant, environment)
        )

    # --- the file --------------------------------------------------------------------------------

    def _profile_source(self) -> TokenSource:
        path = Path(self.variables.config_file or f"~/{FILE_NAME}")
        threads: BoundedThreads[str] = BoundedThreads(seconds=READ_SECONDS)

        def read() -> str:
            try:
                expanded = path.expanduser()
            except RuntimeError:  # no HOME, and not in the user database: a system user
                raise nothing_there("no home folder is known") from None
            return read_own_file(expanded, uid=self.owner_uid, is_ours=self.is_ours)

        async def issue(_forced: bool) -> Issued:
            text = await threads.run("file", read)
            profile = parse_profile(
                text, self.variables.profile, host=self.site.host, normalise=self.site.normalise
            )
            if self.variables.auth_type is not None:
                fields = {**profile.fields, "auth_type": self.variables.auth_type}
                profile = replace(profile, fields=fields)
            return await issue_from_profile(self.site, profile, may_run_programs=True)

        named = f" (profile {self.variables.profile!r})" if self.variables.profile else ""
        return self._owned(f"{path}{named}", issue)

    # --- command line tools ----------------------------------------------------------------------

    def _by_programs(self) -> Iterator[TokenSource]:
        if self.variables.profile:
            return
        program = self.variables.cli_path
        if self._is_wanted(DATABRICKS_CLI) and is_installed(program or "databricks"):
            yield self._owned(
                "databricks auth token", lambda _forced: issue_databricks_cli_token(self.site, program, None)
            )
        is_asked_for = self.variables.auth_type == AZURE_CLI
        if self._is_wanted(AZURE_CLI) and (self.site.is_azure or is_asked_for) and is_installed("az"):
            yield self._owned(
                "az account get-access-token", lambda _forced: issue_azure_cli_token(self.site, None)
            )

    def _owned(self, name: str, issue: Issue) -> TokenSource:
        site = self.site
        renewing = Renewing(
            name,
            issue,
            supervisor=self.supervisor,
            clock=site.clock,
            weather=site.weather,
            refusals=site.refusals,
        )
        return OwnedSource(renewing, owner_uid=self.owner_uid)

    def _unused(self, name: str, reason: str) -> TokenSource:
        return UnusedSource(name, reason, owner_uid=self.owner_uid)
