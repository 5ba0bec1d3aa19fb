"""Catalogs, schemas and volumes, found by their names in any case.

The difficulty: the service stores these names in lower case and compares them without case, while the folder on
disk has whatever case its maker liked and may hold names that no catalog can have. Below a volume everything is
case-sensitive. The mapping is rebuilt only when the tree hands out a new listing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fuse4dbricks.devworkspace.grants import kind_of
from fuse4dbricks.devworkspace.tree import Item, Parts, Tree

# Documented: at most 255 characters, no dot, space, slash or ASCII control character.
_SECURABLE_NAME = re.compile(r"[^\x00-\x20./\x7f]{1,255}")

#: Deepest level that Unity Catalog knows: catalog, schema, volume.
VOLUME_DEPTH = 3


class SecurableMissing(Exception):
    """No such catalog, schema or volume.

    Attributes:
        kind: CATALOG, SCHEMA or VOLUME: the first level that is missing.
        full_name: as the service stores it.
    """

    def __init__(self, full_name: str) -> None:
        super().__init__(full_name)
        self.full_name = full_name
        self.kind = kind_of(full_name)


@dataclass(frozen=True, slots=True)
class _Level:
    items: Sequence[Item]
    folders: Mapping[str, str]


class Namespace:
    """The three levels above the files."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._levels: dict[Parts, _Level] = {}

    def _folders(self, parts: Parts) -> Mapping[str, str]:
        items = self._tree.items(parts)
        level = self._levels.get(parts)
        if level is None or level.items is not items:
            folders: dict[str, str] = {}
            for item in items:
                if item.is_folder and _SECURABLE_NAME.fullmatch(item.name):
                    folders.setdefault(item.name.lower(), item.name)
            level = self._levels[parts] = _Level(items, folders)
        return level.folders

    def children(self, names: Sequence[str]) -> list[str]:
        """Lower-case names of the catalogs, or of the schemas or volumes in these."""
        return sorted(self._folders(self.locate(names)))

    def locate(self, names: Sequence[str]) -> Parts:
        """The tree's own names of a catalog, schema or volume.

        Raises:
            SecurableMissing: naming the first level that is not there.
        """
        parts: Parts = ()
        for depth, name in enumerate(names, 1):
            found = self._folders(parts).get(name.lower())
            if found is None:
                raise SecurableMissing(".".join(names[:depth]).lower())
            parts = (*parts, found)
        return parts
