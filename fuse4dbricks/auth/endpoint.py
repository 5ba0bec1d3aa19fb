"""A blocking HTTP client for token endpoints, in the form that msal wants one; for a thread.

The difficulty: msal is written for ``requests``, which drops form fields that are None; httpx would send them as
empty ones. Its errors travel through msal into the caller's hands, so they are ours from the start. And nobody can
end a thread, so each call has an end of its own, also when the answer comes a byte at a time.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from fuse4dbricks.auth.answers import MAX_ANSWER_BYTES
from fuse4dbricks.auth.network import client_options, lost
from fuse4dbricks.auth.source import SourceFailure

#: Seconds for a whole answer; the caller stops waiting at about the same time.
ANSWER_SECONDS = 20.0


class Reply:
    """What msal reads of a response."""

    def __init__(self, host: str, status_code: int, text: str, headers: Mapping[str, str]) -> None:
        self.host = host
        self.status_code = status_code
        self.text = text
        self.headers = headers

    @property
    def is_outage(self) -> bool:
        """Whether nobody answered who is well, or a page or redirect came from somebody else: no word about who asks."""
        status = self.status_code
        return status == 429 or status >= 500 or 300 <= status < 400 or self.text.lstrip()[:1] == "<"

    def raise_for_status(self) -> None:
        """Nothing for a good answer.

        Raises:
            SourceFailure: any other.
        """
        if self.status_code >= 400:
            raise SourceFailure(f"{self.host} answers {self.status_code}", is_outage=self.is_outage)


class Endpoint:
    """One host with token endpoints; keeps no connection between two calls, which are an hour apart."""

    def __init__(self, base: str, verify: ssl.SSLContext | None) -> None:
        self._options = client_options(base, verify)
        self._name = urlsplit(base).netloc

    def get(
        self, url: str, params: Any = None, headers: Mapping[str, str] | None = None, **_: object
    ) -> Reply:
        """GET."""
        return self._send("GET", url, params=_present(params), headers=headers)

    def post(
        self,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: object,
    ) -> Reply:
        """POST of a form; ``auth`` is a name and a password for HTTP Basic."""
        body: dict[str, Any] = (
            {"content": data} if isinstance(data, str | bytes) else {"data": _present(data)}
        )
        return self._send("POST", url, params=_present(params), headers=headers, auth=auth, **body)

    def _send(self, method: str, url: str, **content: Any) -> Reply:
        ends_at = time.monotonic() + ANSWER_SECONDS
        try:
            with httpx.Client(**self._options) as client, client.stream(method, url, **content) as reply:
                body = bytearray()
                for piece in reply.iter_bytes():
                    body += piece
                    if time.monotonic() > ends_at:
                        raise SourceFailure(f"{self._name} does not finish its answer", is_outage=True)
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SourceFailure(f"the answer of {self._name} is too long", is_outage=True)
                return Reply(
                    self._name, reply.status_code, body.decode("utf-8", "replace"), dict(reply.headers)
                )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise lost(url, error) from None


def _present(fields: Any) -> Any:
    if not isinstance(fields, Mapping):
        return fields
    return {name: value for name, value in fields.items() if value is not None}
