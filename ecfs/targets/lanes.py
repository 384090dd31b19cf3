"""Lanes: one long-lived thread for each target, so that a hanging target holds up nobody else.

A hop to such a thread and back costs some 50 us; six of them posted together and awaited as one
cost little more, for the loop is woken once. `trio.to_thread` costs several times that.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple

import trio

from ecfs.base.errors import Bug, Fault, TargetError
from ecfs.base.limits import LANE_QUEUE_LEN_MAX
from ecfs.base.units import NS_PER_MS, NS_PER_S
from ecfs.base.world import Clock, Threads
from ecfs.targets.jobs import AnyLane, Job, LoopWaiter, Wakers

LATE_NS = 20 * NS_PER_MS

T = TypeVar("T")
Args = TypeVarTuple("Args")


class Lane:
    """The thread of one target. Jobs are done in the order in which they were posted; at most
    `queue_len_max` wait, and who wants to post more waits for room."""

    def __init__(self, name: str, threads: Threads, clock: Clock, *,
                 queue_len_max: int = LANE_QUEUE_LEN_MAX) -> None:
        self.name = name
        self.wakers = Wakers()
        self._clock = clock
        self._queue_len_max = queue_len_max
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._room_notes: deque[Callable[[], None]] = deque()
        self._running: Job | None = None
        self._since_ns = 0
        self._thread_ident = 0
        self._closed = False
        self._ended = threading.Event()
        threads.start(f"ecfs-{name}", self._work)

    async def run(self, function: Callable[[*Args], T], *args: *Args,
                  deadline_s: float) -> T:
        """See AnyLane."""
        [job] = await _run_jobs([self], [(function, args)], deadline_s)
        result: T = _result_or_raise(*job.take_outcome(self.name))
        return result

    def run_sync(self, function: Callable[[*Args], T], *args: *Args,
                 deadline_s: float) -> T:
        """See AnyLane. Bug if called from the lane's own thread, which would wait for itself."""
        if threading.get_ident() == self._thread_ident:
            raise Bug(f"{self.name}: run_sync from the lane's own thread")
        due_ns = self._due_ns(deadline_s)
        ended = threading.Lock()
        ended.acquire()
        job = Job(function, args, deadline_s, ended.release)
        if self._wait_for_room(due_ns):
            self.post(job)
        if not ended.acquire(timeout=max(0.0, self._left_s(due_ns))):
            job.abandoned = job.overdue = True
        result: T = _result_or_raise(*job.take_outcome(self.name))
        return result

    def busy_since_ns(self) -> int | None:
        """See AnyLane."""
        return self._since_ns if self._running is not None else None

    def is_late(self) -> bool:
        """See AnyLane."""
        return self._running is not None and (
            self._clock.monotonic_ns() - self._since_ns > LATE_NS)

    def close(self, timeout: float = 5.0) -> bool:
        """See AnyLane."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
            self.wakers.close()
        return self._ended.wait(timeout)

    def block(self, ended: threading.Lock, timeout_s: float) -> bool:
        """See AnyLane."""
        return ended.acquire(timeout=timeout_s)

    def post(self, job: Job) -> None:
        """See AnyLane."""
        job.due_ns = self._due_ns(job.deadline_s)
        if self._is_stuck():
            job.fail(TargetError(Fault.TIMEOUT, f"{self.name}: still hangs in an earlier call"))
            return
        with self._lock:
            if not self._closed:
                self._queue.put(job)
                return
        job.fail(TargetError(Fault.AWAY, f"{self.name}: the lane was closed"))

    def is_full(self) -> bool:
        """See AnyLane. A stuck lane is not: it refuses a job at once."""
        return self._queue.qsize() >= self._queue_len_max and not self._is_stuck()

    def when_room(self, note: Callable[[], None]) -> None:
        """See AnyLane."""
        with self._lock:
            self._room_notes.append(note)
        # Room that came before the note was left would go unnoticed.
        if not self.is_full():
            self.pass_on_room()

    def pass_on_room(self) -> None:
        """See AnyLane."""
        with self._lock:
            note = self._room_notes.popleft() if self._room_notes else None
        if note is not None:
            note()

    def _is_stuck(self) -> bool:
        running = self._running
        return running is not None and (
            running.overdue or self._clock.monotonic_ns() > running.due_ns)

    def _work(self) -> None:
        self._thread_ident = threading.get_ident()
        while (job := self._queue.get()) is not None:
            if self._room_notes:
                self.pass_on_room()
            if not job.abandoned:
                self._since_ns = self._clock.monotonic_ns()
                self._running = job
                job.execute()
                self._running = None
                job.on_done()
            # An idle lane must not keep the last job's bytes alive.
            del job
        while self._room_notes:
            self.pass_on_room()
        self._ended.set()

    def _wait_for_room(self, due_ns: int) -> bool:
        while self.is_full():
            room = threading.Semaphore(0)
            self.when_room(room.release)
            if not room.acquire(timeout=max(0.0, self._left_s(due_ns))):
                self.pass_on_room()
                return False
        return True

    def _due_ns(self, deadline_s: float) -> int:
        return self._clock.monotonic_ns() + int(deadline_s * NS_PER_S)

    def _left_s(self, due_ns: int) -> float:
        return (due_ns - self._clock.monotonic_ns()) / NS_PER_S


class InlineLane:
    """Does jobs at once in the caller, after a checkpoint; for simulations and for tools with one
    target at a time. Deadlines do not apply: nothing can be given up."""

    def __init__(self, name: str = "inline") -> None:
        self.name = name
        self.wakers = None
        self._closed = False

    async def run(self, function: Callable[[*Args], T], *args: *Args,
                  deadline_s: float) -> T:
        """See AnyLane."""
        await trio.lowlevel.checkpoint()
        return self.run_sync(function, *args, deadline_s=deadline_s)

    def run_sync(self, function: Callable[[*Args], T], *args: *Args,
                 deadline_s: float) -> T:
        """See AnyLane."""
        if self._closed:
            raise TargetError(Fault.AWAY, f"{self.name}: the lane was closed")
        return function(*args)

    def busy_since_ns(self) -> int | None:
        """Never busy: a job is over before anybody can ask."""
        return None

    def is_late(self) -> bool:
        """Never."""
        return False

    def close(self, timeout: float = 5.0) -> bool:
        """See AnyLane."""
        self._closed = True
        return True

    def block(self, ended: threading.Lock, timeout_s: float) -> bool:
        """See AnyLane. What was posted is done."""
        return ended.acquire(blocking=False)

    def post(self, job: Job) -> None:
        """See AnyLane."""
        if self._closed:
            job.fail(TargetError(Fault.AWAY, f"{self.name}: the lane was closed"))
            return
        job.execute()
        job.on_done()

    def is_full(self) -> bool:
        """Never."""
        return False

    def when_room(self, note: Callable[[], None]) -> None:
        """At once."""
        note()

    def pass_on_room(self) -> None:
        """Nobody waits."""


async def run_all(lanes: Sequence[AnyLane], fn_by_lane: Sequence[Callable[[], T]],
                  deadline_s: float) -> list[T | TargetError]:
    """Do `fn_by_lane[i]` in `lanes[i]`, all at the same time, and wait once for all of them.

    Returns results and TargetErrors in that order; what has not ended within `deadline_s` is
    TargetError(TIMEOUT), as in `AnyLane.run`. Any other exception of a job is raised, after
    all have ended. A lane may be given more than once; its jobs are then done in the order given.
    """
    if len(lanes) != len(fn_by_lane):
        raise Bug("run_all needs one function for each lane")
    if not lanes:
        await trio.lowlevel.checkpoint()
        return []
    jobs = await _run_jobs(lanes, [(function, ()) for function in fn_by_lane], deadline_s)
    results: list[T | TargetError] = []
    for lane, job in zip(lanes, jobs, strict=True):
        result, error = job.take_outcome(lane.name)
        if isinstance(error, TargetError):
            results.append(error)
        else:
            results.append(_result_or_raise(result, error))
    return results


def _result_or_raise(result: Any, error: BaseException | None) -> Any:
    if error is None:
        return result
    try:
        raise error
    finally:
        # The traceback holds this frame; the frame must not hold the exception.
        del error


async def _run_jobs(lanes: Sequence[AnyLane],
                    calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
                    deadline_s: float) -> list[Job]:
    """Post one job to each lane and wait for all; those not done when this returns are given up."""
    waiter = LoopWaiter(len(calls), lanes[0].wakers)
    jobs = [Job(function, args, deadline_s, waiter.note) for function, args in calls]
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        with trio.move_on_after(deadline_s) as scope:
            for lane in lanes:
                while lane.is_full():
                    await _wait_for_room(lane)
            for lane, job in zip(lanes, jobs, strict=True):
                lane.post(job)
            await waiter.wait()
        if scope.cancelled_caught:
            for job in jobs:
                job.overdue = True
    finally:
        for job in jobs:
            job.abandoned = True
    return jobs


async def _wait_for_room(lane: AnyLane) -> None:
    room = LoopWaiter(1)
    lane.when_room(room.note)
    try:
        await room.wait()
    except BaseException:
        lane.pass_on_room()
        raise
