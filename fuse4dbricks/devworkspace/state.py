"""Everything that requests share, in one record with named parts."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from fuse4dbricks.devworkspace.disk_tree import DiskTree
from fuse4dbricks.devworkspace.entra import Entra
from fuse4dbricks.devworkspace.faults import FaultPlan
from fuse4dbricks.devworkspace.grants import Grants
from fuse4dbricks.devworkspace.journal import Journal
from fuse4dbricks.devworkspace.metadata import Metadata
from fuse4dbricks.devworkspace.namespace import Namespace
from fuse4dbricks.devworkspace.people import People
from fuse4dbricks.devworkspace.settings import Behaviour, Settings
from fuse4dbricks.devworkspace.tree import Parts, Tree


class HostileEntries:
    """Raw JSON entries that are put into listings: names no tree can hold, missing fields, wrong types."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, list[Any]] = {}

    def add(self, listing: str, *entries: Any) -> None:
        """Put entries on the first page of a listing.

        Args:
            listing: ``/Volumes/c/s/v/dir`` for a folder; ``catalogs``, ``schemas c`` or ``volumes c.s``.
            entries: whatever JSON can say; a lone surrogate is sent as its escape.
        """
        with self._lock:
            self._entries.setdefault(listing, []).extend(entries)

    def get(self, listing: str) -> list[Any]:
        """The entries for a listing."""
        with self._lock:
            return list(self._entries.get(listing, ()))

    def clear(self) -> None:
        """Only what the tree holds is listed again."""
        with self._lock:
            self._entries.clear()


@dataclass(slots=True)
class State:
    """The workspace without its sockets."""

    settings: Settings
    behaviour: Behaviour
    tree: Tree
    namespace: Namespace
    people: People
    grants: Grants
    metadata: Metadata
    entra: Entra
    journal: Journal
    faults: FaultPlan
    hostile: HostileEntries
    #: Where the two servers are reached; set when their sockets are bound.
    url: str = ""
    cloud_url: str = ""
    #: Folders that a PUT made on purpose: the flat layout does not let them vanish.
    made_folders: set[Parts] = field(default_factory=set)
    url_key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    @classmethod
    def of(cls, settings: Settings, tree: Tree | None = None, behaviour: Behaviour | None = None) -> State:
        """A fresh workspace with its first user."""
        tree = DiskTree(settings.root) if tree is None else tree
        behaviour = Behaviour() if behaviour is None else behaviour
        people = People(settings.now)
        people.add_user(settings.user, token=settings.token)
        namespace = Namespace(tree)
        grants = Grants(settings.owner, open_to_all=settings.open_to_all)
        return cls(
            settings=settings,
            behaviour=behaviour,
            tree=tree,
            namespace=namespace,
            people=people,
            grants=grants,
            metadata=Metadata(tree, namespace, grants),
            entra=Entra(people, behaviour, settings.tenant, settings.now),
            journal=Journal(settings.keep_log),
            faults=FaultPlan(),
            hostile=HostileEntries(),
        )
