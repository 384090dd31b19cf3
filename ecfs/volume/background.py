"""What goes on beside a volume: what it asks of that (`tending` has the real one), and the tasks.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import trio

from ecfs.base.errors import EcfsError
from ecfs.stripes import ShardFault, StripeRef

_log = logging.getLogger("ecfs.volume")


class Mender(Protocol):
    """Repairs what reads report; the room `repair` has the real one."""

    def report(self, ref: StripeRef, faults: Sequence[ShardFault]) -> None:
        """A read met damage. Does not wait."""
        ...

    async def run(self, volume: Any) -> None:
        """Mend a `Volume` until cancelled."""
        ...


class Background(Protocol):
    """What goes on while a volume is open."""

    async def tend(self) -> None:
        """One round."""
        ...

    async def reclaim(self) -> None:
        """Delete segments in which nothing lives."""
        ...

    async def make_room(self) -> None:
        """Give back what is dead until something may grow again, in bounded time. Does not raise.
        """
        ...

    async def give_back(self) -> None:
        """Give back what is dead, where room is low."""
        ...

    async def tidy(self) -> None:
        """Give back all that is dead, as if room were low."""
        ...


class Idle:
    """Nothing goes on: of a volume that is only read, or not begun yet."""

    async def tend(self) -> None:
        """Nothing."""

    async def reclaim(self) -> None:
        """Nothing."""

    async def make_room(self) -> None:
        """Nothing."""

    async def give_back(self) -> None:
        """Nothing."""

    async def tidy(self) -> None:
        """Nothing."""


class Task:
    """Something that changes the database, from when it is begun until it is ended."""

    def __init__(self) -> None:
        self._scope: trio.CancelScope | None = None
        self._ended = trio.Event()

    def begin(self, nursery: trio.Nursery, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` in a nursery, until one of both is cancelled."""
        self._scope = trio.CancelScope()
        nursery.start_soon(self._run, self._scope, work)

    async def _run(self, scope: trio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with scope:
                await work()
        finally:
            self._ended.set()

    async def end(self) -> None:
        """It is over on return. What is cut short is as after a crash: it is done again, or undone.
        """
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()


async def in_turn(*steps: Callable[[], Awaitable[None]]) -> Exception | None:
    """Each step, whatever became of the ones before; the first failure."""
    first = None
    for step in steps:
        try:
            await step()
        except Exception as error:
            _log.error("while the pool is closed: %s: %s", type(error).__name__, error,
                       exc_info=None if isinstance(error, EcfsError) else error)
            first = first or error
    return first
