"""From what somebody has configured to a token: which kind of credential it is, and whom to ask.

The order within a profile is that of Databricks' SDK (databricks-api 5.2): a token, OAuth, an Azure service principal,
a command line tool; ``auth_type`` picks one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from fuse4dbricks.auth.client_credentials import fetch_client_token
from fuse4dbricks.auth.commands import CLI_SECONDS, azure_command, databricks_command, fetch_cli_token
from fuse4dbricks.auth.entra import PUBLIC_AUTHORITY, TENANT, EntraSite, fetch_service_token
from fuse4dbricks.auth.profiles import Normalise, Profile
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Issued, Outcome, Refusals, SourceFailure, nothing_there
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import Unreachable
from fuse4dbricks.tokens import Credential
from fuse4dbricks.weather import FAIR, Weather

#: With no network a program that would ask somebody may take so long to say so, seconds.
OFFLINE_CLI_SECONDS = 4.0

#: Seconds for which a token from a file is used before the file is looked at again.
FILE_TOKEN_SECONDS = 600.0

PAT, M2M, AZURE_SECRET = "pat", "oauth-m2m", "azure-client-secret"
DATABRICKS_CLI, AZURE_CLI = "databricks-cli", "azure-cli"

AUTHORITIES = {
    "PUBLIC": PUBLIC_AUTHORITY,
    "USGOVERNMENT": "https://login.microsoftonline.us",
    "CHINA": "https://login.chinacloudapi.cn",
}


@dataclass(frozen=True, slots=True)
class Site:
    """The workspace, as far as signing in needs to know it.

    Attributes:
        base: ``https://host``.
        host: normalised, as cache keys have it.
        normalise: makes another spelling of a host the same.
        entra: where Azure's logins are.
        verify: whom to trust; None for the usual trust.
        environ: of this process, for command line tools.
        weather: whether it is of any use to send something.
        refusals: told of a credential that its issuer refuses.
    """

    base: str
    host: str
    normalise: Normalise
    entra: EntraSite
    clock: Clock
    verify: ssl.SSLContext | None = field(default=None, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    weather: Weather = FAIR
    refusals: Refusals = field(default_factory=Refusals, repr=False)

    @property
    def is_azure(self) -> bool:
        """Whether Entra's tokens may be any use there; a local workspace plays every cloud."""
        name = self.host.partition(":")[0]
        return name.endswith((".azuredatabricks.net", ".databricks.azure.us", ".databricks.azure.cn")) or (
            name in {"localhost", "127.0.0.1"}
        )


async def issue_client_token(site: Site, client_id: str, secret: Secret) -> Issued:
    """OAuth of a service principal of Databricks."""
    origin = f"service principal {client_id}"
    return await _from_afar(
        site.weather,
        Credential(M2M, site.host, client_id, secret.reveal()),
        lambda: fetch_client_token(site.base, client_id, secret, site.verify, origin=origin),
    )


async def _from_afar(weather: Weather, credential: Credential, question: Callable[[], Issued]) -> Issued:
    """The answer to a blocking question over the network, which is left when there turns out to be none."""
    try:
        with weather.reaching():
            issued = await trio.to_thread.run_sync(question, abandon_on_cancel=True)
    except Unreachable as error:
        raise SourceFailure(str(error), is_outage=True, credential=credential) from None
    except SourceFailure as failure:
        failure.credential = credential
        if failure.is_outage:
            weather.note_doubt()
        raise
    return replace(issued, credential=credential)


async def issue_azure_token(
    site: Site, client_id: str, secret: Secret, tenant: str, environment: str | None
) -> Issued:
    """An Entra service principal's, which the workspace must know."""
    if not TENANT.fullmatch(tenant) or not TENANT.fullmatch(client_id):
        raise SourceFailure("the Azure tenant id or client id is malformed")
    entra = replace(site.entra, tenant=tenant, authority=_authority(site, environment))
    return await _from_afar(
        site.weather,
        Credential(AZURE_SECRET, site.host, entra.url, client_id, secret.reveal()),
        lambda: fetch_service_token(entra, client_id, secret, origin=f"Azure service principal {client_id}"),
    )


def _authority(site: Site, environment: str | None) -> str:
    if not environment:
        return site.entra.authority
    name = environment.upper().removeprefix("AZURE").removesuffix("CLOUD").strip("_") or "PUBLIC"
    try:
        return AUTHORITIES[name]
    except KeyError:
        raise SourceFailure(f"there is no Azure cloud {environment[:40]!r}") from None


async def issue_databricks_cli_token(site: Site, program: str | None, profile: str | None) -> Issued:
    """What ``databricks auth login`` has left."""
    command = databricks_command(program, profile=profile, base=site.base)
    return await _by_program(site, command)


async def issue_azure_cli_token(site: Site, tenant: str | None) -> Issued:
    """What ``az login`` has left."""
    if tenant is not None and not TENANT.fullmatch(tenant):
        raise SourceFailure("the Azure tenant id is malformed")
    return await _by_program(site, azure_command(tenant))


async def _by_program(site: Site, command: Sequence[str]) -> Issued:
    """What a program prints. It may know a token that is still good; what it cannot ask for now is no denial."""
    if site.weather.is_forced:
        raise SourceFailure("the mount is told to be offline, so no program is run", is_outage=True)
    seconds = OFFLINE_CLI_SECONDS if site.weather.is_down else CLI_SECONDS
    try:
        return await fetch_cli_token(command, site.environ, wall=site.clock.wall(), seconds=seconds)
    except SourceFailure as failure:
        if failure.outcome is Outcome.FAILED and site.weather.is_down:
            raise SourceFailure(str(failure), is_outage=True) from None
        raise


def kind_of(profile: Profile) -> str:
    """Which credential a profile holds.

    Raises:
        SourceFailure: none that is known here, or not the one that it says.
    """
    holds = {
        PAT: profile.token is not None,
        M2M: profile.client_secret is not None and profile.get("client_id") is not None,
        AZURE_SECRET: profile.azure_secret is not None
        and None not in (profile.get("azure_client_id"), profile.get("azure_tenant_id")),
        # `databricks auth login` of older versions writes the host and nothing else.
        DATABRICKS_CLI: True,
        AZURE_CLI: profile.get("auth_type") == AZURE_CLI,
    }
    wanted = profile.get("auth_type")
    if wanted is None:
        return next(kind for kind, is_there in holds.items() if is_there)
    if wanted not in holds:
        raise SourceFailure(f"the profile {profile.name!r} wants {wanted[:40]!r}, which is not known here")
    if not holds[wanted]:
        raise SourceFailure(f"the profile {profile.name!r} wants {wanted!r} and lacks what it needs")
    return wanted


async def issue_from_profile(site: Site, profile: Profile, *, may_run_programs: bool) -> Issued:
    """A token by what ``profile`` holds.

    Raises:
        SourceFailure: it holds nothing usable, or whoever issues tokens refuses or is silent.
    """
    kind = kind_of(profile)
    issued = await _issue(site, profile, kind, may_run_programs=may_run_programs)
    # A changed or removed profile counts after a while, like a token that has ended.
    lifetime = FILE_TOKEN_SECONDS if issued.lifetime is None else issued.lifetime
    return replace(issued, lifetime=lifetime, origin=f"profile {profile.name!r}, {kind}")


async def _issue(site: Site, profile: Profile, kind: str, *, may_run_programs: bool) -> Issued:
    if kind == PAT:
        assert profile.token is not None  # kind_of has looked
        return Issued(profile.token)
    if kind == M2M:
        assert profile.client_secret is not None
        return await issue_client_token(site, profile.fields["client_id"], profile.client_secret)
    if kind == AZURE_SECRET:
        assert profile.azure_secret is not None
        return await issue_azure_token(
            site,
            profile.fields["azure_client_id"],
            profile.azure_secret,
            profile.fields["azure_tenant_id"],
            profile.get("azure_environment"),
        )
    if not may_run_programs:
        raise nothing_there(
            f"the profile {profile.name!r} needs a program, which only the user who mounts can have run"
        )
    if kind == AZURE_CLI:
        return await issue_azure_cli_token(site, profile.get("azure_tenant_id"))
    return await issue_databricks_cli_token(site, profile.get("databricks_cli_path"), profile.name)
