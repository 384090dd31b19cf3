"""Targets in memory on one power line, a model of what must survive, and a workload."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.targets import FaultyTarget, MemoryTarget, Outcome, Target
from ecfs.testing.pools import Ground

_PAGE_LEN = 4096

State = bytes | None
"""Content of a path; None where nothing is."""


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
    """Trio's time, which a MockClock moves."""

    def wall_ns(self) -> int:
        return 1_000_000_000_000 + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return int(trio.current_time() * 1e9)


def memory_ground(base: Path, disks: MemoryDisks, **changes: object) -> Ground:
    """A pool on these targets."""
    base.mkdir(exist_ok=True, parents=True)
    ground = Ground(base, clock=TrioClock(), open_target=disks.open)
    for name, value in changes.items():
        setattr(ground, name, value)
    return ground


@dataclass(slots=True)
class _Past:
    """States that a path had, oldest first. Those before `floor` cannot come back. `named`: the
    newest state that a change of names or sizes brought about."""

    states: list[State]
    floor: int = 0
    named: int = 0


class Model:
    """What a tree may look like after a crash.

    A commit makes all changes of names and sizes durable that came before it, and of contents those
    of the files that were flushed with it.
    """

    def __init__(self, durable: dict[bytes, bytes] | None = None) -> None:
        self._pasts = {path: _Past([data]) for path, data in (durable or {}).items()}

    def wrote(self, path: bytes, data: bytes) -> None:
        """The file holds `data` now, in the buffer at least."""
        past = self._past(path)
        if past.states[-1] is None:
            self._named(path, b"")
        past.states.append(data)

    def named(self, path: bytes, state: State) -> None:
        """A name came, went, or a file was cut."""
        self._named(path, state)

    def _named(self, path: bytes, state: State) -> None:
        past = self._past(path)
        past.states.append(state)
        past.named = len(past.states) - 1

    def renamed(self, old: bytes, new: bytes) -> None:
        """Content and all: if something was there before, else the bytes may come later."""
        data = self.now(old)
        replaces = self.now(new) is not None
        assert data is not None
        if replaces:
            self._named(new, data)
        else:
            for state in self._past(old).states[self._past(old).named:]:
                self._past(new).states.append(state)
            self._past(new).named = len(self._past(new).states) - (
                len(self._past(old).states) - self._past(old).named)
        self._named(old, None)

    def committed(self, *flushed: bytes) -> None:
        """A commit was acknowledged; the content of these files was flushed before it."""
        for path, past in self._pasts.items():
            past.floor = max(past.floor, past.named)
            if path in flushed:
                past.floor = len(past.states) - 1

    def all_committed(self) -> None:
        """Everything is durable."""
        self.committed(*self._pasts)

    def now(self, path: bytes) -> State:
        """The newest state of a path."""
        return self._past(path).states[-1]

    def check(self, found: dict[bytes, bytes], *, torn: bool = False) -> None:
        """A tree after a crash is one that may be.

        `torn`: where the kernel sends pages by itself, a file that was being written may have some
        of the old bytes and some of the new.
        """
        for path in found.keys() | self._pasts.keys():
            past = self._pasts.get(path, _Past([None]))
            allowed = past.states[past.floor:]
            state = found.get(path)
            assert state in allowed or (torn and _is_mixture(state, allowed)), (
                f"{path!r} is {_short(state)}, expected one of {list(map(_short, allowed))}")

    def settle(self, found: dict[bytes, bytes]) -> None:
        """What was found after a recovery is what counts from now on."""
        self._pasts = {path: _Past([data]) for path, data in found.items()}

    def _past(self, path: bytes) -> _Past:
        return self._pasts.setdefault(path, _Past([None]))


def _is_mixture(state: State, allowed: list[State]) -> bool:
    """Whether each byte is that of an allowed state at its place, or a hole not written yet."""
    present = [one for one in allowed if one is not None]
    if state is None or len(present) < 2 or not (
            min(map(len, present)) <= len(state) <= max(map(len, present))):
        return False
    for at in range(0, len(state), _PAGE_LEN):
        page = state[at : at + _PAGE_LEN]
        others = [one[at : at + _PAGE_LEN] for one in present]
        if not any(page == other[: len(page)].ljust(len(page), b"\0") for other in others) and (
                any(byte and all(other[number : number + 1] != bytes([byte]) for other in others)
                    for number, byte in enumerate(page))):
            return False
    return True


def _short(state: State) -> str:
    return "absent" if state is None else f"{len(state)} bytes {state[:4].hex()}"


def some_bytes(seed: object, length: int) -> bytes:
    """Bytes that tell where they come from."""
    return random.Random(repr(seed)).randbytes(length)
