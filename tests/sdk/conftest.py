"""The official SDK against the local workspace."""

from __future__ import annotations

import os

import pytest
from databricks.sdk import WorkspaceClient

from tests.support.sdk import sdk_client
from tests.support.workspace import Served, workspace

__all__ = ["workspace"]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK looks for credentials in the environment and in the home folder; neither is part of a test."""
    for name in os.environ:
        if name.startswith(("DATABRICKS_", "ARM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)


@pytest.fixture
def client(workspace: Served) -> WorkspaceClient:
    """The first user's client."""
    return sdk_client(workspace)
