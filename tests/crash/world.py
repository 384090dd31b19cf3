"""Targets in memory on one power line."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.targets import FaultyTarget, MemoryTarget, Outcome, Target
from ecfs.testing.pools import Ground


class SteadyTarget(FaultyTarget):
    """A way to a target that outlives it: closing it closes only the way."""

    def close(self) -> None:
        """The target itself stays."""


@dataclass(slots=True)
class Power:
    """Counts the calls of all targets. From call `cut_at` on every call fails, and `scope`, in
    which everything runs that the power keeps alive, is cancelled."""

    cut_at: int | None = None
    calls_count: int = 0
    is_out: bool = False
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def plan(self, number: int, method: str, name: str, offset: int) -> Outcome:
        """For every target alike."""
        if self.cut_at is not None and self.calls_count >= self.cut_at:
            self.is_out = True
            self.scope.cancel()
            return Fault.IO
        self.calls_count += 1
        return None


class MemoryDisks:
    """Targets in memory by path. `power` may be exchanged between mounts."""

    def __init__(self) -> None:
        self.power = Power()
        self.targets: dict[str, MemoryTarget] = {}

    def open(self, path: str) -> Target:
        """The target at a path; every path has one."""
        target = self.targets.setdefault(path, MemoryTarget(path))
        return SteadyTarget(target, self._plan)

    def _plan(self, number: int, method: str, name: str, offset: int) -> Outcome:
        return self.power.plan(number, method, name, offset)

    def crash(self, keep: Callable[[int], bool] | None = None, *,
              torn_len: int | None = None) -> None:
        """The power was out: what was not synced is lost, but for what `keep` says."""
        for target in self.targets.values():
            target.crash(keep, torn_len=torn_len)
        self.power = Power()

    def copy(self) -> "MemoryDisks":
        """The same files, all of them durable."""
        disks = MemoryDisks()
        for path, target in self.targets.items():
            disks.targets[path] = copied = MemoryTarget(path)
            for name in files_of(target):
                copied.create(name, target.read(name, 0, target.size(name)))
            copied.crash()
        return disks


def files_of(target: Target, folder: str = "") -> list[str]:
    """Names of all files of a target."""
    found = []
    for name in target.list_names(folder):
        path = f"{folder}/{name}" if folder else name
        try:
            target.size(path)
        except TargetError:
            found += files_of(target, path)
        else:
            found.append(path)
    return found


class TrioClock:
    """Trio's time, which a MockClock moves; for threads of trio's as well."""

    def wall_ns(self) -> int:
        return 1_000_000_000_000 + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        now_s = (trio.current_time() if trio.lowlevel.in_trio_run()
                 else trio.from_thread.run_sync(trio.current_time))
        return int(now_s * 1e9)


def memory_ground(base: Path, disks: MemoryDisks, **changes: object) -> Ground:
    """A pool on these targets."""
    base.mkdir(exist_ok=True, parents=True)
    ground = Ground(base, clock=TrioClock(), open_target=disks.open)
    for name, value in changes.items():
        setattr(ground, name, value)
    return ground


def some_bytes(seed: object, length: int) -> bytes:
    """Bytes that tell where they come from."""
    return random.Random(repr(seed)).randbytes(length)
