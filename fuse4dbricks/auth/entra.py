"""Microsoft Entra, by way of msal; the one file that knows it.

The difficulties: msal blocks, so everything here runs in a thread; importing it costs 0.2 s, so only a login pays
for it; its results are dicts that hold access and refresh tokens, so they never leave this file (a log line that
prints one has given the account away); and it raises ValueError for whatever a server sends.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fuse4dbricks.auth.answers import issued_of, words_of
from fuse4dbricks.auth.endpoint import Endpoint
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Issued, SourceFailure

#: The application id of Azure Databricks, the same in every tenant: what tokens are asked for.
DATABRICKS_SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"

#: The Azure CLI's public client. Microsoft has registered it in every tenant and consented for it to Azure
#: Databricks, so that a login works where nobody has registered an application; ``--client-id`` names another.
AZURE_CLI_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

PUBLIC_AUTHORITY = "https://login.microsoftonline.com"

#: Tenant and client ids are UUIDs, tenants also domains. They become part of a URL.
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")

#: Any work or school account; a personal Microsoft account cannot have a Databricks workspace.
ANY_TENANT = "organizations"


@dataclass(frozen=True, slots=True)
class EntraSite:
    """Where to sign in.

    Attributes:
        authority: ``https://host`` of the cloud's login service.
        tenant: id or domain, or :data:`ANY_TENANT`.
        verify: whom to trust; None for the usual trust.
    """

    authority: str = PUBLIC_AUTHORITY
    tenant: str = ANY_TENANT
    verify: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """As msal wants it."""
        return f"{self.authority}/{self.tenant}"


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the person needs to sign in; not secret, but of use to him alone.

    Attributes:
        url: the page to open.
        code: to be typed there.
        lifetime: seconds until the code ends.
    """

    url: str
    code: str
    lifetime: float


class Account:
    """One person's login. Every method blocks; one at a time."""

    def __init__(self, find_site: Callable[[], EntraSite], client_id: str, kept: str | None = None) -> None:
        """A new one, or with ``kept`` (see :meth:`serialize`) that of an earlier run.

        ``find_site`` is called once, in the thread of the first question; it may ask the network.
        """
        self._find_site = find_site
        self._client_id = client_id
        self._kept = kept
        self._app: Any = None
        self._cache: Any = None
        self._flow: dict[str, Any] = {}

    def start(self) -> DeviceCode:
        """Ask for a code.

        Raises:
            SourceFailure: refused, or nobody answered.
        """
        flow = self._ask(lambda app: app.initiate_device_flow([DATABRICKS_SCOPE]))
        url, code = flow.get("verification_uri"), flow.get("user_code")
        if not (isinstance(url, str) and isinstance(code, str) and code and url.startswith("https://")):
            raise SourceFailure(f"Entra starts no device login ({words_of(flow)})")
        self._flow = flow
        return DeviceCode(_line(url), _line(code), _seconds(flow.get("expires_in"), 900.0))

    @property
    def interval(self) -> float:
        """Seconds between two polls, as the service wants it."""
        return max(1.0, _seconds(self._flow.get("interval"), 5.0))

    def poll(self) -> Issued | None:
        """Ask once whether the person has signed in; None while he has not.

        Raises:
            SourceFailure: declined, expired, refused, or nobody answered.
        """
        # The caller waits between polls on a clock of his own; msal would warn by the wall clock.
        self._flow["latest_attempt_at"] = 0
        answer = self._ask(
            lambda app: app.acquire_token_by_device_flow(self._flow, exit_condition=lambda _flow: True)
        )
        match answer.get("error"):
            case "authorization_pending" | "slow_down":
                return None
            case "authorization_declined" | "access_denied":
                raise SourceFailure("the login was declined")
            case "expired_token" | "code_expired":
                raise SourceFailure("the code has expired before anybody signed in")
        return self._issued(answer)

    def renew(self, *, forced: bool) -> Issued:
        """A token without the person: from the cache unless ``forced``, else by the refresh token.

        Raises:
            SourceFailure: he has to log in again, or nobody answered.
        """

        def acquire(app: Any) -> Any:
            accounts = app.get_accounts()
            if not accounts:
                return None
            return app.acquire_token_silent_with_error([DATABRICKS_SCOPE], accounts[0], force_refresh=forced)

        return self._issued(self._ask(acquire) or {"error": "no_account"})

    def serialize(self) -> str:
        """The login, refresh token and all, for :class:`KeptLogins`; as secret as it gets."""
        return str(self._cache.serialize()) if self._cache is not None else ""

    def _issued(self, answer: Mapping[str, Any]) -> Issued:
        if "access_token" not in answer:
            if answer.get("error") in {"temporarily_unavailable", "server_error"}:
                raise SourceFailure(f"Entra is not well ({words_of(answer)})", is_outage=True)
            raise SourceFailure(f"Entra gives no token ({words_of(answer)}); log in again")
        claims = answer.get("id_token_claims")
        name = claims.get("preferred_username") if isinstance(claims, Mapping) else None
        if not name and self._app is not None:
            name = next((each.get("username") for each in self._app.get_accounts()), None)
        return issued_of(answer, origin=f"signed in as {_line(name)}" if isinstance(name, str) else "")

    def _ask(self, question: Any) -> Any:
        return _asking(lambda: question(self._opened()))

    def _opened(self) -> Any:
        if self._app is None:
            import msal  # noqa: PLC0415 - only a login pays for it

            site = self._find_site()
            self._cache = msal.SerializableTokenCache()
            if self._kept:
                self._cache.deserialize(self._kept)
                self._kept = None
            self._app = msal.PublicClientApplication(
                self._client_id,
                authority=site.url,
                # The authority was chosen by whoever mounts: asking Microsoft about it would break sovereign clouds.
                instance_discovery=False,
                http_client=Endpoint(site.authority, site.verify),
                token_cache=self._cache,
            )
        return self._app


def account_of(login: str) -> str | None:
    """Whose login it is (see :meth:`Account.serialize`): the account's id at Entra, or None if it does not say."""
    try:
        accounts = json.loads(login)["Account"]
        (found,) = {each["home_account_id"] for each in accounts.values()}
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
        return None
    return found if isinstance(found, str) else None


def discover_tenant(base: str, verify: ssl.SSLContext | None) -> str:
    """The tenant of the workspace at ``base``, by where its login page leads (databricks-api 5.2). Blocks.

    :data:`ANY_TENANT` when it does not say.

    Raises:
        SourceFailure: the workspace does not answer.
    """
    reply = Endpoint(base, verify).get(f"{base}/aad/auth")
    if reply.status_code == 429 or reply.status_code >= 500:
        raise SourceFailure(f"the workspace does not say its tenant ({reply.status_code})", is_outage=True)
    parts = urlsplit(reply.headers.get("location", "")).path.split("/")
    found = parts[1] if len(parts) > 1 else ""
    return found if TENANT.fullmatch(found) else ANY_TENANT


def fetch_service_token(site: EntraSite, client_id: str, secret: Secret, *, origin: str = "") -> Issued:
    """A token of an Entra service principal. Blocks.

    Raises:
        SourceFailure: refused, or nobody answered.
    """

    def acquire() -> Any:
        import msal  # noqa: PLC0415 - only a login pays for it

        # A new application each time: one that lives replays its cached token, also the one that was refused.
        app = msal.ConfidentialClientApplication(
            client_id,
            secret.reveal(),
            authority=site.url,
            instance_discovery=False,
            http_client=Endpoint(site.authority, site.verify),
        )
        return app.acquire_token_for_client([DATABRICKS_SCOPE])

    answer = _asking(acquire) or {}
    if "access_token" not in answer:
        raise SourceFailure(f"Entra refuses the service principal {client_id} ({words_of(answer)})")
    return issued_of(answer, origin=origin)


def _asking(question: Any) -> Any:
    """``question()``; what msal raises is ours afterwards, and its text, which may quote an answer, is gone."""
    try:
        return question()
    except SourceFailure as failure:
        # Without msal's frames, whose locals hold tokens.
        raise failure.with_traceback(None) from None
    except Exception as error:  # noqa: BLE001 - whatever a server sends becomes any of a dozen kinds in msal
        raise SourceFailure(f"Entra is not well ({type(error).__name__})", is_outage=True) from None


def _line(text: str) -> str:
    """As much of a server's text as fits a terminal, without what would move its cursor."""
    return "".join(c for c in text[:256] if c.isprintable())


def _seconds(claimed: object, default: float) -> float:
    is_number = isinstance(claimed, int | float) and not isinstance(claimed, bool)
    return min(float(claimed), 3600.0) if is_number and claimed > 0 else default  # type: ignore[arg-type, operator]
