"""A fake Entra: device codes, refresh tokens, and the answers to a poll.

The difficulty: a device login is a state machine across three parties: the program that polls, the person who
approves in a browser, and the clock. Here the person is a method call (or an admin request), so that a test decides
when he approves, and how many polls hear ``authorization_pending`` or ``slow_down`` before.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fuse4dbricks.devworkspace.people import People, encode_json_part, encode_jwt
from fuse4dbricks.devworkspace.settings import Behaviour

# As Entra words its codes: no vowels, no digits that look like letters.
_USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


class OAuthError(Exception):
    """``{"error": code, "error_description": text}``."""

    def __init__(self, code: str, description: str = "", *, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description or code
        self.status = status


@dataclass(slots=True)
class DeviceLogin:
    """A device flow under way; ``user`` is None until approved."""

    device_code: str
    user_code: str
    client_id: str
    scope: str
    ends_at: float
    user: str | None = None
    is_declined: bool = False
    polls: int = 0


class Entra:
    """The identity provider of one tenant. Safe to use from any thread."""

    def __init__(self, people: People, behaviour: Behaviour, tenant: str, now: Callable[[], float]) -> None:
        self._people = people
        self._behaviour = behaviour
        self._now = now
        self._lock = threading.Lock()
        self._logins: dict[str, DeviceLogin] = {}
        self._refresh: dict[str, tuple[str, str]] = {}
        self._next_errors: deque[str] = deque()
        self.tenant = tenant

    # --- what the person and the test do -----------------------------------------------------------

    def get_logins(self) -> list[DeviceLogin]:
        """Every device flow so far, oldest first."""
        with self._lock:
            return list(self._logins.values())

    def approve(self, user_code: str, user_name: str) -> None:
        """The person types the code and signs in.

        Raises:
            KeyError: no such code, or nobody of that name.
        """
        if self._people.get(user_name) is None:
            raise KeyError(user_name)
        self._login_of(user_code).user = user_name

    def decline(self, user_code: str) -> None:
        """The person says no."""
        self._login_of(user_code).is_declined = True

    def _login_of(self, user_code: str) -> DeviceLogin:
        with self._lock:
            for login in self._logins.values():
                if login.user_code == user_code:
                    return login
        raise KeyError(user_code)

    def answer_next_with(self, *errors: str) -> None:
        """The next polls hear these error codes (``slow_down``, ``authorization_pending``, …)."""
        with self._lock:
            self._next_errors.extend(errors)

    def revoke_refresh_tokens(self) -> None:
        """No refresh token is good any more."""
        with self._lock:
            self._refresh.clear()

    # --- what programs ask -------------------------------------------------------------------------

    def start_device_login(self, client_id: str, scope: str) -> DeviceLogin:
        """A new device flow."""
        user_code = "".join(secrets.choice(_USER_CODE_LETTERS) for _ in range(9))
        ends_at = self._now() + self._behaviour.device_lifetime
        login = DeviceLogin(secrets.token_urlsafe(32), user_code, client_id, scope, ends_at)
        with self._lock:
            self._logins[login.device_code] = login
        return login

    def poll(self, device_code: str, client_id: str, issuer: str) -> dict[str, Any]:
        """The tokens of an approved login.

        Raises:
            OAuthError: pending, slow_down, declined, expired or unknown.
        """
        with self._lock:
            login = self._logins.get(device_code)
            forced = self._next_errors.popleft() if login is not None and self._next_errors else None
        if login is None or login.client_id != client_id:
            raise OAuthError("invalid_grant", "AADSTS70000: the device code is not known.")
        login.polls += 1
        if forced is not None:
            raise OAuthError(forced)
        if login.is_declined:
            raise OAuthError("authorization_declined", "The end user denied the authorization request.")
        if self._now() >= login.ends_at:
            raise OAuthError("expired_token", "AADSTS70020: the device code has expired.")
        if login.user is None:
            raise OAuthError("authorization_pending", "AADSTS70016: authorization is pending.")
        with self._lock:
            self._logins.pop(device_code, None)
        return self._tokens(login.user, client_id, login.scope, issuer)

    def refresh(self, refresh_token: str, client_id: str, scope: str | None, issuer: str) -> dict[str, Any]:
        """New tokens for a refresh token; the old one stays good, as Entra's do.

        Raises:
            OAuthError: it is not known.
        """
        with self._lock:
            known = self._refresh.get(refresh_token)
        if known is None or self._people.get(known[0]) is None:
            raise OAuthError("invalid_grant", "AADSTS700082: the refresh token has expired or was revoked.")
        return self._tokens(known[0], client_id, scope or known[1], issuer)

    def client_credentials(self, client_id: str, secret: str, issuer: str) -> dict[str, Any]:
        """A token for a service principal.

        Raises:
            OAuthError: unknown, or a wrong secret.
        """
        principal = self._people.authenticate_client(client_id, secret)
        if principal is None:
            raise OAuthError("invalid_client", "AADSTS7000215: invalid client secret provided.", status=401)
        lifetime = self._behaviour.token_lifetime
        token = self._people.issue_jwt(client_id, lifetime=lifetime, issuer=issuer, audience="databricks")
        return {"token_type": "Bearer", "expires_in": int(lifetime), "access_token": token}

    def _tokens(self, user_name: str, client_id: str, scope: str, issuer: str) -> dict[str, Any]:
        lifetime = self._behaviour.token_lifetime
        person = self._people.get(user_name)
        if person is None:
            raise OAuthError("invalid_grant", "AADSTS50034: the account does not exist.")
        refresh_token = secrets.token_urlsafe(32)
        with self._lock:
            self._refresh[refresh_token] = (user_name, scope)
        claims: dict[str, object] = {
            "iss": issuer,
            "aud": client_id,
            "sub": person.id,
            "oid": person.id,
            "tid": self.tenant,
            "preferred_username": user_name,
            "name": person.display_name,
            "iat": int(self._now()),
            "exp": int(self._now() + lifetime),
        }
        return {
            "token_type": "Bearer",
            # msal files the access token under this; without the requested scope it never finds it again.
            "scope": scope,
            "expires_in": int(lifetime),
            "access_token": self._people.issue_jwt(
                user_name, lifetime=lifetime, issuer=issuer, audience="databricks"
            ),
            "refresh_token": refresh_token,
            "id_token": encode_jwt(claims),
            "client_info": encode_json_part({"uid": person.id, "utid": self.tenant}),
        }
