"""Shared by the tests of token sources."""

from tests.support.workspace import workspace

__all__ = ["workspace"]
