"""Who may do what to which securable.

The difficulty: a privilege reaches a volume in five ways (granted on it, on its schema, on its catalog, through a
group, or by owning it), and the API tells about four of them only: an owner has no grant row. The rules are those
of the Unity Catalog documentation: ALL_PRIVILEGES implies every privilege but MANAGE and EXTERNAL_USE_*; owning a
parent gives no data privilege on its children; reading needs USE CATALOG and USE SCHEMA as well.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from fuse4dbricks.devworkspace.people import ACCOUNT_USERS, Principal

ALL_PRIVILEGES = "ALL_PRIVILEGES"
BROWSE = "BROWSE"
MANAGE = "MANAGE"
READ_VOLUME = "READ_VOLUME"
USE_CATALOG = "USE_CATALOG"
USE_SCHEMA = "USE_SCHEMA"
WRITE_VOLUME = "WRITE_VOLUME"

_KINDS = ("CATALOG", "SCHEMA", "VOLUME")


def kind_of(securable: str) -> str:
    """CATALOG, SCHEMA or VOLUME, by the number of dots in a full name."""
    return _KINDS[securable.count(".")]


def lineage(securable: str) -> tuple[str, ...]:
    """The securable and its parents, nearest first."""
    parts = securable.split(".")
    return tuple(".".join(parts[:depth]) for depth in range(len(parts), 0, -1))


@dataclass(frozen=True, slots=True)
class EffectiveGrant:
    """One row of effective permissions; ``inherited_from`` is None for a direct grant."""

    principal: str
    privilege: str
    inherited_from: str | None


class Grants:
    """Grants, owners and metastore admins. Safe to use from any thread; names are compared in lower case."""

    def __init__(self, owner: str, *, open_to_all: bool) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, list[str]]] = {}
        self._owners: dict[str, str] = {}
        self.default_owner = owner
        self.open_to_all = open_to_all
        self.metastore_admins: set[str] = set()

    def grant(self, securable: str, principal: str, *privileges: str) -> None:
        """Add grants on ``catalog[.schema[.volume]]`` to a user, group or application id."""
        with self._lock:
            held = self._rows.setdefault(securable.lower(), {}).setdefault(principal, [])
            held.extend(privilege for privilege in privileges if privilege not in held)

    def revoke(self, securable: str, principal: str, *privileges: str) -> None:
        """Take these grants away, or all of them when none is named."""
        with self._lock:
            rows = self._rows.get(securable.lower(), {})
            left = [held for held in rows.pop(principal, []) if privileges and held not in privileges]
            if left:
                rows[principal] = left

    def let_read(self, volume: str, principal: str, *, write: bool = False) -> None:
        """The three or four grants that reading (and writing) a volume takes."""
        own, schema, catalog = lineage(volume)
        self.grant(catalog, principal, USE_CATALOG)
        self.grant(schema, principal, USE_SCHEMA)
        self.grant(own, principal, READ_VOLUME, *([WRITE_VOLUME] if write else []))

    def set_owner(self, securable: str, owner: str) -> None:
        """Make a user or a group the owner."""
        with self._lock:
            self._owners[securable.lower()] = owner

    def owner_of(self, securable: str) -> str:
        """The owner, who has every privilege on it and no row."""
        with self._lock:
            return self._owners.get(securable.lower(), self.default_owner)

    def direct(self, securable: str) -> dict[str, tuple[str, ...]]:
        """What was granted on this very securable, by principal."""
        with self._lock:
            rows = {who: tuple(held) for who, held in self._rows.get(securable.lower(), {}).items()}
        if self.open_to_all and "." not in securable:
            rows.setdefault(ACCOUNT_USERS, (ALL_PRIVILEGES,))
        return rows

    def effective(self, securable: str) -> list[EffectiveGrant]:
        """What holds here, direct and inherited; owners are not in it."""
        own = securable.lower()
        return [
            EffectiveGrant(who, privilege, None if place == own else place)
            for place in lineage(own)
            for who, held in self.direct(place).items()
            for privilege in held
        ]

    def is_admin(self, principal: Principal) -> bool:
        """Whether he is an admin of the metastore: sees all, may read nothing for it."""
        return bool(self.metastore_admins & principal.identities)

    def owns(self, principal: Principal, securable: str) -> bool:
        """Whether he, or a group of his, owns it."""
        return self.owner_of(securable) in principal.identities

    def holds(self, principal: Principal, securable: str, privilege: str) -> bool:
        """Whether the privilege reaches him by owning it, by grant, by inheritance or by a group."""
        if self.owns(principal, securable):
            return True
        wanted = {privilege} if privilege == MANAGE else {privilege, ALL_PRIVILEGES}
        return any(
            row.privilege in wanted and row.principal in principal.identities
            for row in self.effective(securable)
        )

    def may_administer(self, principal: Principal, securable: str) -> bool:
        """Whether he may see and change the grants of others: admin, owner of it or of a parent, or MANAGE."""
        return (
            self.is_admin(principal)
            or any(self.owns(principal, place) for place in lineage(securable.lower()))
            or self.holds(principal, securable, MANAGE)
        )

    def missing_use(self, principal: Principal, securables: Iterable[str]) -> tuple[str, str] | None:
        """The first of these catalogs and schemas that he has no USE on, with the privilege he lacks."""
        for securable in securables:
            privilege = USE_SCHEMA if "." in securable else USE_CATALOG
            if not self.holds(principal, securable, privilege):
                return securable, privilege
        return None
