"""OAuth for service principals of Databricks: a client id and a secret for a token of an hour.

``POST {workspace}/oidc/v1/token`` with HTTP Basic (databricks-api 5.2). There is no refresh token: the next one is
asked for in the same way.
"""

from __future__ import annotations

import ssl

import httpx

from fuse4dbricks.auth.answers import MAX_ANSWER_BYTES, decode_answer, issued_of, words_of
from fuse4dbricks.auth.network import client_options, lost
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Issued, SourceFailure

_FORM = {"grant_type": "client_credentials", "scope": "all-apis"}


async def fetch_client_token(
    base: str, client_id: str, secret: Secret, verify: ssl.SSLContext | None, *, origin: str = ""
) -> Issued:
    """A token of the service principal ``client_id``.

    Args:
        base: the workspace, ``https://host``; the secret goes nowhere else.
        client_id: application id.
        secret: one of its OAuth secrets.
        verify: whom to trust; None for the usual trust.
        origin: what ``auth status`` says of the token.

    Raises:
        SourceFailure: refused, or nobody answered.
    """
    url = f"{base}/oidc/v1/token"
    try:
        async with httpx.AsyncClient(**client_options(url, verify)) as client:
            status, body = await _post(client, url, httpx.BasicAuth(client_id, secret.reveal()))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise lost(url, error) from None
    if status == 200:
        return issued_of(decode_answer(body), origin=origin)
    if status == 429 or status >= 500:
        raise SourceFailure(f"the workspace's token endpoint answers {status}", is_outage=True)
    try:
        words = words_of(decode_answer(body))
    except SourceFailure:
        words = f"HTTP {status}"
    raise SourceFailure(f"the workspace refuses the service principal {client_id} ({words})")


async def _post(client: httpx.AsyncClient, url: str, auth: httpx.Auth) -> tuple[int, bytes]:
    async with client.stream("POST", url, data=_FORM, auth=auth) as reply:
        body = bytearray()
        async for piece in reply.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise SourceFailure("the answer of the token endpoint is too long", is_outage=True)
        return reply.status_code, bytes(body)
