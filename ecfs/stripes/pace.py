"""How soon each target answers reads, and which of them are asked last because they were late.

A target that is always slow, but never past its deadline, would hold up whoever asks it first. So
lateness is remembered: a late one is asked last until it has answered well for a while. How it
does is tried with a read beside the one that somebody waits for, so a trial holds up nobody.

One that is quick and late in turns must not win a wait each time it looks well. So the pause before
a trial, and how many answers in time are needed, double with each time that it is late.
"""

from collections import deque
from collections.abc import Callable

from ecfs.base.limits import (
    READ_PATIENCE_S_MAX,
    READ_PATIENCE_S_MIN,
    TARGET_DEADLINE_S,
    TRIAL_PAUSE_S_MAX,
)
from ecfs.base.units import MIB, NS_PER_S

USUAL_COUNT = 8
"""Of what reads usually take, so many times is waited."""
SENT_LEN_PER_S = 16 * MIB
"""What is long may take longer: a disk that is worth waiting for reads several times as much."""
TRIAL_PAUSE_S_MIN = 1.0
ANSWERS_NEEDED_MIN = 8
ANSWERS_NEEDED_MAX = 1024
LATE_TOLD_COUNT = 4
"""Late once is any disk that is busy; one that is late so often is told of."""
FORGIVEN_S = 3600.0
SMOOTHING = 8
SHORT_NS = int(READ_PATIENCE_S_MIN * NS_PER_S)


class Pace:
    """Of one target. Its thread tells how long reads took (`answered`); all else is for the loop's
    thread. Times are those of the environment's monotonic clock, in nanoseconds."""

    __slots__ = ("_answers", "_late_count", "_late_ns", "_needed_count", "_quiet_ns",
                 "_to_tell", "_trial_ns", "usual_ns")

    def __init__(self) -> None:
        self._answers: deque[tuple[int, int, int]] = deque(maxlen=64)
        self._late_count = 0
        self._needed_count = 0
        self._trial_ns = self._quiet_ns = 0
        self._late_ns = 0
        self._to_tell = False
        self.usual_ns = 0

    def answered(self, began_ns: int, ended_ns: int, length: int) -> None:
        """A read of `length` bytes has ended. From any thread."""
        self._answers.append((began_ns, ended_ns, length))

    def is_late(self, now_ns: int, usual_ns: Callable[[], int]) -> bool:
        """Whether it is to be asked last; `usual_ns` tells what reads take on most targets."""
        while self._answers:
            began_ns, ended_ns, length = self._answers.popleft()
            took_ns = ended_ns - began_ns
            if took_ns > SHORT_NS and took_ns > patience_ns(usual_ns(), length):
                # One that somebody waited for was noted when he gave up.
                if began_ns >= self._late_ns:
                    self.note_late(ended_ns)
                continue
            self.usual_ns = (took_ns if not self.usual_ns else
                             self.usual_ns + (took_ns - self.usual_ns) // SMOOTHING)
            if self._needed_count:
                self._needed_count -= 1
                self._trial_ns = now_ns
        return self._needed_count > 0

    def note_late(self, now_ns: int) -> None:
        """It has not answered in time. What is late within one pause, many reads perhaps, counts
        once."""
        if self._needed_count and now_ns < self._quiet_ns:
            return
        if now_ns - self._late_ns > FORGIVEN_S * NS_PER_S:
            self._late_count = 0
        self._late_count += 1
        self._late_ns = now_ns
        doublings = min(self._late_count - 1, 16)
        self._needed_count = min(ANSWERS_NEEDED_MIN << doublings, ANSWERS_NEEDED_MAX)
        pause_s = min(TRIAL_PAUSE_S_MIN * (1 << doublings), TRIAL_PAUSE_S_MAX)
        self._quiet_ns = self._trial_ns = now_ns + int(pause_s * NS_PER_S)
        self._to_tell = self._to_tell or self._late_count == LATE_TOLD_COUNT

    def take_telling(self) -> bool:
        """Whether it is to be told now that it is late again and again."""
        to_tell, self._to_tell = self._to_tell, False
        return to_tell

    def take_trial(self, now_ns: int) -> bool:
        """Whether to try it now, though late; the next trial is after its answer or its deadline.
        """
        if now_ns < self._trial_ns:
            return False
        self._trial_ns = now_ns + int(TARGET_DEADLINE_S * NS_PER_S)
        return True


def patience_ns(usual_ns: int, length: int) -> int:
    """How long to wait for a read of `length` bytes before others are asked in its place."""
    patience_s = min(max(USUAL_COUNT * usual_ns / NS_PER_S, READ_PATIENCE_S_MIN),
                     READ_PATIENCE_S_MAX)
    return int((patience_s + length / SENT_LEN_PER_S) * NS_PER_S)
