"""OAuth for service principals of Databricks: a client id and a secret for a token of an hour.

``POST {workspace}/oidc/v1/token`` with HTTP Basic (databricks-api 5.2). There is no refresh token: the next one is
asked for in the same way.
"""

from __future__ import annotations

import ssl

from fuse4dbricks.auth.answers import decode_answer, issued_of, words_of
from fuse4dbricks.auth.endpoint import Endpoint
from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import Issued, SourceFailure

_FORM = {"grant_type": "client_credentials", "scope": "all-apis"}


def fetch_client_token(
    base: str, client_id: str, secret: Secret, verify: ssl.SSLContext | None, *, origin: str = ""
) -> Issued:
    """A token of the service principal ``client_id``. Blocks.

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
    reply = Endpoint(base, verify).post(url, data=_FORM, auth=(client_id, secret.reveal()))
    if reply.status_code == 200:
        return issued_of(decode_answer(reply.text), origin=origin)
    if reply.is_outage:
        raise SourceFailure(f"the workspace's token endpoint answers {reply.status_code}", is_outage=True)
    try:
        words = words_of(decode_answer(reply.text))
    except SourceFailure:
        words = f"HTTP {reply.status_code}"
    raise SourceFailure(f"the workspace refuses the service principal {client_id} ({words})")
