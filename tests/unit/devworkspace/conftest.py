"""The local workspace's own parts."""

from __future__ import annotations

from tests.support.workspace import workspace

__all__ = ["workspace"]
