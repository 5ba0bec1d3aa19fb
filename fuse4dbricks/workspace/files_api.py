"""The Files API: what lies inside volumes.

The difficulty: a HEAD answers without a body, a listing leaves out sizes, an empty folder looks like nothing at
all, and each call counts against ten at a time. The rules are in the modules beside this one; this is the list of
calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuse4dbricks.entry import Entry, Version
from fuse4dbricks.errors import NotFound, ProtocolViolation
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace.calls import Caller
from fuse4dbricks.workspace.cloud import CloudStore
from fuse4dbricks.workspace.exchange import Call
from fuse4dbricks.workspace.identity import Identity
from fuse4dbricks.workspace.limits import Lane, Ticket
from fuse4dbricks.workspace.pages import RejectLog
from fuse4dbricks.workspace.ranges import observed_version
from fuse4dbricks.workspace.streams import RangeStream
from fuse4dbricks.workspace.wire import DownloadUrl, parse_directory, parse_download_url

_API = "/api/2.0/fs"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a folder.

    Attributes:
        entries: distinct checked names. A file without a version was listed without size or time.
        next_token: for the next page; None on the last.
        observed_at: Unix time by the server's clock if that is sane, else ours.
    """

    entries: tuple[Entry, ...]
    next_token: str | None
    observed_at: float


class FilesApi:
    """What a reader asks of the Files API."""

    def __init__(
        self, caller: Caller, identity: Identity, metrics: Metrics, cloud: CloudStore | None = None
    ) -> None:
        self._cloud = cloud
        self._caller = caller
        self._identity = identity
        self._rejects = RejectLog(metrics)

    async def fetch_page(
        self,
        token: Token,
        path: RemotePath,
        page_token: str | None = None,
        page_size: int | None = None,
        *,
        ticket: Ticket | None = None,
    ) -> Page:
        """One page of a folder; without ``page_size`` the largest (1,000). Without a ``ticket`` somebody waits for it.

        Walk the pages with a :class:`~fuse4dbricks.workspace.pages.PageTrail`: this sees one at a time.

        Raises:
            NotFound: no such folder; also of an emptied volume root on some stores.
            ProtocolViolation: the page is malformed or names itself as the next one.
            RemoteError: any other failure.
        """
        query = {"page_size": str(page_size)} if page_size is not None else {}
        if page_token is not None:
            query["page_token"] = page_token
        call = Call("listing", Lane.METADATA, "GET", _url_path("directories", path), query)
        async with self._identity.settling_denials(token):
            listing, observed_at = await self._caller.fetch_json(
                call, token, lambda payload, at: (parse_directory(payload, at), at), ticket
            )
        if page_token is not None and listing.next_token == page_token:
            raise ProtocolViolation(f"the listing of {path} repeats a page token")
        self._rejects.report(path, listing)
        return Page(listing.entries, listing.next_token, observed_at)

    async def fetch_version(self, token: Token, path: RemotePath) -> Version:
        """The version of a file as it is now (HEAD).

        Raises:
            NotFound: no such file; also when it is a folder.
            RemoteError: any other failure.
        """
        call = Call("head", Lane.METADATA, "HEAD", _url_path("files", path))
        async with self._identity.settling_denials(token):
            return await self._caller.fetch_head(call, token, observed_version)

    async def fetch_directory_exists(self, token: Token, path: RemotePath) -> bool:
        """Whether there is such a folder (HEAD); False also when it is a file.

        Raises:
            RemoteError: the workspace could not or would not say.
        """
        call = Call("head", Lane.METADATA, "HEAD", _url_path("directories", path))
        try:
            async with self._identity.settling_denials(token):
                return await self._caller.fetch_head(call, token, lambda _headers, _at: True)
        except NotFound:
            return False

    def stream_range(
        self, token: Token, path: RemotePath, start: int, stop: int, version: Version, ticket: Ticket
    ) -> RangeStream:
        """Bytes ``[start, stop)`` of exactly ``version``, in pieces as they arrive, never one beyond ``stop``.

        A broken body goes on where it broke. Nothing is requested for an empty range.

        Raises:
            ValueError: the range is not one of that version.
            VersionChanged: the file is another one now; bytes handed on before are still of ``version``.
            NotFound: the file is gone.
            RemoteError: any other failure, after its retries.
        """
        if not 0 <= start <= stop <= version.size:
            raise ValueError(f"bytes {start} to {stop} of a file of {version.size}")
        url_path = _url_path("files", path)
        detour = None if self._cloud is None else self._cloud.way_to(token, path, self.fetch_download_url)
        return RangeStream(
            self._caller, self._identity, token, url_path, start, stop, version, ticket, detour
        )

    async def fetch_download_url(self, token: Token, path: RemotePath) -> DownloadUrl:
        """A presigned URL for a file. It is a secret, and its host must never see the token.

        Raises:
            NotFound: no such file.
            RequestRejected: the workspace does not offer such URLs.
            RemoteError: any other failure.
        """
        _refuse_impossible(path)
        call = Call("download_url", Lane.METADATA, "POST", f"{_API}/create-download-url", {"path": str(path)})
        async with self._identity.settling_denials(token):
            return await self._caller.fetch_json(call, token, lambda payload, _: parse_download_url(payload))


def _url_path(collection: str, path: RemotePath) -> str:
    _refuse_impossible(path)
    return f"{_API}/{collection}{path.files_api_path()}"


def _refuse_impossible(path: RemotePath) -> None:
    if not path.in_volume:
        raise ValueError(f"{path} is not in a volume")
    # A URL library would resolve them and ask for another path.
    if any(part in {"", ".", ".."} for part in path.parts):
        raise NotFound(f"{path}: no such name can exist")
