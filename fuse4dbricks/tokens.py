"""Secrets as values that cannot be printed by accident.

The difficulty: a token reaches logs by way of everything that formats its arguments: ``repr``, f-strings,
tracebacks with locals, and h11, which quotes an illegal header value in its error. So a token is checked
before it is one, and its text is reached only through :meth:`Token.reveal`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from fuse4dbricks.errors import InvalidWrite, NotAsked

#: A PAT has 36–40 characters, an Entra JWT 1–3 KB.
MAX_TOKEN_BYTES = 4096

# RFC 6750 b64token plus nothing: no control character can reach a header line.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]+")


class Credential:
    """What tokens are made from, to be known again: a client id and its secret, a login. It holds a digest only."""

    __slots__ = ("_digest",)

    def __init__(self, kind: str, *parts: str) -> None:
        """Recognise the credential of a ``kind`` that consists of ``parts``."""
        self._digest = hashlib.blake2b(json.dumps([kind, *parts]).encode(), digest_size=32).digest()

    def fingerprint(self, key: bytes) -> bytes:
        """16 bytes that recognise it again under ``key``, and are no token's."""
        return hashlib.blake2b(self._digest, key=key[:64], digest_size=16, person=b"f4db-credential").digest()

    def stand_in(self) -> StandIn:
        """What stands for its tokens while none can be had."""
        return StandIn(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return "Credential(…)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a credential is not pickled")


class Token:
    """A bearer token. ``repr``, ``str`` and ``format`` show nothing of it.

    Attributes:
        credential: what it was made from, if that can be known again.
    """

    __slots__ = ("_text", "credential")

    def __init__(self, text: str, credential: Credential | None = None) -> None:
        """Wrap a token.

        Raises:
            InvalidWrite: it is empty, too long, or holds a character that no token has.
        """
        raw = text.encode("utf-8", "surrogatepass")
        if len(raw) > MAX_TOKEN_BYTES:
            raise InvalidWrite(f"a token of {len(raw)} bytes; {MAX_TOKEN_BYTES} is the limit")
        if not _TOKEN.fullmatch(raw):
            raise InvalidWrite("that is not a token: it may hold letters, digits and ._~+/=- only")
        self._text = text
        self.credential = credential

    def made_from(self, credential: Credential | None) -> Token:
        """The same token, which knows what it was made from."""
        return Token(self._text, credential)

    def reveal(self) -> str:
        """The secret itself, for a request header."""
        return self._text

    def fingerprint(self, key: bytes) -> bytes:
        """16 bytes that recognise this token again under ``key`` and tell nothing about it."""
        return hashlib.blake2b(self._text.encode(), key=key[:64], digest_size=16).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Token(…)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "Token(…)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a token is not pickled")


class StandIn(Token):
    """Says who asks while no token of his can be had: the credential is the one that his proofs were made with.

    It can be compared and recognised like a token, and cannot be sent.
    """

    __slots__ = ()

    def __init__(self, credential: Credential) -> None:
        # A space is in no token's text, so it equals none.
        self._text = f"stand-in {credential.fingerprint(b'').hex()}"
        self.credential = credential

    def reveal(self) -> str:
        """Nothing.

        Raises:
            NotAsked: always; there is nothing to send.
        """
        raise NotAsked("no token can be had while nobody can be reached")

    def fingerprint(self, key: bytes) -> bytes:
        """The credential's."""
        assert self.credential is not None
        return self.credential.fingerprint(key)


@dataclass(frozen=True, slots=True)
class Principal:
    """A Databricks identity, from SCIM Me.

    Attributes:
        id: the service's stable id; the key of grants and of per-principal listings.
        user_name: e-mail of a user, application id of a service principal; for people to read.
    """

    id: str
    user_name: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: a local user, the principal that he is, and the token to ask with.

    Attributes:
        uid: local user.
        principal: his identity in the workspace.
        token: valid as far as is known.
    """

    uid: int
    principal: Principal
    token: Token
