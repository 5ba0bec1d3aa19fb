"""What a local workspace is told before it starts, and what may be changed while it runs.

The difficulty: a test wants one odd behaviour of the real service at a time (an ETag, a page that is empty, a
token refused with 403 and a number), while a demo wants none. So everything that the documentation leaves open
or that differs between clouds is one field of :class:`Behaviour`, read anew by every request, with the best
guess about the real service as its default.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

#: The first-party application id of Azure Databricks, which Entra tokens are asked for.
AZURE_DATABRICKS_APP = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"

Presigned = Literal["on", "not_enabled", "missing", "network_zone", "hang"]
Cloud = Literal["aws", "azure", "gcp"]
Layout = Literal["hns", "flat"]


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How the service answers; assign to a field at any time, from any thread.

    Attributes:
        bad_token: status for an unknown, expired or revoked token: 403 with a numeric code, or 401.
        etag: send ETag on Files API replies (the real 2.0 API does not).
        layout: ``hns`` keeps folders until removed; in ``flat`` a folder that was never made on purpose goes
            with its last file, and an emptied volume root answers 404.
        page_size: most entries in one directory page.
        catalog_page_size: server-chosen page of Unity Catalog lists, and the cap of ``max_results``.
        paginate_unset: cut catalog and schema lists into pages even without ``max_results``.
        empty_pages: put an empty page with a token before each Unity Catalog page.
        gzip_json: compress JSON when the client's Accept-Encoding allows.
        presigned: what ``create-download-url`` does.
        cloud: whose error documents and headers the cloud store speaks.
        presigned_expired: every presigned URL is past its time.
        max_upload: bytes; a longer PUT is refused.
        conflict_codes: error codes that 409 answers rotate through.
        expand_groups: effective permissions of a principal include those of its groups.
        token_lifetime: seconds that tokens of the OAuth and Entra endpoints live.
        device_interval: seconds between polls that the device flow asks for.
        device_lifetime: seconds until a device code ends.
        login_url: where ``/aad/auth`` redirects to; the tenant is appended.
    """

    bad_token: Literal[401, 403] = 403
    etag: bool = False
    layout: Layout = "hns"
    page_size: int = 1000
    catalog_page_size: int = 1000
    paginate_unset: bool = False
    empty_pages: bool = False
    gzip_json: bool = False
    presigned: Presigned = "on"
    cloud: Cloud = "aws"
    presigned_expired: bool = False
    max_upload: int = 5 << 30
    conflict_codes: tuple[str, ...] = ("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", "ABORTED")
    expand_groups: bool = True
    token_lifetime: float = 3600
    device_interval: int = 5
    device_lifetime: float = 900
    login_url: str = "https://login.microsoftonline.com"


def make_token() -> str:
    """A personal access token of the usual look."""
    return "dapi" + secrets.token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What cannot change while the workspace runs.

    Attributes:
        root: the folder whose CATALOG/SCHEMA/VOLUME sub-folders are served.
        host: address to listen on.
        port: of the workspace; 0 takes a free one.
        cloud_port: of the cloud store that presigned URLs point to; 0 takes a free one.
        tls: serve https with a certificate made on the spot, or with the given pair.
        certificate: PEM file with the certificate chain, together with ``private_key``.
        private_key: PEM file.
        user: the first user, whose token is ``token``.
        token: the first user's personal access token.
        owner: who owns every securable that has no owner of its own.
        open_to_all: every user has all privileges on every catalog; otherwise nobody has any.
        workspace_id: the number in ``X-Databricks-Org-Id``.
        tenant: the Entra tenant of the fake identity provider.
        keep_log: most requests that the log holds.
        now: Unix time in seconds, for token and URL lifetimes.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 0
    cloud_port: int = 0
    tls: bool = False
    certificate: Path | None = None
    private_key: Path | None = None
    user: str = "someone@example.com"
    token: str = field(default_factory=make_token, repr=False)
    owner: str = "owner@example.com"
    open_to_all: bool = True
    workspace_id: int = 1234567890123456
    tenant: str = "00000000-aaaa-4bbb-8ccc-dddddddddddd"
    keep_log: int = 50_000
    now: Callable[[], float] = time.time
