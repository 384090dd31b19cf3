"""Asking again for a moment before sleeping.

What is waited for often comes in less time than it takes to sleep and to be woken: a wake-up of an
idle core costs some 40 us. The idea, and growing and shrinking by success, are those of Linux's
haltpoll governor.
"""

from collections.abc import Callable
from typing import TypeVar

from ecfs.base.units import NS_PER_US
from ecfs.base.world import Clock

T = TypeVar("T")

WINDOW_NS_MIN = 5 * NS_PER_US


class Patience:
    """For how long to ask again: long while that pays, next to nothing while it does not.

    So what comes late burns 5 us each time, and what comes soon saves two wake-ups. With one core
    there is no patience at all: who is waited for needs it.
    """

    def __init__(self, clock: Clock, *, cores_count: int, window_ns_max: int) -> None:
        self._now_ns = clock.monotonic_ns
        self._window_ns_max = window_ns_max if cores_count > 1 else 0
        self._window_ns = self._window_ns_max
        self._asked_ns = self._asleep_since_ns = 0

    def ask(self, ask: Callable[[], T | None]) -> T | None:
        """Calls `ask` until it does not return None, or patience has come to its end."""
        if not self._window_ns:
            return None
        now_ns = self._now_ns
        self._asked_ns = now_ns()
        until_ns = self._asked_ns + self._window_ns
        while (answer := ask()) is None:
            if (now := now_ns()) >= until_ns:
                self._window_ns = max(WINDOW_NS_MIN, self._window_ns // 2)
                self._asleep_since_ns = now
                return None
        self._window_ns = self._window_ns_max
        return answer

    def since_asked_ns(self) -> int:
        """How long ago `ask` began."""
        return self._now_ns() - self._asked_ns

    def woke(self) -> None:
        """There is something to be asked for, after a sleep that began when `ask` gave up."""
        if self._window_ns and (
                self._now_ns() - self._asleep_since_ns < self._window_ns_max):
            self._window_ns = self._window_ns_max
