"""The official SDK, told to give up at once: its retries wait on a clock that only counts."""

from __future__ import annotations

from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import Clock
from databricks.sdk.config import Config

from tests.support.workspace import Served


class CountingClock(Clock):
    """Sleeping moves it, nothing else does.

    Attributes:
        slept: seconds of each sleep that was asked for.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []

    def time(self) -> float:
        """Seconds slept so far."""
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.slept.append(seconds)


def sdk_client(workspace: Served, token: str | None = None, **options: Any) -> WorkspaceClient:
    """A client of one user (the first, unless a token is given); ``options`` are fields of the SDK's Config."""
    auth = {} if "client_id" in options else {"token": token or workspace.token, "auth_type": "pat"}
    settings: dict[str, Any] = {"retry_timeout_seconds": 5, "http_timeout_seconds": 5, **auth, **options}
    # These are plain attributes of the class, which its constructor does not take.
    tuning = {name: settings.pop(name) for name in list(settings) if name.startswith("files_ext_")}
    config = Config(host=workspace.url, **{"clock": CountingClock(), **settings})
    for name, value in tuning.items():
        setattr(config, name, value)
    return WorkspaceClient(config=config)
