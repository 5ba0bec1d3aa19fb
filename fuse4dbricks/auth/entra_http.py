"""httpx in the form that msal wants of an HTTP client.

The difficulty: msal is written for ``requests``, which drops form fields that are None; httpx would send them as
empty ones. And its errors travel through msal into the caller's hands, so they are ours from the start.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from fuse4dbricks.auth.answers import MAX_ANSWER_BYTES
from fuse4dbricks.auth.network import client_options, lost
from fuse4dbricks.auth.source import SourceFailure


class Reply:
    """What msal reads of a response."""

    def __init__(self, status_code: int, text: str, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.text = text
        self.headers = headers

    def raise_for_status(self) -> None:
        """Nothing for a good answer.

        Raises:
            SourceFailure: any other.
        """
        if self.status_code >= 400:
            is_outage = self.status_code == 429 or self.status_code >= 500
            raise SourceFailure(f"Entra answers {self.status_code}", is_outage=is_outage)


class EntraHttp:
    """A blocking client, for msal in a thread."""

    def __init__(self, authority: str, verify: ssl.SSLContext | None) -> None:
        self._client = httpx.Client(**client_options(authority, verify))

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
        **_: object,
    ) -> Reply:
        """POST of a form."""
        body: dict[str, Any] = (
            {"content": data} if isinstance(data, str | bytes) else {"data": _present(data)}
        )
        return self._send("POST", url, params=_present(params), headers=headers, **body)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, method: str, url: str, **content: Any) -> Reply:
        try:
            with self._client.stream(method, url, **content) as reply:
                body = bytearray()
                for piece in reply.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SourceFailure("Entra's answer is too long", is_outage=True)
                return Reply(reply.status_code, body.decode("utf-8", "replace"), dict(reply.headers))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise lost(url, error) from None


def _present(fields: Any) -> Any:
    if not isinstance(fields, Mapping):
        return fields
    return {name: value for name, value in fields.items() if value is not None}
