"""Which files of a cache folder a person asks about.

The difficulty: one cache folder may serve several workspaces, and a mount that hides a part of one hides it from questions to
the folder, too. So what is asked about is never a path alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuse4dbricks.paths import RemotePath
from fuse4dbricks.visibility import EVERYTHING, Visibility


@dataclass(frozen=True, slots=True)
class Below:
    """What is asked about.

    Attributes:
        under: a file, or a folder with all below it.
        host: of the workspace; None: any.
        visibility: of these, what is told; a mount hides some.
    """

    under: RemotePath
    host: str | None = None
    visibility: Visibility = EVERYTHING
