"""When a target that went since it did not answer may be taken in again.

One that hangs past its deadline, answers when it is sought, and hangs again stops everybody for a
deadline each time. So after its second such departure there is a pause, which doubles. One that
goes for another reason, and says so at once, costs nothing and comes back as soon as it is seen.
"""

from ecfs.base.limits import REJOIN_PAUSE_S_MAX
from ecfs.base.units import NS_PER_S

REJOIN_PAUSE_S_MIN = 60.0
WELL_S = 3600.0
"""Who was there for so long after it might return begins anew."""


class Departures:
    """Those of one target that were timeouts, or the like. Times are of the environment's
    monotonic clock."""

    __slots__ = ("_count", "_due_ns")

    def __init__(self) -> None:
        self._count = 0
        self._due_ns = 0

    def note(self, now_ns: int) -> float:
        """It went, since it did not answer; how many seconds it is to stay away at least."""
        if now_ns - self._due_ns > WELL_S * NS_PER_S:
            self._count = 0
        self._count += 1
        pause_s = 0.0 if self._count == 1 else min(
            REJOIN_PAUSE_S_MIN * (1 << min(self._count - 2, 16)), REJOIN_PAUSE_S_MAX)
        self._due_ns = now_ns + int(pause_s * NS_PER_S)
        return pause_s

    def may_return(self, now_ns: int) -> bool:
        """Whether the pause is over."""
        return now_ns >= self._due_ns

    def hung_before(self, now_ns: int) -> bool:
        """Whether it did so of late: nobody need wait for it as long as for others."""
        return self._count > 0 and now_ns - self._due_ns <= WELL_S * NS_PER_S
