"""Lanes without threads: jobs take virtual time, and lanes of different targets interleave."""

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import LANE_QUEUE_LEN_MAX
from ecfs.base.units import NS_PER_S
from ecfs.base.world import Clock
from ecfs.targets import run_all
from ecfs.targets.jobs import Job
from ecfs.testing.simulation.determinism import mock_clock

T = TypeVar("T")
Args = TypeVarTuple("Args")

Delay = Callable[[], float]
"""How many seconds the next job takes; infinity: it hangs until `SimulatedLane.let_go`."""


class SimulatedLane:
    """An AnyLane whose jobs take the time that `delay_s` says before they are done.

    A job is one step: nothing of other lanes happens within it. Where no time passes it is done at
    once, in the caller. `kill` ends the lane as the death of its process does. `traffic`: the lanes
    that go on while a caller of this one blocks the loop.
    """

    def __init__(self, name: str, clock: Clock, delay_s: Delay = lambda: 0.0, *,
                 traffic: "Traffic | None" = None,
                 queue_len_max: int = LANE_QUEUE_LEN_MAX) -> None:
        self.name = name
        self.wakers = None
        self._traffic = traffic or Traffic()
        self._traffic.join(self)
        self._clock = clock
        self._delay_s = delay_s
        self._queue_len_max = queue_len_max
        self._queue: deque[Job] = deque()
        self._room_notes: deque[Callable[[], None]] = deque()
        self._running: Job | None = None
        self._since_ns = 0
        self._due_s = math.inf
        self._scope: trio.CancelScope | None = None
        self._hangs = False
        self._closed = False

    async def run(self, function: Callable[[*Args], T], *args: *Args,
                  deadline_s: float) -> T:
        """See AnyLane."""
        # In a tuple, since an exception may be a result.
        [result] = await run_all([self], [lambda: (function(*args),)], deadline_s)
        if isinstance(result, TargetError):
            raise result
        return result[0]

    def run_sync(self, function: Callable[[*Args], T], *args: *Args,
                 deadline_s: float) -> T:
        """See AnyLane. The loop is blocked meanwhile: jobs before this one are done now, and the
        time jumps, in which the other lanes do what their threads would."""
        if self._closed:
            raise TargetError(Fault.AWAY, f"{self.name}: the lane was closed")
        self._catch_up()
        stuck = self._running is not None
        delay_s = math.inf if stuck else self._delay_s()
        if delay_s > deadline_s:
            if not self._is_stuck() and self._in_loop():
                self._traffic.go_on(deadline_s)
            raise TargetError(Fault.TIMEOUT, f"{self.name}: no answer within {deadline_s:g} s")
        if delay_s and self._in_loop():
            self._traffic.go_on(delay_s)
        return function(*args)

    def busy_since_ns(self) -> int | None:
        """See AnyLane."""
        return self._since_ns if self._running is not None else None

    def is_late(self) -> bool:
        """See AnyLane."""
        return self._running is not None

    def close(self, timeout: float = 5.0) -> bool:
        """See AnyLane. With a timeout the loop waits: what was posted is done now, but a hang."""
        self._closed = True
        if timeout:
            self._catch_up()
        return self._running is None

    @property
    def ended(self) -> bool:
        """Whether it is closed and has nothing left to do."""
        return self._closed and self._running is None

    def kill(self) -> None:
        """Nothing more of what was posted is done."""
        self._closed = True
        self._queue.clear()
        self._running = None
        self.let_go()

    def let_go(self) -> None:
        """The job in progress takes no more time; one that hangs goes on."""
        if self._scope is not None:
            self._scope.cancel()

    def block(self, ended: threading.Lock, timeout_s: float) -> bool:
        """See AnyLane. The time jumps, in which all lanes do what their threads would."""
        if not self._in_loop():
            return ended.acquire(timeout=timeout_s)
        if ended.acquire(blocking=False):
            return True
        return self._traffic.go_on(timeout_s, lambda: ended.acquire(blocking=False))

    def post(self, job: Job) -> None:
        """See AnyLane."""
        job.due_ns = self._clock.monotonic_ns() + int(job.deadline_s * NS_PER_S)
        if self._closed:
            job.fail(TargetError(Fault.AWAY, f"{self.name}: the lane was closed"))
        elif self._is_stuck():
            job.fail(TargetError(Fault.TIMEOUT, f"{self.name}: still hangs in an earlier call"))
        elif self._running is not None:
            self._queue.append(job)
        else:
            delay_s = self._delay_s()
            # Outside of the loop there is no time that could pass.
            if delay_s and self._in_loop():
                self._begin(job, delay_s)
                self._start(job)
            else:
                job.execute()
                job.on_done()

    def is_full(self) -> bool:
        """See AnyLane."""
        return len(self._queue) >= self._queue_len_max and not self._is_stuck()

    def when_room(self, note: Callable[[], None]) -> None:
        """See AnyLane."""
        self._room_notes.append(note)
        if not self.is_full():
            self.pass_on_room()

    def pass_on_room(self) -> None:
        """See AnyLane."""
        if self._room_notes:
            self._room_notes.popleft()()

    def _begin(self, job: Job, delay_s: float) -> None:
        self._running = job
        self._hangs = not math.isfinite(delay_s)
        self._since_ns = self._clock.monotonic_ns()
        self._due_s = trio.current_time() + delay_s if self._in_loop() else 0.0

    def _start(self, job: Job) -> None:
        trio.lowlevel.spawn_system_task(self._work, job, name=f"lane {self.name}")

    async def _work(self, job: Job) -> None:
        while True:
            with trio.CancelScope() as scope:
                self._scope = scope
                await trio.sleep_until(self._due_s)
            if self._running is not job:
                # Somebody who could not wait has done it, or the loop was blocked meanwhile.
                return
            self._scope = None
            following = self._finish(self._delay_s)
            if following is None:
                return
            job = following

    @property
    def due_s(self) -> float:
        """When the job in progress is done, in trio's time; infinity: no job, or it hangs."""
        return self._due_s if self._running is not None else math.inf

    def finish_in_thread(self) -> None:
        """The job in progress is done now, though the loop is blocked; the next one begins."""
        following = self._finish(self._delay_s)
        if following is not None:
            self._start(following)

    def _finish(self, draw: Delay) -> Job | None:
        """End the job in progress and begin the next one, which is returned."""
        job, self._running = self._running, None
        if job is not None:
            job.execute()
            job.on_done()
        while self._queue:
            following = self._queue.popleft()
            if not following.abandoned:
                self._begin(following, draw())
            self.pass_on_room()
            if not following.abandoned:
                return following
            if self.busy_since_ns() is not None:
                # Of somebody who waited for room, and is under way already.
                return None
        return None

    def _catch_up(self) -> None:
        """Do at once what was posted, unless the job in progress hangs."""
        if self._running is None or self._hangs:
            return
        while self._finish(lambda: 0.0) is not None:
            pass
        self.let_go()

    def _is_stuck(self) -> bool:
        running = self._running
        return running is not None and (
            running.overdue or self._clock.monotonic_ns() > running.due_ns)

    @staticmethod
    def _in_loop() -> bool:
        return trio.lowlevel.in_trio_run()


class Traffic:
    """All lanes of a world. Their threads go on while somebody blocks the loop: a target that is
    well has answered when the loop comes back, however long another one kept it."""

    def __init__(self) -> None:
        self._lanes: list[SimulatedLane] = []

    def join(self, lane: SimulatedLane) -> None:
        """One more lane; those that have ended leave."""
        self._lanes = [*(old for old in self._lanes if not old.ended), lane]

    def go_on(self, delay_s: float, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass while the loop is blocked; jobs end in the order of their times. At most
        so long, or until one of them makes `is_over` come true: whether it did."""
        end_s = trio.current_time() + delay_s
        while True:
            lane = min(self._lanes, key=lambda one: one.due_s)
            if lane.due_s > end_s:
                break
            mock_clock().jump(max(0.0, lane.due_s - trio.current_time()))
            lane.finish_in_thread()
            if is_over():
                return True
        mock_clock().jump(max(0.0, end_s - trio.current_time()))
        return False
