"""Asking the device again for a moment before sleeping.

A program that works on a file system by itself sends its next request a few microseconds after the
reply to its last. To go to sleep in between costs both sides a wake-up of an idle core, some 40 us,
several times what the request takes. The idea, and growing and shrinking by success, are those of
Linux's haltpoll governor.
"""

from collections.abc import Callable
from typing import TypeVar

from ecfs.base.units import NS_PER_US
from ecfs.base.world import Clock

T = TypeVar("T")

WINDOW_NS_MAX = 50 * NS_PER_US
WINDOW_NS_MIN = 5 * NS_PER_US


class Patience:
    """For how long to ask again: long while that pays, next to nothing while it does not.

    So who is asked seldom burns 5 us a request, and who is asked all the time saves two wake-ups.
    With one core there is no patience at all: who is to ask needs it.
    """

    def __init__(self, clock: Clock, *, cores_count: int) -> None:
        self._now_ns = clock.monotonic_ns
        self._window_ns = WINDOW_NS_MAX if cores_count > 1 else 0
        self._asleep_since_ns = 0

    def ask(self, ask: Callable[[], T | None]) -> T | None:
        """Calls `ask` until it does not return None, or patience has come to its end."""
        if not self._window_ns:
            return None
        now_ns = self._now_ns
        until_ns = now_ns() + self._window_ns
        while (answer := ask()) is None:
            if (now := now_ns()) >= until_ns:
                self._window_ns = max(WINDOW_NS_MIN, self._window_ns // 2)
                self._asleep_since_ns = now
                return None
        self._window_ns = WINDOW_NS_MAX
        return answer

    def woke(self) -> None:
        """There is something to be asked for, after a sleep that began when `ask` gave up."""
        if self._window_ns and (
                self._now_ns() - self._asleep_since_ns < WINDOW_NS_MAX):
            self._window_ns = WINDOW_NS_MAX
