"""A lane in virtual time whose calls may hang past their deadline."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

import trio
import trio.testing

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import TARGET_SYNC_DEADLINE_S
from ecfs.base.units import NS_PER_S
from ecfs.targets.jobs import Job

T = TypeVar("T")
Args = TypeVarTuple("Args")

HANG_S = 3 * TARGET_SYNC_DEADLINE_S
"""How long a call hangs: longer than anybody waits for one."""


class Hang(BaseException):
    """Raised by a target to play a call that does not return. It never leaves the lane."""


@dataclass(slots=True)
class Hangs:
    """Calls that hang. `later` is what such a call does when it returns, long after it was given
    up: a late write hits whatever lies there then."""

    fresh: bool = False
    armed: str = ""
    waiting: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def arm(self, *, lost: bool) -> None:
        """The call that begins now hangs; with `lost` it never does its work."""
        self.armed = "lost" if lost else "late"

    def hang_if_armed(self, later: Callable[[], object]) -> None:
        """Raise Hang if this call is to hang; `later` is its work."""
        armed, self.armed = self.armed, ""
        if armed:
            self.fresh = True
            if armed == "late":
                self.waiting.append((trio.current_time() + HANG_S, later))
            raise Hang

    def take_fresh(self) -> bool:
        """Whether the last job hung."""
        fresh, self.fresh = self.fresh, False
        return fresh

    def let_return(self, *, all_of_them: bool = False) -> None:
        """Carry out the calls that return by now."""
        now = 0.0 if all_of_them else trio.current_time()
        due = [later for at, later in self.waiting if all_of_them or at <= now]
        self.waiting = [(at, later) for at, later in self.waiting
                        if not all_of_them and at > now]
        for later in due:
            try:
                later()
            except TargetError:
                continue


class PatientLane:
    """An AnyLane that does jobs at once in the caller, as InlineLane, but knows deadlines: a call
    that hangs is given up, and until it returns every further job fails, as a real lane's does."""

    def __init__(self, name: str, hangs: Hangs) -> None:
        self.name = name
        self.wakers = None
        self._hangs = hangs
        self._closed = False
        self._since_s = self._until_s = float("-inf")

    async def run(self, function: Callable[[*Args], T], *args: *Args,
                  deadline_s: float) -> T:
        """See AnyLane."""
        await trio.lowlevel.checkpoint()
        self._check()
        try:
            return function(*args)
        except Hang:
            self._stick()
        await trio.sleep(deadline_s)
        raise self._timeout(deadline_s)

    def run_sync(self, function: Callable[[*Args], T], *args: *Args,
                 deadline_s: float) -> T:
        """See AnyLane. The clock, which is to be a MockClock, jumps over the time that is lost."""
        self._check()
        try:
            return function(*args)
        except Hang:
            self._stick()
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, trio.testing.MockClock):
            clock.jump(deadline_s)
        raise self._timeout(deadline_s)

    def busy_since_ns(self) -> int | None:
        """See AnyLane."""
        return int(self._since_s * NS_PER_S) if self._is_stuck() else None

    def is_late(self) -> bool:
        """See AnyLane."""
        return self._is_stuck()

    def close(self, timeout: float = 5.0) -> bool:
        """See AnyLane."""
        self._closed = True
        return not self._is_stuck()

    def block(self, ended: threading.Lock, timeout_s: float) -> bool:
        """See AnyLane. What was posted is done, or hangs for ever: the clock jumps."""
        if ended.acquire(blocking=False):
            return True
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, trio.testing.MockClock):
            clock.jump(timeout_s)
        return False

    def post(self, job: Job) -> None:
        """See AnyLane. A job that hangs is never done: whoever waits for it gives it up."""
        try:
            self._check()
        except TargetError as error:
            job.fail(error)
            return
        job.execute()
        if self._hangs.take_fresh():
            job.done = False
            self._stick()
        else:
            job.on_done()

    def is_full(self) -> bool:
        """Never."""
        return False

    def when_room(self, note: Callable[[], None]) -> None:
        """At once."""
        note()

    def pass_on_room(self) -> None:
        """Nobody waits."""

    def _check(self) -> None:
        if self._closed:
            raise TargetError(Fault.AWAY, f"{self.name}: the lane was closed")
        if self._is_stuck():
            raise TargetError(Fault.TIMEOUT, f"{self.name}: still hangs in an earlier call")

    def _is_stuck(self) -> bool:
        return self._until_s > float("-inf") and trio.current_time() < self._until_s

    def _stick(self) -> None:
        self._hangs.fresh = False
        self._since_s = trio.current_time()
        self._until_s = self._since_s + HANG_S

    def _timeout(self, deadline_s: float) -> TargetError:
        return TargetError(Fault.TIMEOUT, f"{self.name}: no answer within {deadline_s:g} s")
