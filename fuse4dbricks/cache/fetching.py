"""Questions about the tree, put to the workspace in a viewer's name.

The difficulty: every answer is also evidence about the viewer. A 200 of the Files API proves his grant, a 403
ends it, and both must be noted wherever the call was made from; so all metadata calls go through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from fuse4dbricks.cache.proofs import LIST, READ, SEE, Right
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import EmptyVolume, NotFound, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token, Viewer
from fuse4dbricks.workspace.limits import Ticket

T = TypeVar("T")


class Page(Protocol):
    """One page of a folder."""

    @property
    def entries(self) -> Sequence[Entry]:
        """In the server's order."""
        ...

    @property
    def next_token(self) -> str | None:
        """None on the last page."""
        ...


class CatalogApi(Protocol):
    """Catalogs, schemas and volumes."""

    async def fetch_children(self, token: Token, path: RemotePath) -> Sequence[Entry]:
        """All that the token's principal may use below the root, a catalog or a schema."""
        ...

    async def fetch_securable(self, token: Token, path: RemotePath) -> Entry:
        """One catalog, schema or volume, under the server's spelling of its name."""
        ...


class FolderApi(Protocol):
    """What is inside volumes."""

    async def fetch_page(
        self, token: Token, path: RemotePath, page_token: str | None = None, *, ticket: Ticket | None = None
    ) -> Page:
        """One page of a folder's listing."""
        ...

    async def fetch_version(self, token: Token, path: RemotePath) -> Version:
        """HEAD of a file."""
        ...

    async def fetch_directory_exists(self, token: Token, path: RemotePath) -> bool:
        """HEAD of a folder."""
        ...


class Witness(Protocol):
    """Keeps the evidence; an answer is as old as its question."""

    def get_second(self) -> float:
        """When a question goes out."""
        ...

    def note_answer(self, viewer: Viewer, right: Right, place: RemotePath, asked_at: float) -> None:
        """Unity Catalog told the viewer of ``place``."""
        ...

    def note_proof(self, viewer: Viewer, path: RemotePath, asked_at: float) -> None:
        """The Files API let the viewer read something in the volume of ``path``."""
        ...

    def note_error(
        self, viewer: Viewer, path: RemotePath, error: RemoteError, asked_at: float | None = None
    ) -> None:
        """It did not, or nothing was heard."""
        ...


class TreeFetcher:
    """The only place from which metadata is asked for."""

    def __init__(self, catalog: CatalogApi, folders: FolderApi, witness: Witness) -> None:
        self._catalog = catalog
        self._folders = folders
        self._witness = witness

    async def fetch_page(
        self, viewer: Viewer, path: RemotePath, page_token: str | None, ticket: Ticket | None = None
    ) -> tuple[Sequence[Entry], str | None]:
        """One page of a folder: its entries, and the token of the next.

        Raises:
            EmptyVolume: there is nothing in the volume, or nothing that this viewer may read.
            NotFound: no such folder.
        """
        if not path.in_volume:
            children = await self._ask(viewer, path, self._catalog.fetch_children(viewer.token, path), LIST)
            return children, None
        try:
            page = await self._ask(
                viewer, path, self._folders.fetch_page(viewer.token, path, page_token, ticket=ticket)
            )
        except NotFound as error:
            if path != path.volume or page_token is not None:
                raise
            # Whether there is such a volume is Unity Catalog's word (databricks-api 1.2); whether he may read it is not.
            await self._ask(viewer, path, self._catalog.fetch_securable(viewer.token, path), SEE)
            raise empty_volume(path, error) from None
        return page.entries, page.next_token

    async def fetch_entry(self, viewer: Viewer, path: RemotePath, expected: Kind | None) -> Entry:
        """One entry asked for by itself: one call, or two when it is not of the ``expected`` kind.

        Raises:
            NotFound: neither a file nor a folder.
        """
        if path.boundary_kind is not None:
            return await self._ask(viewer, path, self._catalog.fetch_securable(viewer.token, path), SEE)
        first, second = self._fetch_file, self._fetch_directory
        if expected is Kind.DIRECTORY:
            first, second = second, first
        try:
            return await first(viewer, path)
        except NotFound:
            return await second(viewer, path)

    async def _fetch_file(self, viewer: Viewer, path: RemotePath) -> Entry:
        version = await self._ask(viewer, path, self._folders.fetch_version(viewer.token, path))
        return Entry(path.name, Kind.FILE, version)

    async def _fetch_directory(self, viewer: Viewer, path: RemotePath) -> Entry:
        asked_at = self._witness.get_second()
        try:
            exists = await self._folders.fetch_directory_exists(viewer.token, path)
        except RemoteError as error:
            self._witness.note_error(viewer, path, error, asked_at)
            raise
        if not exists:  # a 404, which proves nothing
            raise NotFound(f"no {path}", status=404)
        self._witness.note_proof(viewer, path, asked_at)
        return Entry(path.name, Kind.DIRECTORY)

    async def _ask(self, viewer: Viewer, path: RemotePath, call: Awaitable[T], right: Right = READ) -> T:
        asked_at = self._witness.get_second()
        try:
            answer = await call
        except RemoteError as error:
            self._witness.note_error(viewer, path, error, asked_at)
            raise
        if right == READ:
            self._witness.note_proof(viewer, path, asked_at)
        else:
            self._witness.note_answer(viewer, right, path, asked_at)
        return answer


def empty_volume(volume: RemotePath, error: NotFound) -> EmptyVolume:
    """What a 404 for the root of a volume means when Unity Catalog shows the volume."""
    return EmptyVolume(
        f"{volume} is empty, or not for this user to read",
        status=error.status,
        error_code=error.error_code,
        request_id=error.request_id,
        said=error.said,
    )
