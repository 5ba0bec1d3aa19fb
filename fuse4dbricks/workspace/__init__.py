"""The workspace as the driver sees it: identity, catalogs and files, over httpx on trio."""

from fuse4dbricks.workspace.client import Workspace
from fuse4dbricks.workspace.files_api import FilesApi, Page
from fuse4dbricks.workspace.identity import Identity
from fuse4dbricks.workspace.limits import Limits, Ticket, Urgency
from fuse4dbricks.workspace.pages import PageTrail
from fuse4dbricks.workspace.retry import Patience
from fuse4dbricks.workspace.unity_catalog import UnityCatalog
from fuse4dbricks.workspace.wire import DownloadUrl

__all__ = [
    "DownloadUrl",
    "FilesApi",
    "Identity",
    "Limits",
    "Page",
    "PageTrail",
    "Patience",
    "Ticket",
    "UnityCatalog",
    "Urgency",
    "Workspace",
]
