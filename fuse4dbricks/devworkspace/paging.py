"""Page tokens and page sizes.

The difficulty: a token must be opaque, must come back with the request it was given for, and must not pin a
snapshot: the real service continues where it stopped while entries come and go.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fuse4dbricks.devworkspace.errors import invalid_parameter


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a listing stopped.

    Attributes:
        scope: what is listed and how; a token of another scope is refused.
        position: entries already given, for lists of catalogs and their kin.
        after: the last entry given, for directories: JSON, compared with what is there now.
        emptied: the empty page before this one has been sent.
    """

    scope: str
    position: int = 0
    after: Any = None
    emptied: bool = False

    def encode(self) -> str:
        """The opaque token."""
        raw = json.dumps([self.scope, self.position, self.after, self.emptied]).encode()
        return base64.urlsafe_b64encode(raw).decode()

    @classmethod
    def read(cls, token: str | None, scope: str) -> Cursor:
        """The cursor of a token, or the beginning when there is none.

        Raises:
            ApiError: 400 when the token is not ours or not for this request.
        """
        if not token:
            return cls(scope)
        try:
            cursor = cls(*json.loads(base64.urlsafe_b64decode(token)))
        except (binascii.Error, ValueError, TypeError):
            raise invalid_parameter("The page token is invalid.") from None
        if cursor.scope != scope:
            raise invalid_parameter("The page token belongs to a request with other parameters.")
        return cursor


def read_number(query: Mapping[str, str], name: str) -> int | None:
    """An integer parameter.

    Raises:
        ApiError: 400 when it is not one.
    """
    raw = query.get(name)
    if raw is None:
        return None
    try:
        return int(raw)
    except ValueError:
        raise invalid_parameter(f"{name} must be an integer.") from None


def read_flag(query: Mapping[str, str], name: str) -> bool:
    """A ``true``/``false`` parameter; absent is false.

    Raises:
        ApiError: 400 when it is neither.
    """
    raw = query.get(name, "false")
    if raw not in ("true", "false"):
        raise invalid_parameter(f"{name} must be true or false.")
    return raw == "true"


def read_max_results(query: Mapping[str, str]) -> int | None:
    """``max_results``: None when unset, 0 for the server's choice.

    Raises:
        ApiError: 400 when negative or no number.
    """
    wanted = read_number(query, "max_results")
    if wanted is not None and wanted < 0:
        raise invalid_parameter("max_results must not be negative.")
    return wanted
