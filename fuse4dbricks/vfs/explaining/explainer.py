"""Answers what people ask about paths.

The difficulty: it is asked when things are bad. A workspace that is away or silent, a token that was revoked, a path
that no file can have: each makes an answer, within the time that the kernel's request has, and nobody is told what a
program of his would not be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.fetching import TreeFetcher
from fuse4dbricks.cache.holdings import Holding, Holdings
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.errors import Fuse4dbricksError, InvalidToken, NoToken
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.attributes import Look
from fuse4dbricks.vfs.control.desk import Desk
from fuse4dbricks.vfs.control.tree import AUTH_INO, ControlTree
from fuse4dbricks.vfs.explaining.answer import Explanation, Failure, Standing, Verdict
from fuse4dbricks.vfs.explaining.findings import Findings
from fuse4dbricks.vfs.explaining.kept import Kept
from fuse4dbricks.vfs.explaining.place import Place, parse_place
from fuse4dbricks.vfs.explaining.way import Advice, Way
from fuse4dbricks.vfs.gate import Gate
from fuse4dbricks.vfs.inodes import ROOT_INO
from fuse4dbricks.vfs.xattrs import version_text

#: The workspace client gives up a call after 25 s, with a reason; the kernel's request is answered after 30.
EXPLAIN_SECONDS = 27.0


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Where an explanation asks, besides what the file system has.

    Attributes:
        fetcher: asks the workspace in a viewer's name.
        advice: lists privileges.
        count_calls: remote reads for a file of which a :class:`Holding` is cached.
    """

    fetcher: TreeFetcher
    advice: Advice
    count_calls: Callable[[Holding], int]


class Explainer:
    """Explains paths to local users."""

    def __init__(
        self,
        *,
        gate: Gate,
        metadata: MetadataCache,
        holdings: Holdings,
        inquiry: Inquiry,
        connectivity: Connectivity,
        desk: Desk,
        look: Look,
    ) -> None:
        self._gate = gate
        self._desk = desk
        self._look = look
        self._way = Way(inquiry.fetcher, inquiry.advice, metadata, connectivity, look.visibility)
        self._kept = Kept(gate, metadata, holdings, inquiry.count_calls, look.root)

    async def answer(self, uid: int, question: bytes) -> bytes:
        """The explanation as JSON."""
        return (await self.explain(uid, question)).as_json()

    def refuse(self, uid: int, question: bytes) -> bytes:
        """That there are too many questions now, as JSON."""
        place = parse_place(question, self._look.root)
        why = "too many questions are being answered now; ask again"
        return self._explanation(uid, None, Findings(place, place.path), Verdict.BUSY, why).as_json()

    async def explain(self, uid: int, question: bytes) -> Explanation:
        """Everything that ``uid`` may know about the path in ``question``, within :data:`EXPLAIN_SECONDS`."""
        place = parse_place(question, self._look.root)
        if ControlTree.find(ROOT_INO, place.first_name) is not None:
            return self._control(uid, place)
        findings, viewer = Findings(place, place.path), None
        with trio.move_on_after(EXPLAIN_SECONDS):
            try:
                viewer = await self._gate.resolve_viewer(uid)
                viewer = await self._look_closely(viewer, findings)
            except (NoToken, InvalidToken) as error:
                why = (
                    "you have no token" if isinstance(error, NoToken) else "the workspace refuses your token"
                )
                return self._explanation(uid, None, findings, Verdict.NOT_SIGNED_IN, why, error)
            except Fuse4dbricksError as error:
                why = "the workspace cannot be asked who you are"
                return self._explanation(uid, viewer, findings, Verdict.UNKNOWN, why, error)
        if viewer is None:
            why = "finding out who you are took too long"
            return self._explanation(uid, None, findings, Verdict.UNKNOWN, why)
        return self._explanation(uid, viewer, findings, *findings.judge(self._look.root))

    async def _look_closely(self, viewer: Viewer, findings: Findings) -> Viewer:
        """All there is, once more when the token was refused and there is another one; returns who was told.

        Raises:
            NoToken, InvalidToken: there is none that is good.
            RemoteError: the workspace cannot say who he is.
        """
        try:
            await self._look_once(viewer, findings)
        except InvalidToken:
            if not await self._gate.has_other_token(viewer.uid):
                raise
            viewer = await self._gate.resolve_viewer(viewer.uid)
            findings.steps.clear()
            await self._look_once(viewer, findings)
        return viewer

    async def _look_once(self, viewer: Viewer, findings: Findings) -> None:
        if findings.place.problem or findings.place.is_outside:
            return
        await self._way.walk(viewer, findings)
        last = findings.last
        if last is None or last.standing in {Standing.ALLOWED, Standing.UNKNOWN}:
            await self._kept.look(viewer, findings)

    def _control(self, uid: int, place: Place) -> Explanation:
        inside = place.path.parts[self._look.root.depth :]
        parents = {1: ROOT_INO, 2: AUTH_INO}
        is_there = len(inside) in parents and ControlTree.find(parents[len(inside)], inside[-1]) is not None
        is_there = is_there and (len(inside) == 1 or ControlTree.find(ROOT_INO, inside[0]) == AUTH_INO)
        return Explanation(
            path="/".join(inside),
            verdict=Verdict.READABLE if is_there else Verdict.ABSENT,
            why="it is the mount's own" if is_there else "the mount has no such file of its own",
            local_user=uid,
            workspace=self._look.workspace,
            kind="control",
        )

    def _explanation(
        self,
        uid: int,
        viewer: Viewer | None,
        findings: Findings,
        verdict: Verdict,
        why: str,
        error: Exception | None = None,
    ) -> Explanation:
        version = None if findings.entry is None else findings.entry.version
        return Explanation(
            path=findings.place.shown if findings.place.problem else str(findings.path),
            verdict=verdict,
            why=why,
            local_user=uid,
            workspace=self._look.workspace,
            kind=findings.get_kind(verdict),
            principal=None if viewer is None else viewer.principal,
            token_source=None if viewer is None else self._desk.get_source(viewer),
            failure=None if error is None else Failure.of(error),
            steps=findings.all_steps,
            current_version=None if version is None else version_text(version),
            cached=findings.cached,
            next_open=findings.next_open,
        )
