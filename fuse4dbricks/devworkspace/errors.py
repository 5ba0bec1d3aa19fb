"""Errors as the service words them.

The difficulty: clients tell failures apart by status, by ``error_code`` (a string, or a number when the token is
bad), by ``details[].reason`` and by the text. The shapes here are the recorded ones, so that a client that passes
against them has met the real thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILES_DOMAIN = "filesystem.databricks.com"
CATALOG_DOMAIN = "unity-catalog.databricks.com"


class ApiError(Exception):
    """An answer other than success.

    Attributes:
        status: of the HTTP reply.
        code: ``error_code``; a number only where the service itself sends one.
        message: for people.
        reason: of the ErrorInfo detail, or None for no such detail.
        domain: of the ErrorInfo detail.
        headers: added to the reply.
    """

    def __init__(
        self,
        status: int,
        code: str | int,
        message: str,
        *,
        reason: str | None = None,
        domain: str = FILES_DOMAIN,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> dict[str, Any]:
        """The JSON body."""
        details: list[dict[str, Any]] = []
        if self.reason is not None:
            details.append(
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": self.reason,
                    "domain": self.domain,
                    "metadata": {},
                }
            )
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RequestInfo",
                "request_id": request_id,
                "serving_data": "",
            }
        )
        return {"error_code": self.code, "message": self.message, "details": details}


def bad_request(message: str, reason: str | None = None, *, code: str = "BAD_REQUEST") -> ApiError:
    """400 with a Files API reason."""
    return ApiError(400, code, message, reason=reason)


def invalid_parameter(message: str) -> ApiError:
    """400 INVALID_PARAMETER_VALUE."""
    return ApiError(
        400, "INVALID_PARAMETER_VALUE", message, reason="INVALID_PARAMETER_VALUE", domain=CATALOG_DOMAIN
    )


def permission_denied(message: str, *, reason: str | None = None, domain: str = CATALOG_DOMAIN) -> ApiError:
    """403: this principal may not."""
    return ApiError(403, "PERMISSION_DENIED", message, reason=reason, domain=domain)


def not_found(message: str, reason: str = "FILES_API_RESOURCE_NOT_FOUND") -> ApiError:
    """404 of the Files API."""
    return ApiError(404, "NOT_FOUND", message, reason=reason)


def securable_missing(kind: str, full_name: str) -> ApiError:
    """404 of Unity Catalog; volumes have no error code of their own."""
    code = "RESOURCE_DOES_NOT_EXIST" if kind == "VOLUME" else f"{kind}_DOES_NOT_EXIST"
    return ApiError(
        404, code, f"{kind.title()} '{full_name}' does not exist.", reason=code, domain=CATALOG_DOMAIN
    )


def credential_missing(request_id: str) -> ApiError:
    """401: no Authorization header, or not a bearer token."""
    return ApiError(
        401,
        401,
        f"Credential was not sent or was of an unsupported type for this API. [ReqId: {request_id}]",
        headers={"WWW-Authenticate": 'Bearer realm="DatabricksRealm"'},
    )


def token_refused(status: int, request_id: str) -> ApiError:
    """The token is unknown, expired or revoked: 403 with a number (as recorded), or 401."""
    headers = {"X-Databricks-Reason-Phrase": "Invalid access token."}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="DatabricksRealm"'
    return ApiError(status, status, f"Invalid access token. [ReqId: {request_id}]", headers=headers)
