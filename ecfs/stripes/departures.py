"""When a target that went may be taken in again.

One that hangs past its deadline, answers when it is sought, and hangs again stops everybody for a
deadline each time. One that fails at once costs a checkpoint, new segments and a comparison of all
that it holds each time that it is back. So after its second departure there is a pause, which
doubles: a minute at first for one that did not answer, seconds for one that said so.
"""

from ecfs.base.limits import REJOIN_PAUSE_S_MAX
from ecfs.base.units import NS_PER_S

HANG_PAUSE_S_MIN = 60.0
REJOIN_PAUSE_S_MIN = 5.0
WELL_S = 3600.0
"""Who was there for so long after it might return begins anew."""


class Departures:
    """Those of one target. Times are of the environment's monotonic clock."""

    __slots__ = ("_count", "_due_ns", "_hung_count")

    def __init__(self) -> None:
        self._count = 0
        self._hung_count = 0
        self._due_ns = 0

    def note(self, now_ns: int, *, hung: bool) -> float:
        """It went, since it did not answer, or the like, if it `hung`; how many seconds it is to
        stay away at least."""
        if now_ns - self._due_ns > WELL_S * NS_PER_S:
            self._count = self._hung_count = 0
        self._count += 1
        pause_s = _pause_s(REJOIN_PAUSE_S_MIN, self._count)
        if hung:
            self._hung_count += 1
            pause_s = max(pause_s, _pause_s(HANG_PAUSE_S_MIN, self._hung_count))
        self._due_ns = now_ns + int(pause_s * NS_PER_S)
        return pause_s

    def may_return(self, now_ns: int) -> bool:
        """Whether the pause is over."""
        return now_ns >= self._due_ns

    def hung_before(self, now_ns: int) -> bool:
        """Whether it hung of late: nobody need wait for it as long as for others."""
        return self._hung_count > 0 and now_ns - self._due_ns <= WELL_S * NS_PER_S


def _pause_s(least_s: float, count: int) -> float:
    """After the first time none; then it doubles."""
    return 0.0 if count < 2 else min(least_s * (1 << min(count - 2, 16)), REJOIN_PAUSE_S_MAX)
