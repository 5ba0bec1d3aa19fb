"""The workspace as the driver sees it: identity, catalogs and files, over httpx on trio.

httpx brings a command line of its own, and with it Rich and Pygments where these are installed: a fifth of what a mount
takes to start. So it is told, before it is first imported, that the command is not there, which it is ready for.
"""

import sys

# None stands for a module that cannot be imported (documented at sys.modules); typeshed does not know of it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

# ruff: noqa: E402 - this is before the first import of httpx
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
