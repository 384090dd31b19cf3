"""Jobs of several lanes whose answers are taken as they come.

Who waits for all of them waits for the slowest. Here one may wait for so many of them, for so long,
look at what is there, ask more, and wait on: in the loop, or blocking it.
"""

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.targets.jobs import AnyLane, Job, LoopWaiter

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Gathering(Generic[K, T]):
    """Jobs under keys, for one caller. A job that it waits for no more runs on, up to its deadline
    without harm to what else its lane has to do; `close` gives up those that have not begun."""

    def __init__(self) -> None:
        self._jobs: dict[K, tuple[AnyLane, Job]] = {}
        self._answers: dict[K, T | TargetError] = {}
        self._lock = threading.Lock()
        self._ended: list[K] = []
        self._count = 0
        self._wake: Callable[[], object] | None = None

    def begin(self, key: K, lane: AnyLane, function: Callable[[], T], deadline_s: float) -> None:
        """Post a job, at once or when its lane has room. A key that is there is not asked again."""
        if key in self._jobs:
            return
        job = Job(function, (), deadline_s, partial(self._note, key))
        self._jobs[key] = (lane, job)
        if lane.is_full():
            lane.when_room(lambda: _post(lane, job))
        else:
            lane.post(job)

    def answers(self) -> dict[K, T | TargetError]:
        """What has come so far. Raises what a job raised that is no TargetError."""
        if self._ended:
            with self._lock:
                ended, self._ended = self._ended, []
            for key in ended:
                lane, job = self._jobs[key]
                result, error = job.take_outcome(lane.name)
                if error is not None and not isinstance(error, TargetError):
                    raise error
                self._answers[key] = result if error is None else error
        return self._answers

    def give_up(self) -> None:
        """What has not come by now has not come within its deadline: TIMEOUT is its answer."""
        answers = self.answers()
        with self._lock:
            for key, (lane, job) in self._jobs.items():
                if key not in answers and key not in self._ended:
                    answers[key] = TargetError(
                        Fault.TIMEOUT, f"{lane.name}: no answer within {job.deadline_s:g} s")

    async def wait(self, count: int, timeout_s: float) -> bool:
        """Until `count` more jobs than `answers` showed have ended; False when time was up."""
        wakers = next(iter(self._jobs.values()))[0].wakers
        waiter = LoopWaiter(1, wakers)
        self._wake_by(waiter.note, count)
        with trio.move_on_after(timeout_s) as scope:
            await waiter.wait()
        return not scope.cancelled_caught

    def wait_sync(self, count: int, timeout_s: float) -> bool:
        """As `wait`, blocking the calling thread."""
        ended = threading.Lock()
        ended.acquire()
        self._wake_by(ended.release, count)
        return next(iter(self._jobs.values()))[0].block(ended, timeout_s)

    def close(self) -> None:
        """Nobody waits any more. Lets go of the jobs, which lead back here, and of what they read:
        nothing of it is left for the collector of circles."""
        for _, job in self._jobs.values():
            job.abandoned = True
        self._jobs, self._answers = {}, {}

    def _wake_by(self, wake: Callable[[], object], count: int) -> None:
        with self._lock:
            self._count = count
            if len(self._ended) < count:
                self._wake = wake
                return
        wake()

    def _note(self, key: K) -> None:
        """Runs in a lane's thread."""
        with self._lock:
            if key in self._answers:
                # It was given up.
                return
            self._ended.append(key)
            if self._wake is None or len(self._ended) < self._count:
                return
            wake, self._wake = self._wake, None
        wake()


def _post(lane: AnyLane, job: Job) -> None:
    """There may be room now; in any thread."""
    if job.abandoned:
        lane.pass_on_room()
    else:
        lane.post(job)
