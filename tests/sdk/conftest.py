"""The official SDK against the local workspace."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config

from tests.support.workspace import Served, workspace

__all__ = ["workspace"]


def sdk_client(workspace: Served, token: str | None = None) -> WorkspaceClient:
    """A client that gives up quickly: a test of an error must not wait for the SDK's five minutes."""
    config = Config(
        host=workspace.url,
        token=token or workspace.token,
        auth_type="pat",
        retry_timeout_seconds=1,
        http_timeout_seconds=5,
    )
    return WorkspaceClient(config=config)


@pytest.fixture
def client(workspace: Served, monkeypatch: pytest.MonkeyPatch) -> WorkspaceClient:
    """The first user's client."""
    return sdk_client(workspace)
