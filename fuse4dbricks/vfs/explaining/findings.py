"""What one explanation has found out so far, and the verdict on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.vfs.explaining.answer import Cached, NextOpen, Standing, Step, Verdict
from fuse4dbricks.vfs.explaining.place import Place

SECURABLES = ("catalog", "schema", "volume")
#: That the Files API lists the volume's root: the proof that its files may be read.
READING = "reading"
PATH = "path"


@dataclass(slots=True)
class Findings:
    """What is known.

    Attributes:
        place: what was asked about.
        path: the same, in the server's spelling as far as it told.
        steps: what was asked of the workspace, up to the first that did not go well.
        entry: what is at the path, as the workspace says now.
        kind: what is there, as far as a cache says.
        cached, next_open: None for those who may not know.
    """

    place: Place
    path: RemotePath
    steps: list[Step] = field(default_factory=list)
    entry: Entry | None = None
    kind: Kind | None = None
    cached: Cached | None = None
    next_open: NextOpen | None = None

    @property
    def last(self) -> Step | None:
        """The step that decides."""
        return self.steps[-1] if self.steps else None

    @property
    def expected(self) -> Iterator[tuple[str, str]]:
        """What has to be allowed, in order: its kind and its name."""
        if self.place.problem or self.place.is_outside:
            return
        for depth, what in enumerate(SECURABLES[: self.path.depth], start=1):
            yield what, ".".join(self.path.parts[:depth])
        if self.path.in_volume:
            yield READING, self.path.volume.full_name
        if self.path.depth > len(SECURABLES):
            yield PATH, str(self.path)

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """Those that were taken, and those that were not asked any more."""
        rest = list(self.expected)[len(self.steps) :]
        return (*self.steps, *(Step(what, name, Standing.NOT_ASKED) for what, name in rest))

    def judge(self, root: RemotePath) -> tuple[Verdict, str]:
        """The verdict on somebody who is signed in, and why, on a mount that shows ``root``."""
        if self.place.problem:
            return Verdict.ABSENT, f"there can be no such name: {self.place.problem}"
        if self.place.is_outside:
            return Verdict.HIDDEN, f"this mount shows {root} alone"
        if not self.path.depth:
            return Verdict.READABLE, "you are signed in"
        last = self.last
        if last is not None and last.standing in {Standing.REFUSED, Standing.ABSENT, Standing.HIDDEN}:
            return _no(last)
        is_done = len(self.steps) == len(list(self.expected))
        if is_done and last is not None and last.standing is Standing.ALLOWED:
            return Verdict.READABLE, "the workspace lets you read it"
        if self.cached is not None and (self.cached.complete or self.cached.listing_complete):
            return (
                Verdict.READABLE,
                "the workspace does not say, but all of it is cached and you were let in before",
            )
        return Verdict.UNKNOWN, "the workspace did not say, in time or at all"

    def get_kind(self, verdict: Verdict) -> str | None:
        """What is at the path, for who may know."""
        if self.place.problem or self.place.is_outside:
            return None
        if not self.path.depth:
            return "root"
        is_said = self.entry is not None and verdict is Verdict.READABLE
        kind = self.entry.kind if is_said and self.entry is not None else self.kind
        return None if kind is None else kind.name.lower()


def _no(step: Step) -> tuple[Verdict, str]:
    what = step.name if step.what == PATH else f"{step.what} {step.name}"
    match step.standing:
        case Standing.HIDDEN:
            return Verdict.HIDDEN, f"the lists of this mount hide the {what}"
        case Standing.ABSENT if step.what != READING:
            return Verdict.ABSENT, f"the workspace knows of no {what}"
        case Standing.ABSENT:
            return Verdict.ABSENT, f"the workspace finds nothing in the volume {step.name}"
        case _ if step.what == READING:
            return Verdict.REFUSED, f"the workspace does not let you read the volume {step.name}"
        case _:
            return Verdict.REFUSED, f"the workspace refuses you the {what}"
