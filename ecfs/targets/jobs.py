"""What goes through a lane, what a lane is, and how a thread wakes the loop."""

import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, TypeVarTuple

import trio

from ecfs.base.errors import Fault, TargetError

WAKERS_KEPT_MAX = 16

T = TypeVar("T")
Args = TypeVarTuple("Args")


class Job:
    """A call on its way through a lane. `on_done` is called once, in the thread that did it."""

    __slots__ = ("_args", "_error", "_function", "_result", "abandoned", "deadline_s", "done",
                 "due_ns", "on_done", "overdue")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], deadline_s: float,
                 on_done: Callable[[], None]) -> None:
        self._function = function
        self._args = args
        self._result: Any = None
        self._error: BaseException | None = None
        self.deadline_s = deadline_s
        self.due_ns = 0
        self.on_done = on_done
        self.done = False
        self.abandoned = False
        self.overdue = False

    def execute(self) -> None:
        """Call the function; keep what it returns or raises."""
        try:
            self._result = self._function(*self._args)
        except BaseException as error:
            self._error = error
        self.done = True

    def fail(self, error: TargetError) -> None:
        """End the job without doing it."""
        self._error = error
        self.done = True
        self.on_done()

    def take_outcome(self, name: str) -> tuple[Any, BaseException | None]:
        """What the function returned and what it raised; TIMEOUT if it is not done. Once only: the
        job lets go of the exception, whose traceback leads back to the job and its bytes."""
        if not self.done:
            return None, TargetError(
                Fault.TIMEOUT, f"{name}: no answer within {self.deadline_s:g} s")
        error, self._error = self._error, None
        return self._result, error


class Wakers:
    """Eventfds by which threads wake tasks, used again and again. For the loop's thread.

    Trio's own way for a thread to call into the loop is a socket, and a task that runs what came;
    who waits on a descriptor is woken 20 us sooner.
    """

    def __init__(self) -> None:
        self._free: list[int] = []
        self._closed = False

    def take(self) -> int | None:
        """A descriptor that is not readable, to be given back; None where there are no more."""
        if self._free:
            return self._free.pop()
        try:
            return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:
            return None

    def give_back(self, fd: int) -> None:
        """Nobody writes to it any more."""
        try:
            # Of who was told just when it gave up.
            os.eventfd_read(fd)
        except BlockingIOError:
            pass
        if self._closed or len(self._free) >= WAKERS_KEPT_MAX:
            os.close(fd)
        else:
            self._free.append(fd)

    def close(self) -> None:
        """Let go of those that are here, and of the others once they are given back."""
        self._closed = True
        while self._free:
            os.close(self._free.pop())


class AnyLane(Protocol):
    """What does jobs for a target one after another: a Lane, or an InlineLane in a simulation."""

    name: str

    @property
    def wakers(self) -> Wakers | None:
        """By which its thread wakes who waits; None where there is no thread."""
        ...

    async def run(self, function: Callable[[*Args], T], *args: *Args,
                  deadline_s: float) -> T:
        """Do a job and wait for it: returns or raises as the function does.

        TargetError(TIMEOUT) if it has not ended within `deadline_s`, counted from this call, or at
        once if the lane is stuck with a job past its deadline. A job given up before it began is
        never begun; one given up later, by deadline or cancellation, runs on and its result is
        dropped. AWAY once the lane is closed.
        """
        ...

    def run_sync(self, function: Callable[[*Args], T], *args: *Args,
                 deadline_s: float) -> T:
        """As `run`, but blocks the calling thread; for callers that cannot await."""
        ...

    def busy_since_ns(self) -> int | None:
        """When the job in progress began, on the monotonic clock; None if there is none."""
        ...

    def is_late(self) -> bool:
        """Whether the job in progress takes longer than one does on a target that is well."""
        ...

    def close(self, timeout: float = 5.0) -> bool:
        """Finish the jobs already posted, take no more, and wait for the thread at most `timeout`
        seconds. False if it has not ended; it then stays behind and holds nothing up."""
        ...

    def block(self, ended: threading.Lock, timeout_s: float) -> bool:
        """Wait until `ended` can be acquired, which a job's `on_done` lets go of, blocking the
        calling thread; False when time was up."""
        ...

    def post(self, job: Job) -> None:
        """Queue a job; for `run_all`. Never blocks; a job that is refused fails at once."""
        ...

    def is_full(self) -> bool:
        """Whether as many jobs wait as may."""
        ...

    def when_room(self, note: Callable[[], None]) -> None:
        """Call `note` once, from any thread, when there may be room again. One note is called for
        each place that gets free: who gave up waiting calls `pass_on_room`."""
        ...

    def pass_on_room(self) -> None:
        """Call the note of the next who waits for room, if any does."""
        ...


class LoopWaiter:
    """Wakes one task of the loop, once, when `count` notes have come in from any threads."""

    __slots__ = ("_fd", "_left_count", "_lock", "_task", "_token", "_waiting", "_wakers")

    def __init__(self, count: int, wakers: Wakers | None = None) -> None:
        self._left_count = count
        self._wakers = wakers
        self._fd: int | None = None
        self._lock = threading.Lock()
        self._task: trio.lowlevel.Task | None = None
        self._token = trio.lowlevel.current_trio_token()
        self._waiting = False

    def note(self) -> None:
        """Come in, from any thread; further notes than `count` do nothing."""
        with self._lock:
            self._left_count -= 1
            wake = self._left_count == 0 and self._waiting
            if wake and self._fd is not None:
                # Within the lock: who gives up takes it away.
                os.eventfd_write(self._fd, 1)
                return
        if wake:
            try:
                self._token.run_sync_soon(self._wake)
            except trio.RunFinishedError:
                pass

    async def wait(self) -> None:
        """Return once all notes are in. A checkpoint."""
        fd = self._wakers.take() if self._wakers is not None and self._left_count > 0 else None
        with self._lock:
            self._waiting = self._left_count > 0
            self._fd = fd
        try:
            if not self._waiting:
                await trio.lowlevel.checkpoint()
            elif fd is not None:
                await trio.lowlevel.wait_readable(fd)
            else:
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            if fd is not None and self._wakers is not None:
                with self._lock:
                    self._fd, self._waiting = None, False
                self._wakers.give_back(fd)

    def _wake(self) -> None:
        # On the loop, as `_abort` is: one of them comes first and the other finds nobody.
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
