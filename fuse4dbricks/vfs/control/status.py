"""What ``.auth/status`` says: how one local user stands, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from fuse4dbricks.auth.logins import LoginState, Phase
from fuse4dbricks.auth.source import Report
from fuse4dbricks.tokens import Principal
from fuse4dbricks.weather import State

#: Of the JSON form; grows when a field changes its meaning or goes.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Status:
    """How a local user stands. Holds nothing secret.

    Attributes:
        uid: who asked.
        identity_uid: whose sources serve him; another one's with ``--single-principal``.
        connection: how the way to the workspace is.
        principal: who he is in the workspace, when that is known.
        answered: the source whose token is used.
        problem: why he is not let in; empty when he is.
    """

    uid: int
    identity_uid: int
    workspace: str
    connection: State
    principal: Principal | None
    answered: str | None
    problem: str
    login: LoginState
    sources: Sequence[Report]

    def as_json(self) -> bytes:
        """For programs."""
        document = {"schema": SCHEMA, **asdict(self), "expires_at": self._expires_at()}
        return (json.dumps(document, indent=2) + "\n").encode()

    def as_text(self) -> bytes:
        """For people."""
        return ("\n".join(self._lines()) + "\n").encode()

    def _expires_at(self) -> float | None:
        return next((each.expires_at for each in self.sources if each.source == self.answered), None)

    def _lines(self) -> Iterator[str]:
        yield f"workspace   {self.workspace}"
        yield f"connection  {self.connection}"
        yield f"local user  {self.uid}"
        if self.identity_uid != self.uid:
            yield f"            reads as uid {self.identity_uid} does (--single-principal)"
        if self.principal is not None:
            yield f"principal   {self.principal.user_name} (id {self.principal.id})"
        if self.answered is not None:
            yield f"token from  {self.answered}{_until(self._expires_at())}"
        if self.problem:
            yield f"problem     {self.problem}"
        if self.login.phase is Phase.WAITING:
            yield f"login       {self.login.message}{_until(self.login.ends_at)}"
        yield ""
        yield "sources, in the order in which they are asked:"
        for each in self.sources:
            detail = f": {each.detail}" if each.detail else ""
            yield f"  {each.source}: {each.outcome}{detail}{_until(each.expires_at)}"


def login_text(state: LoginState) -> bytes:
    """What ``.auth/login`` says, for a shell to take apart."""
    fields = {"state": state.phase.value, "message": state.message, "url": state.url, "code": state.code}
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value).encode()


def _until(moment: float | None) -> str:
    if moment is None:
        return ""
    return f" (until {datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC)"
