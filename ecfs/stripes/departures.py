"""When a target that went since it did not answer may be taken in again.

One that hangs past its deadline, answers when it is sought, and hangs again stops everybody for a
deadline each time. So after its second such departure there is a pause, which doubles. One that
goes for another reason, and says so at once, holds up nobody; but each return costs a checkpoint
and a reading of all that it has, so from the third on within an hour there is a pause as well.
"""

from ecfs.base.limits import REJOIN_PAUSE_S_MAX
from ecfs.base.units import NS_PER_S

REJOIN_PAUSE_S_MIN = 60.0
FLAP_PAUSE_S_MIN = 5.0
FLAPS_FREE = 2
WELL_S = 3600.0
"""Who was there for so long after it might return begins anew."""


class Departures:
    """Those of one target. Times are of the environment's monotonic clock."""

    __slots__ = ("_due_ns", "_flaps_count", "_hangs_count", "_hung_ns")

    def __init__(self) -> None:
        self._hangs_count = self._flaps_count = 0
        self._due_ns = self._hung_ns = 0

    def note(self, now_ns: int, *, hung: bool) -> float:
        """It went, since it did not answer (`hung`) or for what it said; how many seconds it is to
        stay away at least."""
        if now_ns - self._due_ns > WELL_S * NS_PER_S:
            self._hangs_count = self._flaps_count = 0
        if hung:
            self._hangs_count += 1
            pause_s = _doubled(REJOIN_PAUSE_S_MIN, self._hangs_count - 2)
        else:
            self._flaps_count += 1
            pause_s = _doubled(FLAP_PAUSE_S_MIN, self._flaps_count - FLAPS_FREE - 1)
        self._due_ns = now_ns + int(pause_s * NS_PER_S)
        if hung:
            self._hung_ns = self._due_ns
        return pause_s

    def may_return(self, now_ns: int) -> bool:
        """Whether the pause is over."""
        return now_ns >= self._due_ns

    def hung_before(self, now_ns: int) -> bool:
        """Whether it hung of late: nobody need wait for it as long as for others."""
        return self._hangs_count > 0 and now_ns - self._hung_ns <= WELL_S * NS_PER_S


def _doubled(least_s: float, times: int) -> float:
    """No pause before the first time, which is 0."""
    return 0.0 if times < 0 else min(least_s * (1 << min(times, 16)), REJOIN_PAUSE_S_MAX)
