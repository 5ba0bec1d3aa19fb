"""Users, service principals, groups and their tokens.

The difficulty: tokens come into being in three places (given by a test, OAuth for a service principal, Entra for
a person) and must end at a set time or at once, while requests are being answered in another thread. Everything
is behind one lock, and a token's end is checked each time that it is shown.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fuse4dbricks.devworkspace.settings import make_token

#: Every principal of the account is in it, whatever else he is in.
ACCOUNT_USERS = "account users"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who can hold a token.

    Attributes:
        id: of SCIM, a decimal number.
        user_name: e-mail of a user, application id of a service principal.
        groups: names of the groups that he is in.
    """

    id: str
    user_name: str
    display_name: str
    groups: tuple[str, ...]
    is_service_principal: bool = False

    @property
    def identities(self) -> frozenset[str]:
        """Every name under which a grant can reach him."""
        return frozenset((self.user_name, ACCOUNT_USERS, *self.groups))


@dataclass(slots=True)
class _Token:
    user_name: str
    ends_at: float | None


def fingerprint(token: str) -> str:
    """A short name for a token that does not give it away."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


class People:
    """Who is known, by which token. Safe to use from any thread."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._by_name: dict[str, Principal] = {}
        self._tokens: dict[str, _Token] = {}
        self._secrets: dict[str, str] = {}
        self._next_id = 4000000000001

    def add_user(self, user_name: str, *, groups: Iterable[str] = (), token: str | None = None) -> str:
        """Make a user known (again: with these groups) and give him a token, which is returned."""
        self._add(user_name, user_name.partition("@")[0].title(), tuple(groups), is_service_principal=False)
        return self.issue_token(user_name, value=token or make_token())

    def add_service_principal(
        self,
        display_name: str,
        *,
        groups: Iterable[str] = (),
        application_id: str | None = None,
        secret: str | None = None,
    ) -> tuple[str, str]:
        """Make a service principal known; returns its client id and its secret."""
        client_id = application_id or str(uuid.uuid4())
        self._add(client_id, display_name, tuple(groups), is_service_principal=True)
        with self._lock:
            self._secrets[client_id] = secret or "dose" + secrets.token_hex(16)
            return client_id, self._secrets[client_id]

    def _add(
        self, user_name: str, display_name: str, groups: tuple[str, ...], *, is_service_principal: bool
    ) -> None:
        with self._lock:
            known = self._by_name.get(user_name)
            if known is None:
                self._next_id += 1
            number = str(self._next_id) if known is None else known.id
            self._by_name[user_name] = Principal(
                number, user_name, display_name, groups, is_service_principal
            )

    def remove_user(self, user_name: str) -> None:
        """Forget a principal and all his tokens."""
        with self._lock:
            self._by_name.pop(user_name, None)
            self._tokens = {
                value: token for value, token in self._tokens.items() if token.user_name != user_name
            }

    def get(self, user_name: str) -> Principal | None:
        """The principal of that name."""
        with self._lock:
            return self._by_name.get(user_name)

    def get_all(self) -> list[Principal]:
        """Everybody, in the order of arrival."""
        with self._lock:
            return list(self._by_name.values())

    def issue_token(self, user_name: str, *, value: str | None = None, lifetime: float | None = None) -> str:
        """A token for a known principal; ``lifetime`` in seconds, None for one without end.

        Raises:
            KeyError: nobody of that name.
        """
        value = value or make_token()
        with self._lock:
            self._by_name[user_name]
            self._tokens[value] = _Token(user_name, None if lifetime is None else self._now() + lifetime)
        return value

    def issue_jwt(self, user_name: str, *, lifetime: float, issuer: str, audience: str) -> str:
        """A token of the look of an OAuth access token (unsigned: the workspace knows its own)."""
        claims = {
            "iss": issuer,
            "aud": audience,
            "sub": user_name,
            "iat": int(self._now()),
            "exp": int(self._now() + lifetime),
            "jti": secrets.token_hex(8),
        }
        return self.issue_token(user_name, value=encode_jwt(claims), lifetime=lifetime)

    def revoke_token(self, value: str) -> None:
        """The token is refused from now on."""
        with self._lock:
            self._tokens.pop(value, None)

    def authenticate(self, value: str) -> Principal | None:
        """Whose token it is; None when it is unknown, over or revoked."""
        with self._lock:
            token = self._tokens.get(value)
            if token is None or (token.ends_at is not None and self._now() >= token.ends_at):
                return None
            return self._by_name.get(token.user_name)

    def authenticate_client(self, client_id: str, secret: str) -> Principal | None:
        """The service principal with that client id and secret."""
        with self._lock:
            known = self._secrets.get(client_id)
            if known is None or not hmac.compare_digest(known.encode(), secret.encode()):
                return None
            return self._by_name.get(client_id)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encode_json_part(document: object) -> str:
    """A JSON document as base64url without padding, as in a JWT or Entra's ``client_info``."""
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def encode_jwt(claims: dict[str, object]) -> str:
    """A JWT with a signature that only looks like one; nobody but this workspace is to trust it."""
    header = encode_json_part({"typ": "JWT", "alg": "RS256", "kid": "local"})
    return f"{header}.{encode_json_part(claims)}.{_base64url(secrets.token_bytes(32))}"
