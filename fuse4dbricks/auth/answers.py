"""What token endpoints answer, read strictly.

The difficulty: the answer holds the secret, so no part of it may reach a log or an error, except the two fields that
OAuth has for people (RFC 6749 section 5.2), and these only as far as they are short and printable.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from fuse4dbricks.auth.source import Issued, SourceFailure
from fuse4dbricks.errors import InvalidWrite
from fuse4dbricks.tokens import Token

#: An Entra answer with three tokens has 6 KB.
MAX_ANSWER_BYTES = 256 * 1024
#: Whatever is claimed, a token is renewed within a day.
MAX_LIFETIME = 86_400.0
MAX_WORDS = 200

_CODE = re.compile(r"[a-z_]{1,64}")


def decode_answer(text: str | bytes) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        SourceFailure: it is something else.
    """
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise SourceFailure("the answer is not what a token endpoint sends", is_outage=True) from None
    return payload


def issued_of(answer: Mapping[str, Any], *, origin: str = "") -> Issued:
    """The token of a good answer, or of a command line tool's.

    Raises:
        SourceFailure: it has none that is usable.
    """
    try:
        token = Token(answer.get("access_token", ""))
    except (InvalidWrite, AttributeError, TypeError):
        raise SourceFailure("the answer holds no usable token") from None
    return Issued(token, _lifetime(answer.get("expires_in")), origin)


def _lifetime(claimed: object) -> float | None:
    if claimed is None:
        return None
    try:
        seconds = float(claimed)  # type: ignore[arg-type]  # whatever it is: Entra's v1 endpoint sends a string
    except (TypeError, ValueError):
        raise SourceFailure("the answer holds no usable lifetime") from None
    if not math.isfinite(seconds) or seconds <= 0:
        raise SourceFailure("the answer holds no usable lifetime")
    return min(seconds, MAX_LIFETIME)


def words_of(answer: Mapping[str, Any]) -> str:
    """What an error answer says to people: ``invalid_client: AADSTS7000215: …``."""
    code = answer.get("error") or answer.get("errorCode")
    said = answer.get("error_description") or answer.get("errorSummary")
    words = [code if isinstance(code, str) and _CODE.fullmatch(code) else "refused"]
    if isinstance(said, str):
        line = " ".join("".join(c if c.isprintable() else " " for c in said[: 4 * MAX_WORDS]).split())
        words.append(line[:MAX_WORDS])
    return ": ".join(filter(None, words))
