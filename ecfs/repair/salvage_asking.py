"""What salvage asks of targets. It goes through all that looks like something, which a target may
fill with nothing, and answer slowly for each: for such guesses a target has one time for all."""

from collections.abc import Callable
from typing import TypeVar

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import READ_PATIENCE_S_MIN, TARGET_DEADLINE_S
from ecfs.base.units import NS_PER_S
from ecfs.base.world import Clock
from ecfs.targets import AnyLane, Target

T = TypeVar("T")

SLOW_S_MAX = 300.0
"""Of one target, beyond READ_PATIENCE_S_MIN for each answer."""


class Asked:
    """One target. Each call blocks."""

    def __init__(self, target: Target, lane: AnyLane, clock: Clock) -> None:
        self._target = target
        self._lane = lane
        self._clock = clock
        self._left_ns = int(SLOW_S_MAX * NS_PER_S)

    @property
    def is_slow(self) -> bool:
        """Whether its time is over: what it has is asked for after that of others."""
        return self._left_ns <= 0

    def get(self, work: Callable[[Target], T], deadline_s: float = TARGET_DEADLINE_S) -> T:
        """Something that is known to have been there. TargetError."""
        began_ns = self._clock.monotonic_ns()
        try:
            return self._lane.run_sync(work, self._target, deadline_s=deadline_s)
        finally:
            taken_ns = self._clock.monotonic_ns() - began_ns
            self._left_ns -= max(0, taken_ns - int(READ_PATIENCE_S_MIN * NS_PER_S))

    def guess(self, work: Callable[[Target], T], deadline_s: float = TARGET_DEADLINE_S) -> T:
        """Something that may be nothing. TargetError, at once where its time is over."""
        if self.is_slow:
            raise TargetError(Fault.TIMEOUT, f"{self._target.path}: too slow to look through")
        return self.get(work, deadline_s)
