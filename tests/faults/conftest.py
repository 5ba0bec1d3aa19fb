"""What tests of faults share: a workspace, and a mount of it."""

from __future__ import annotations

from tests.support.places import place, served, shared
from tests.support.workspace import workspace

__all__ = ["place", "served", "shared", "workspace"]
