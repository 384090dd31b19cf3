"""Machines that mount the pool: each with its own state, boot, entropy, clock and death."""

import math
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ecfs.base.errors import EcfsError, Fault, TargetError
from ecfs.base.world import Clock
from ecfs.observe import AuditLog, Event, Journal
from ecfs.targets import AnyLane, InlineLane, Outcome, Target
from ecfs.testing.pools import SECRET, Opening, until_cut_off
from ecfs.testing.simulation.determinism import SeededEntropy, SimulatedClock
from ecfs.testing.simulation.disks import Disk, Way
from ecfs.testing.simulation.lanes import SimulatedLane, Traffic
from ecfs.testing.simulation.trace import Trace
from ecfs.volume import Environment, Host, OpenOptions
from ecfs.volume.opening import open_pool

DELAY_MIN_S = 1e-4

Judge = Callable[["Machine", Event], None]
"""Told of each event of a machine's journals."""


@dataclass(slots=True)
class Power:
    """What keeps a machine running. At call `cut_at` of its targets it dies: that call and all
    later ones fail, and `scope`, in which all of it runs, is cancelled."""

    cut_at: int | None = None
    calls_count: int = 0
    is_out: bool = False
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def cut(self) -> None:
        """Now."""
        self.is_out = True
        self.scope.cancel()

    def take(self) -> None:
        """One call; TargetError when the machine is dead."""
        if not self.is_out and self.calls_count == self.cut_at:
            self.cut()
        if self.is_out:
            raise TargetError(Fault.IO, "the machine is dead")
        self.calls_count += 1


class _ToldJournal(Journal):
    """A journal that tells of each event at once."""

    def __init__(self, clock: Clock, audit: AuditLog, tell: Callable[[Event], None]) -> None:
        super().__init__(clock, audit=audit)
        self._tell = tell

    def record(self, event: Event) -> None:
        """See Journal."""
        super().record(event)
        self._tell(event)


@dataclass(frozen=True)
class _Environment(Environment):
    """An outside world whose journals are listened to."""

    tell: Callable[[Event], None] = lambda event: None

    def journal(self, *, reads_only: bool = False) -> Journal:
        """See Environment."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        audit = AuditLog(str(self.state_dir / "audit.jsonl"), self.clock)
        return _ToldJournal(self.clock, audit, self.tell)


@dataclass(slots=True)
class Machine:
    """One machine and the disks, by path, that it may reach.

    `cut_off`: paths that it cannot reach now; `slow_s`: by path, mean time of a job where its way
    is a slow one; `heart_hidden`: its heartbeats reach nobody, so that others take it for dead.
    """

    name: str
    base: Path
    disks: dict[str, Disk]
    trace: Trace
    entropy: SeededEntropy
    source: random.Random
    judge: Judge
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    power: Power = field(default_factory=Power)
    boots_count: int = 0
    cut_off: set[str] = field(default_factory=set)
    slow_s: dict[str, float] = field(default_factory=dict)
    heart_hidden: bool = False
    ways: list[Way] = field(default_factory=list)
    lanes: list[SimulatedLane] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def state_dir(self) -> Path:
        """Anchors and audit log."""
        return self.base / "state"

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all disks."""
        return tuple(self.disks)

    def environment(self) -> Environment:
        """The outside world of one boot of this machine."""
        return _Environment(
            self.clock, self.entropy, self.state_dir, self.base / "run", self._open_target,
            self._open_lane, Host(self.name, f"boot {self.boots_count} of {self.name}", 1),
            tell=lambda event: self.judge(self, event))

    async def live(self, body: Callable[[Opening], Awaitable[None]],
                   options: OpenOptions | None = None) -> None:
        """Mount, do what `body` does, die without a word: who wants a clean end closes the volume.
        When the power goes that is the end too, without an error."""
        power = self.power
        try:
            with power.scope:
                async with self.mount(options) as opening:
                    await body(opening)
        except BaseExceptionGroup as group:
            if not power.is_out or group.split(EcfsError)[1] is not None:
                raise only_of(group) from None
        except EcfsError:
            if not power.is_out:
                raise
        finally:
            if power.is_out:
                self.stop_lanes()

    @asynccontextmanager
    async def mount(self, options: OpenOptions | None = None) -> AsyncIterator[Opening]:
        """Open the pool. On exit nothing more is written."""
        chosen = options or OpenOptions()
        opened = await open_pool(self.paths, SECRET, self.environment(), chosen)
        async with until_cut_off(opened, chosen) as opening:
            yield opening

    def stop_lanes(self) -> None:
        """The process is dead: what its lanes had not done is never done."""
        for lane in self.lanes:
            lane.kill()
        self.lanes.clear()

    def reboot(self) -> None:
        """The power is back."""
        self.stop_lanes()
        self.ways.clear()
        self.boots_count += 1
        self.power = Power()

    def move_to(self, disks: dict[str, Disk]) -> None:
        """Reach other disks from now on, also by the ways that are open: so one that was restored
        from a snapshot meets what others have written meanwhile."""
        self.disks = disks
        for way in self.ways:
            way.move_to(disks[way.path])

    def save_state(self, copy: Path) -> None:
        """A copy of the state directory."""
        shutil.rmtree(copy, ignore_errors=True)
        if self.state_dir.exists():
            shutil.copytree(self.state_dir, copy)

    def load_state(self, copy: Path) -> None:
        """The state directory as it was when it was saved."""
        shutil.rmtree(self.state_dir, ignore_errors=True)
        if copy.exists():
            shutil.copytree(copy, self.state_dir)

    def _open_target(self, path: str) -> Target:
        disk = self.disks.get(path)
        self._note_path(path)
        if disk is None or disk.mood.away or path in self.cut_off:
            raise TargetError(Fault.MISSING, f"{path}: no such directory")
        way = Way(disk, self._note)
        self.ways.append(way)
        return way

    def _note_path(self, path: str) -> None:
        self.power.take()
        self.trace.call(path, "open", self.name, 0)

    def _note(self, disk: Disk, method: str, name: str, offset: int) -> Outcome:
        self.power.take()
        self.trace.call(disk.path, f"{self.name} {method}", name, offset)
        if disk.path in self.cut_off:
            return Fault.TIMEOUT
        if self.heart_hidden and name.startswith("heartbeat.") and method in ("write", "create"):
            return Fault.FULL
        return None

    def _open_lane(self, name: str) -> AnyLane:
        disk = next((disk for disk in self.disks.values() if disk.name == name), None)
        if disk is None:
            return InlineLane(name)

        def delay_s() -> float:
            # Looked up anew: the disk behind the path may have been exchanged, or be away.
            behind = self.disks.get(disk.path, disk)
            mean_s = self.slow_s.get(disk.path, behind.mood.delay_s)
            if not mean_s or math.isinf(mean_s):
                return mean_s
            return DELAY_MIN_S + self.source.expovariate(1 / mean_s)

        lane = SimulatedLane(name, self.clock, delay_s, traffic=self.traffic)
        for lanes in (self.lanes, disk.lanes):
            lanes[:] = [*(old for old in lanes if not old.ended), lane]
        return lane


def only_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in a group of a group, or the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
