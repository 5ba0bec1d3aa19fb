"""Singleflight: the same question asked by many at once goes out once.

The difficulty: if the first caller runs the work, his cancellation or his failure strands or fails the others.
Here a service task runs it. Its value goes to all who wait; its exception too, each getting a copy of his own,
because one exception object raised in several tasks grows one tangled traceback. When nobody waits any more the
work is cancelled: nobody would read the answer. Unless somebody who could not wait wanted it for those who come next.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import Fuse4dbricksError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FlightAborted(Fuse4dbricksError):
    """The mount ends: the flight was cancelled under its waiters."""


def own_copy(error: Exception) -> Exception:
    """A copy of ``error`` for one more raiser, with the original as its cause."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class with an unusual constructor cannot be copied: share it
        return error
    if type(twin) is not type(error) or twin.args != error.args:
        return error
    twin.__cause__ = error
    return twin


class _Flight(Generic[V]):
    """One piece of work: not landed, landed with ``value`` or ``error``, or (``is_aborted``) with neither."""

    __slots__ = ("error", "is_aborted", "landed", "scope", "value", "waiters")

    value: V

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.scope = trio.CancelScope()
        self.waiters = 0
        self.is_aborted = True  # until there is a result
        self.error: Exception | None = None


class Flights(Generic[K, V]):
    """Work in flight by key. The dict is only touched between awaits, so it needs no lock."""

    def __init__(self, name: str, supervisor: Supervisor) -> None:
        self._name = name
        self._supervisor = supervisor
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: object) -> bool:
        return key in self._flights

    async def join(
        self, key: K, work: Callable[[], Awaitable[V]], *, goes_on: Callable[[], bool] | None = None
    ) -> V:
        """Wait for the flight of ``key``, starting ``work()`` if there is none.

        Args:
            key: what is asked for.
            work: finds the answer.
            goes_on: asked when this caller leaves it as the last one: is its answer worth having all the same?

        Raises:
            FlightAborted: the service ends.
            Exception: whatever ``work`` raised, as a copy of the caller's own.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._start(key, work)
        flight.waiters += 1
        try:
            await flight.landed.wait()
        finally:
            flight.waiters -= 1
            is_wanted = flight.waiters or (goes_on is not None and goes_on())
            if not is_wanted and not flight.landed.is_set():
                # A later caller must not board a flight that is being cancelled.
                flight.scope.cancel()
                self._discard(key, flight)
        if flight.is_aborted:
            raise FlightAborted(self._name)
        if flight.error is not None:
            raise own_copy(flight.error)
        return flight.value

    def _start(self, key: K, work: Callable[[], Awaitable[V]]) -> _Flight[V]:
        flight: _Flight[V] = _Flight()
        try:
            self._supervisor.start_soon(self._name, self._fly, key, flight, work)
        except RuntimeError:
            # The nursery is closed. A flight that nobody flies must not be found by the next caller.
            raise FlightAborted(self._name) from None
        self._flights[key] = flight
        return flight

    async def _fly(self, key: K, flight: _Flight[V], work: Callable[[], Awaitable[V]]) -> None:
        try:
            with flight.scope:
                try:
                    flight.value = await work()
                except Exception as error:  # noqa: BLE001 - it is not swallowed: each waiter raises it
                    flight.error = error
                flight.is_aborted = False
        finally:
            self._discard(key, flight)
            flight.landed.set()

    def _discard(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
