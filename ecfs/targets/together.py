"""One short piece of work on several targets, done by one thread, with the syncs at the same time.

Six threads that each make some ten short system calls hand the interpreter's lock to each other
sixty times, and every such hand-over may wake a sleeping core: 0.4 ms for what one thread does in
0.15 ms. Only the sync is worth waiting for side by side, and the kernel does that by itself.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from ecfs.base.errors import TargetError
from ecfs.base.limits import MEMBERS_MAX
from ecfs.targets.directory import DirectoryTarget
from ecfs.targets.jobs import AnyLane
from ecfs.targets.kernel_aio import AioQueue
from ecfs.targets.protocol import Target

PATIENCE_S = 0.25
"""Longer than syncs take on disks that are worth hurrying for, reserved room included."""
ROUNDS_APART = 64
T = TypeVar("T")

SyncSteps = Generator[str, None, T]
"""Work on a target that yields, where a file is to be synced, its name; a sync that failed is
raised there. Returns what the work returns."""


def run_steps(target: Target, steps: SyncSteps[T]) -> T:
    """Do the work on one target by itself. Raises what it raises."""
    try:
        name = next(steps)
        while True:
            try:
                target.sync(name)
            except TargetError as error:
                name = steps.throw(error)
            else:
                name = steps.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Together:
    """The thread and its queue. What takes longer than PATIENCE_S is given up; then each target is
    to do its part by itself, for one of them may hang, and so for the next ROUNDS_APART times."""

    def __init__(self, lane: AnyLane, queue: AioQueue) -> None:
        self._lane = lane
        self._queue = queue
        self._apart_count = 0

    @classmethod
    def open(cls, open_lane: Callable[[str], AnyLane]) -> "Together | None":
        """None where the kernel does not offer to sync side by side."""
        try:
            queue = AioQueue(MEMBERS_MAX)
        except OSError:
            return None
        return cls(open_lane("together"), queue)

    async def run(self, targets: Sequence[Target],
                  work: Callable[[Target], SyncSteps[T]]) -> list[T | TargetError] | None:
        """Do the work on each target; results or errors in that order. None when it was given up,
        or not even tried: then it may be done in part, on any of them, and go on."""
        directories = [target for target in targets if isinstance(target, DirectoryTarget)]
        if len(directories) < len(targets):
            return None
        if self._apart_count:
            self._apart_count -= 1
            return None
        try:
            return await self._lane.run(self._run, directories, work, deadline_s=PATIENCE_S)
        except TargetError:
            self._apart_count = ROUNDS_APART
            return None

    def close(self) -> None:
        """Let go of thread and queue, unless the thread hangs."""
        if self._lane.close(timeout=1.0):
            self._queue.close()

    def _run(self, targets: Sequence[DirectoryTarget],
             work: Callable[[Target], SyncSteps[T]]) -> list[T | TargetError]:
        """Runs in the lane."""
        steps = [work(target) for target in targets]
        results: dict[int, T | TargetError] = {}
        wanted = {number: name for number in range(len(targets))
                  if (name := _advance(steps[number], None, number, results)) is not None}
        while wanted:
            failed = self._sync([(targets[number], name) for number, name in wanted.items()])
            wanted = {number: name for number, error in zip(wanted, failed, strict=True)
                      if (name := _advance(steps[number], error, number, results)) is not None}
        return [results[number] for number in range(len(targets))]

    def _sync(self, files: Sequence[tuple[DirectoryTarget, str]]) -> list[TargetError | None]:
        outcome: list[TargetError | None] = []
        begun = []
        for target, name in files:
            try:
                begun.append(target.begin_sync(name))
                outcome.append(None)
            except TargetError as error:
                outcome.append(error)
        synced = iter(zip(begun, self._queue.fdatasync([sync.fd for sync in begun]), strict=True))
        for number in [number for number, refused in enumerate(outcome) if refused is None]:
            sync, failure = next(synced)
            try:
                sync.end(failure)
            except TargetError as error:
                outcome[number] = error
        return outcome


def _advance(steps: SyncSteps[T], error: TargetError | None, number: int,
             results: dict[int, T | TargetError]) -> str | None:
    """Go on with one target's work: what it wants synced next, or None with its result noted."""
    try:
        return next(steps) if error is None else steps.throw(error)
    except StopIteration as stop:
        results[number] = stop.value
    except TargetError as failure:
        results[number] = failure
    return None
