"""``/_local/…``: what tests set in process, for those that run outside: faults, log, people, grants, logins.

The difficulty: this door has no lock, so it opens to the loopback interface only, and changes nothing on GET and
POST, which are what a web page may send to another origin without asking.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fuse4dbricks.devworkspace import body_effects, effects, gates
from fuse4dbricks.devworkspace.endpoint import json_reply
from fuse4dbricks.devworkspace.faults import Effect, Fault
from fuse4dbricks.devworkspace.state import State

_EFFECTS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        effects.Latency,
        effects.Status,
        effects.Page,
        effects.Redirect,
        effects.Json,
        effects.Reset,
        effects.Hang,
        effects.IgnoreRange,
        effects.OtherRange,
        effects.Headers,
        effects.EndlessPages,
        body_effects.Bandwidth,
        body_effects.Drip,
        body_effects.DripHeaders,
        body_effects.ShortBody,
        body_effects.LongBody,
        body_effects.Gzip,
        body_effects.Garbled,
        gates.ConcurrencyGate,
        gates.QpsGate,
    )
}


def build_fault(document: dict[str, Any]) -> Fault:
    """A fault from ``{"effect": "Latency", "with": {"seconds": 0.1}, "kind": "fs.*", "times": 3}``.

    Raises:
        ValueError: an effect or a field that does not exist.
    """
    fields = dict(document)
    name, arguments = fields.pop("effect", None), fields.pop("with", {})
    if name not in _EFFECTS:
        raise ValueError(f"no such effect: {name}; there are {', '.join(sorted(_EFFECTS))}")
    try:
        effect: Effect = _EFFECTS[name](**arguments)
        return Fault(effect=effect, **fields)
    except TypeError as error:
        raise ValueError(str(error)) from None


class Admin:
    """Answers to the requests of one workspace's owner."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def faults(self, request: Request) -> Response:
        """GET the plan with its counts, PUT one more, DELETE all."""
        plan = self._state.faults
        if request.method == "DELETE":
            plan.clear()
        elif request.method == "PUT":
            plan.add(build_fault(await _document(request)))
        return json_reply(
            {
                "faults": [
                    {
                        "number": active.number,
                        "effect": type(active.fault.effect).__name__,
                        "kind": active.fault.kind,
                        "path": active.fault.path,
                        "matched": active.matched,
                        "fired": active.fired,
                    }
                    for active in plan.get_active()
                ]
            }
        )

    async def log(self, request: Request) -> Response:
        """GET the requests so far; DELETE empties log and counts."""
        if request.method == "DELETE":
            self._state.journal.clear()
        kind = request.query_params.get("kind")
        return json_reply(
            {"log": [dataclasses.asdict(record) for record in self._state.journal.get_log(kind)]}
        )

    async def counts(self, request: Request) -> Response:
        """GET calls, bytes and peaks by kind."""
        del request
        journal = self._state.journal
        return json_reply(
            {
                "calls": journal.get_counts(),
                "bytes": journal.get_bytes(),
                "in_flight": journal.get_in_flight(),
                "peaks": journal.get_peaks(),
                "leaked_authorization": journal.leaked_authorization,
            }
        )

    async def behaviour(self, request: Request) -> Response:
        """GET the behaviour, PUT some of its fields."""
        behaviour = self._state.behaviour
        if request.method == "PUT":
            for name, value in (await _document(request)).items():
                known = getattr(behaviour, name, None)
                if not _fits(value, known):
                    raise ValueError(f"no such behaviour, or a value of the wrong type: {name}")
                setattr(behaviour, name, tuple(value) if isinstance(value, list) else value)
        return json_reply(dataclasses.asdict(behaviour))

    async def people(self, request: Request) -> Response:
        """PUT ``{"user_name", "groups", "token"}``: a user, answered with his token; GET everybody."""
        people = self._state.people
        if request.method == "PUT":
            asked = await _document(request)
            token = people.add_user(
                asked["user_name"], groups=asked.get("groups", ()), token=asked.get("token")
            )
            return json_reply({"token": token})
        return json_reply({"people": [dataclasses.asdict(who) for who in people.get_all()]})

    async def tokens(self, request: Request) -> Response:
        """PUT ``{"user_name", "lifetime"}``: one more token; DELETE ``{"token"}`` revokes it."""
        asked = await _document(request)
        if request.method == "DELETE":
            self._state.people.revoke_token(asked["token"])
            return json_reply({})
        return json_reply(
            {"token": self._state.people.issue_token(asked["user_name"], lifetime=asked.get("lifetime"))}
        )

    async def grants(self, request: Request) -> Response:
        """PUT or DELETE ``{"securable", "principal", "privileges"}``; PUT ``{"securable", "owner"}``."""
        asked, grants = await _document(request), self._state.grants
        if "open_to_all" in asked:
            grants.open_to_all = bool(asked["open_to_all"])
        elif "owner" in asked:
            grants.set_owner(asked["securable"], asked["owner"])
        else:
            change = grants.revoke if request.method == "DELETE" else grants.grant
            change(asked["securable"], asked["principal"], *asked.get("privileges", ()))
        return json_reply({})

    async def device_logins(self, request: Request) -> Response:
        """GET the codes that wait; PUT ``{"user_code", "user_name"}`` approves one, without a user declines it."""
        entra = self._state.entra
        if request.method == "PUT":
            asked = await _document(request)
            if asked.get("user_name"):
                entra.approve(asked["user_code"], asked["user_name"])
            else:
                entra.decline(asked["user_code"])
        return json_reply({"user_codes": [login.user_code for login in entra.get_logins()]})


def _fits(value: object, known: object) -> bool:
    if isinstance(known, tuple):
        return isinstance(value, list)
    if isinstance(known, float):
        return isinstance(value, int | float)
    return type(value) is type(known)


async def _document(request: Request) -> dict[str, Any]:
    document = await request.json()
    if not isinstance(document, dict):
        raise ValueError("a JSON object is wanted")  # noqa: TRY004 - 400 like other bad values
    return document


def _is_local(request: Request) -> bool:
    return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback


def admin_routes(state: State) -> Iterator[Route]:
    """The routes under ``/_local``."""
    admin = Admin(state)

    for name, methods in (
        ("faults", ["GET", "PUT", "DELETE"]),
        ("log", ["GET", "DELETE"]),
        ("counts", ["GET"]),
        ("behaviour", ["GET", "PUT"]),
        ("people", ["GET", "PUT"]),
        ("tokens", ["PUT", "DELETE"]),
        ("grants", ["PUT", "DELETE"]),
        ("device_logins", ["GET", "PUT"]),
    ):
        answer = getattr(admin, name)

        async def guarded(request: Request, answer: Any = answer) -> Response:
            if not _is_local(request):
                return json_reply({"error": "loopback only"}, 403)
            try:
                reply: Response = await answer(request)
            except (KeyError, ValueError) as error:
                return json_reply({"error": f"{type(error).__name__}: {error}"}, 400)
            return reply

        yield Route(f"/_local/{name}", guarded, methods=methods)
