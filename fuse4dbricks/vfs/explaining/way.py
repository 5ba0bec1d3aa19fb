"""Asks the workspace about each thing on the way to a path, in the name of who wants to know.

The difficulty: the answer must be the service's of now, in its words and with the number of its request, so no cache is
asked; and it stops at the first no, as a program's walk does, because what comes behind would only be refused as well.
Each answer is also evidence about the viewer, and is noted as that of any other call (``cache/fetching.py``).
"""

from __future__ import annotations

from typing import Protocol

import trio

from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.versions import merged
from fuse4dbricks.errors import InvalidToken, NotFound, PermissionDenied, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Principal, Token, Viewer
from fuse4dbricks.vfs.explaining.answer import Failure, Standing, Step
from fuse4dbricks.vfs.explaining.findings import PATH, READING, SECURABLES, Findings
from fuse4dbricks.visibility import Visibility

#: For what is only advice.
ADVICE_SECONDS = 4.0


class Advice(Protocol):
    """Unity Catalog's word on who has which privilege."""

    async def fetch_effective_permissions(
        self, token: Token, path: RemotePath, principal: Principal
    ) -> list[str]:
        """Privileges of the principal on a catalog, schema or volume."""
        ...


class Way:
    """The way to a path, step by step.

    Every method raises InvalidToken, which is about the user and not about a step.
    """

    def __init__(
        self,
        fetcher: TreeFetcher,
        advice: Advice,
        metadata: MetadataCache,
        connectivity: Connectivity,
        visibility: Visibility,
    ) -> None:
        self._fetcher = fetcher
        self._advice = advice
        self._metadata = metadata
        self._connectivity = connectivity
        self._visibility = visibility

    async def walk(self, viewer: Viewer, findings: Findings) -> None:
        """Take all steps, up to the first that does not go well."""
        asked = findings.place.path
        for depth, what in enumerate(SECURABLES[: asked.depth], start=1):
            path = RemotePath(findings.path.parts[: depth - 1] + asked.parts[depth - 1 : depth])
            if not await self._ask_securable(viewer, findings, what, path):
                return
        if asked.in_volume and not await self._ask_reading(viewer, findings, findings.path.volume):
            return
        if asked.depth > len(SECURABLES):
            await self._ask_path(viewer, findings, findings.path)

    async def _ask_securable(self, viewer: Viewer, findings: Findings, what: str, path: RemotePath) -> bool:
        if not self._visibility.shows(path):
            findings.steps.append(Step(what, path.full_name, Standing.HIDDEN))
            return False
        try:
            self._connectivity.raise_if_down()
            entry = await self._fetcher.fetch_entry(viewer, path, None)
        except RemoteError as error:
            await self._note_no(viewer, findings, what, path, error)
            return False
        # Names are case-insensitive up to here: from now on it is the server's spelling.
        spelt = path.parent.child(entry.name)
        findings.path = RemotePath(spelt.parts + findings.path.parts[spelt.depth :])
        findings.entry = entry if findings.path.depth == spelt.depth else None
        findings.steps.append(Step(what, spelt.full_name, Standing.ALLOWED))
        return True

    async def _ask_reading(self, viewer: Viewer, findings: Findings, volume: RemotePath) -> bool:
        try:
            self._connectivity.raise_if_down()
            await self._fetcher.fetch_page(viewer, volume, None)
        except RemoteError as error:
            await self._note_no(viewer, findings, READING, volume, error)
            return False
        findings.steps.append(Step(READING, volume.full_name, Standing.ALLOWED))
        return True

    async def _ask_path(self, viewer: Viewer, findings: Findings, path: RemotePath) -> None:
        known = self._metadata.load_entry(viewer, path)  # he may read the volume: that was just said
        old = known.entry if known is not None else None
        try:
            self._connectivity.raise_if_down()
            found = await self._fetcher.fetch_entry(viewer, path, old.kind if old else None)
        except RemoteError as error:
            await self._note_no(viewer, findings, PATH, path, error)
            return
        findings.entry = merged(old, found)
        findings.steps.append(Step(PATH, str(path), Standing.ALLOWED))

    async def _note_no(
        self, viewer: Viewer, findings: Findings, what: str, path: RemotePath, error: RemoteError
    ) -> None:
        if isinstance(error, InvalidToken):
            raise error
        standing = Standing.UNKNOWN
        if isinstance(error, PermissionDenied):
            standing = Standing.REFUSED
        elif isinstance(error, NotFound):
            standing = Standing.ABSENT
        told = error
        if error.request_id is None and isinstance(error.__context__, RemoteError):
            told = (
                error.__context__
            )  # of two questions, "is it a file?" and "a folder?", the first one's number
        privileges = None
        if standing is Standing.REFUSED and path.depth <= len(SECURABLES):
            privileges = await self._fetch_advice(viewer, path)
        name = str(path) if what == PATH else path.full_name
        findings.steps.append(Step(what, name, standing, Failure.of(told), privileges))

    async def _fetch_advice(self, viewer: Viewer, path: RemotePath) -> tuple[str, ...] | None:
        with trio.move_on_after(ADVICE_SECONDS):
            try:
                found = await self._advice.fetch_effective_permissions(viewer.token, path, viewer.principal)
            except RemoteError:
                return None
            return tuple(found)
        return None
