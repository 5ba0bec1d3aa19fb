"""What Unity Catalog says about a catalog, schema or volume.

The difficulty: in the real answers every field but the name can be missing (system and foreign catalogs,
BROWSE-only objects), and a client that relies on one meets a KeyError in production. So each field of each object
can be replaced or left out here.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fuse4dbricks.devworkspace.grants import Grants, kind_of
from fuse4dbricks.devworkspace.namespace import Namespace
from fuse4dbricks.devworkspace.tree import Tree

#: What a principal with nothing but BROWSE is shown.
_BROWSABLE = frozenset(
    ("name", "full_name", "catalog_name", "schema_name", "owner", "comment", "securable_type", "volume_type")
)


@dataclass(slots=True)
class _Changes:
    fields: dict[str, Any] = field(default_factory=dict)
    omit: set[str] = field(default_factory=set)


def _stable_id(full_name: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(full_name.encode()).digest()[:16]))


class Metadata:
    """Builds the JSON of securables. Safe to use from any thread."""

    def __init__(self, tree: Tree, namespace: Namespace, grants: Grants) -> None:
        self._tree = tree
        self._namespace = namespace
        self._grants = grants
        self._lock = threading.Lock()
        self._changes: dict[str, _Changes] = {}

    def change(self, securable: str, *, omit: Iterable[str] = (), **fields: Any) -> None:
        """Replace fields of one object, or leave them out: ``change("system", omit=["created_at"])``."""
        with self._lock:
            changes = self._changes.setdefault(securable.lower(), _Changes())
            changes.fields.update(fields)
            changes.omit.update(omit)

    def describe(self, full_name: str, *, browse_only: bool = False) -> dict[str, Any]:
        """The JSON of an object that exists.

        Raises:
            SecurableMissing: it does not.
        """
        names = full_name.split(".")
        kind = kind_of(full_name)
        node = self._tree.stat(self._namespace.locate(names))
        changed_at = 0 if node is None else int(node.modified) * 1000
        described = self._common(full_name, names, kind, changed_at) | _OWN_FIELDS[kind](full_name, names)
        if browse_only:
            described = {key: value for key, value in described.items() if key in _BROWSABLE}
            described["browse_only"] = True
        with self._lock:
            changes = self._changes.get(full_name, _Changes())
            described |= changes.fields
            return {key: value for key, value in described.items() if key not in changes.omit}

    def _common(self, full_name: str, names: list[str], kind: str, changed_at: int) -> dict[str, Any]:
        owner = self._grants.owner_of(full_name)
        return {
            "name": names[-1],
            "full_name": full_name,
            "owner": owner,
            "securable_type": kind,
            "metastore_id": _stable_id("metastore"),
            "created_at": changed_at,
            "created_by": owner,
            "updated_at": changed_at,
            "updated_by": owner,
        }


def _catalog_fields(full_name: str, names: list[str]) -> dict[str, Any]:
    del names
    return {
        "catalog_type": "MANAGED_CATALOG",
        "isolation_mode": "OPEN",
        "storage_root": f"s3://local-workspace/{full_name}",
    }


def _schema_fields(full_name: str, names: list[str]) -> dict[str, Any]:
    return {"catalog_name": names[0], "catalog_type": "MANAGED_CATALOG", "schema_id": _stable_id(full_name)}


def _volume_fields(full_name: str, names: list[str]) -> dict[str, Any]:
    return {
        "catalog_name": names[0],
        "schema_name": names[1],
        "volume_id": _stable_id(full_name),
        "volume_type": "MANAGED",
        "storage_location": f"s3://local-workspace/__unitystorage/volumes/{_stable_id(full_name)}",
    }


_OWN_FIELDS = {"CATALOG": _catalog_fields, "SCHEMA": _schema_fields, "VOLUME": _volume_fields}
