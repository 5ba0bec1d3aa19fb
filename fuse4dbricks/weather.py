"""Words about the way to the workspace, for every floor.

The difficulty: whoever sends something, be it a call or a renewal of a token, must know whether that is of any use
now, or allowed at all, and the one who knows (:class:`~fuse4dbricks.cache.connectivity.Connectivity`) lives above most
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from typing import Protocol


class State(StrEnum):
    """How the way to the workspace is."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class Mode(StrEnum):
    """What the user wants of an outage (``--offline``).

    ``AUTO``: what is known is served on. ``ALWAYS``: nothing is ever sent. ``NEVER``: what is past its time to live is
    an error.
    """

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Weather(Protocol):
    """What those need who send something."""

    @property
    def is_down(self) -> bool:
        """Whether nothing is to be sent now."""
        ...

    @property
    def is_forced(self) -> bool:
        """Whether nothing may ever be sent, not even by another program."""
        ...

    def reaching(self) -> AbstractContextManager[None]:
        """A block that sends something and waits; raises NotAsked when nobody can be reached, then or meanwhile."""
        ...

    def note_doubt(self) -> None:
        """Somebody was not reached who is not the workspace itself."""
        ...


class FairWeather:
    """Everybody can be reached, as far as is known."""

    is_down = False
    is_forced = False

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """The block, as it is."""
        yield

    def note_doubt(self) -> None:
        """Nothing."""


FAIR: Weather = FairWeather()
