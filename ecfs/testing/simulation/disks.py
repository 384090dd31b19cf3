"""Simulated disks: a medium, what is wrong with it, and how it behaves at the moment."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ecfs.base.errors import Fault, TargetError
from ecfs.base.units import GIB
from ecfs.targets import Buffer, FaultyTarget, MemoryTarget, Outcome, Space
from ecfs.targets.names import split_name
from ecfs.testing.simulation.flaws import Flaw, FlawKind, Flaws
from ecfs.testing.simulation.lanes import SimulatedLane
from ecfs.testing.simulation.lies import Lie
from ecfs.testing.simulation.trace import Trace

_WRITING = frozenset({"create", "replace", "write", "truncate", "preallocate", "punch", "remove"})
_GROWING = frozenset({"create", "replace", "write", "preallocate"})


@dataclass(slots=True)
class Mood:
    """How a disk behaves now, whatever its content.

    `delay_s`: mean time of a job, infinite while it hangs. The counts are of calls still to be
    treated so: writes that are acknowledged and lost, that land elsewhere, syncs that fail.
    """

    away: bool = False
    read_only: bool = False
    full: bool = False
    delay_s: float = 0.0
    writes_lost: int = 0
    writes_misdirected: int = 0
    writes_short: int = 0
    syncs_failing: int = 0
    errors: int = 0

    @property
    def hangs(self) -> bool:
        """Whether nothing is answered."""
        return math.isinf(self.delay_s)


@dataclass(slots=True)
class Disk:
    """One place at a path. `harm` says what was ever done to it: a disk without harm is honest,
    and an event that accuses it is false. `lost`: files whose unsynced writes a power cut took; a
    sync of those fails until they are opened anew."""

    path: str
    trace: Trace
    source: random.Random
    medium: MemoryTarget = field(init=False)
    flaws: Flaws = field(default_factory=Flaws)
    mood: Mood = field(default_factory=Mood)
    lies: list[Lie] = field(default_factory=list)
    harm: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    lanes: list[SimulatedLane] = field(default_factory=list)
    total_len: int = 1024 * GIB

    def __post_init__(self) -> None:
        self.medium = MemoryTarget(self.path, total_len=self.total_len)

    @property
    def name(self) -> str:
        """The last part of the path; also the name of its lanes."""
        return split_name(self.path)[1]

    def files(self, folder: str = "") -> list[str]:
        """Names of all files on the medium."""
        found = []
        for name in self.medium.list_names(folder):
            path = f"{folder}/{name}" if folder else name
            try:
                self.medium.size(path)
            except TargetError:
                found += self.files(path)
            else:
                found.append(path)
        return found

    def content(self, name: str) -> bytes:
        """All bytes of a file on the medium, past flaws, lies and moods."""
        return self.medium.read(name, 0, self.medium.size(name))

    def cut_power(self, *, torn: bool) -> int:
        """What was not synced is lost, kept or torn as chance has it; the count of such changes."""
        unsynced = self.medium.unsynced()
        choice = self.source.random()
        kept = {number for number in range(len(unsynced)) if self.source.random() < choice}
        torn_len = self.source.choice((1, 511, 512, 4096, 5000)) if torn else None
        self.lost.update(name for what, name, _, _ in unsynced if what in ("write", "resize"))
        self.medium.crash((lambda number: number in kept) if choice > 0.2 else None,
                          torn_len=torn_len)
        return len(unsynced)

    def let_go(self) -> None:
        """What hangs on this disk goes on."""
        for lane in self.lanes:
            lane.let_go()

    def copy(self) -> "Disk":
        """Another disk with the same files, all of them durable."""
        other = Disk(self.path, self.trace, self.source, mood=replace(self.mood))
        for name in self.files():
            other.medium.create(name, self.content(name))
        other.settle()
        return other

    def settle(self) -> None:
        """Everything reaches the medium, as it does when nothing happens for long."""
        self.medium.crash(lambda number: True)

    def damage(self, kind: str, name: str) -> None:
        """Do something to one file of the medium. `kind` is one of `DAMAGES`."""
        size = self.medium.size(name)
        self.harm.add(kind)
        if kind == "delete":
            self.medium.remove(name)
            self.flaws.gone(name)
        elif kind == "truncate":
            self.medium.truncate(name, self.source.randrange(size) if size else 0)
        elif kind == "extend":
            self.medium.write(name, size, [self.source.randbytes(5000)])
        elif size:
            start = self.source.randrange(size)
            end = min(size, start + self.source.choice((1, 64, 4096, 1 << 20)))
            self.flaws.add(name, self._flaw(kind, name, start, end))
        self.settle()

    def _flaw(self, kind: str, name: str, start: int, end: int) -> Flaw:
        length = end - start
        if kind == "rot":
            mask = bytearray(length)
            for _ in range(1 + length // 1000):
                mask[self.source.randrange(length)] |= 1 << self.source.randrange(8)
            return Flaw(FlawKind.ROT, start, end, bytes(mask))
        if kind == "zeros":
            return Flaw(FlawKind.ZEROS, start, end)
        if kind == "unreadable":
            return Flaw(FlawKind.UNREADABLE, start, end)
        other = self.source.choice(self.files())
        data = self.content(other)
        at = self.source.randrange(len(data)) if data else 0
        # Aligned as records are, so that what is swapped in is a whole one now and then.
        at = at // 4096 * 4096
        return Flaw(FlawKind.SHOWN, start // 4096 * 4096, end, data[at : at + length + 4096])


DAMAGES = ("rot", "zeros", "unreadable", "swap", "truncate", "extend", "delete")


class Way(FaultyTarget):
    """A host's way to a disk: closing it closes only the way. `note` is asked before each call;
    what it returns is the outcome, and it raises where the host is dead."""

    def __init__(self, disk: Disk, note: Callable[[Disk, str, str, int], Outcome]) -> None:
        super().__init__(disk.medium, self._plan_of, corrupt=self._shown)
        self.disk = disk
        self._note = note

    def move_to(self, disk: Disk) -> None:
        """Lead to another disk from now on."""
        self.disk = disk
        self.inner = disk.medium

    def close(self) -> None:
        """The disk itself stays."""

    def list_names(self, folder: str = "") -> list[str]:
        """As the disk says it is."""
        names = super().list_names(folder)
        for lie in self.disk.lies:
            names = lie.names(folder, names)
        return names

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As the disk says it is; a lie may tell of a file that is not there."""
        try:
            return super().read(name, offset, length)
        except TargetError as error:
            if error.fault is not Fault.MISSING:
                raise
            for lie in self.disk.lies:
                told = lie.absent(name, offset, length)
                if told is not None:
                    return told
            raise

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """As the disk does it, or only says so."""
        if self._drops("create", name, 0, data):
            return
        super().create(name, data, sync=sync)

    def replace(self, name: str, data: Buffer) -> None:
        """As the disk does it, or only says so."""
        if self._drops("replace", name, 0, data):
            return
        super().replace(name, data)
        self.disk.flaws.gone(name)

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """As the disk does it: elsewhere, in part, or only in words."""
        data = b"".join(buffers)
        if self._drops("write", name, offset, data):
            return
        mood = self.disk.mood
        if mood.writes_lost:
            self._plan_of(0, "write", name, offset)
            self.inner.size(name)
            mood.writes_lost -= 1
            self.disk.harm.add("lost write")
            return
        if mood.writes_misdirected:
            mood.writes_misdirected -= 1
            self.disk.harm.add("misdirected write")
            offset = self.disk.source.randrange(0, offset + 1, 4096) if offset else 8192
        super().write(name, offset, [data])
        self.disk.flaws.written(name, offset, len(data))

    def sync(self, name: str) -> None:
        """As the disk does it; it does not say that what it lost is there."""
        if name in self.disk.lost:
            self._suspect.add(name)
        super().sync(name)

    def forget(self, name: str) -> None:
        """What was lost is forgotten too."""
        self.disk.lost.discard(name)
        super().forget(name)

    def remove(self, name: str) -> None:
        """As the disk does it, or only says so."""
        if self._drops("remove", name, 0, b""):
            return
        super().remove(name)
        self.disk.flaws.gone(name)

    def space(self) -> Space:
        """As the disk says it is."""
        space = super().space()
        if self.disk.mood.full:
            space = Space(space.total_len, 0)
        for lie in self.disk.lies:
            space = lie.space(space)
        return space

    def _drops(self, method: str, name: str, offset: int, data: Buffer) -> bool:
        dropped = [lie for lie in self.disk.lies if lie.drops(method, name, offset, bytes(data))]
        if dropped:
            self._plan_of(0, method, name, offset)
        return bool(dropped)

    def _plan_of(self, number: int, method: str, name: str, offset: int) -> Outcome:
        disk = self.disk
        outcome = self._note(disk, method, name, offset)
        if outcome is not None:
            return outcome
        mood = disk.mood
        if mood.away:
            return Fault.IO
        if mood.errors:
            mood.errors -= 1
            return Fault.IO
        if mood.full and method in _GROWING:
            return Fault.FULL
        if mood.read_only and method in _WRITING:
            return Fault.READ_ONLY
        if method == "write" and mood.writes_short:
            mood.writes_short -= 1
            return "short"
        if method == "sync" and mood.syncs_failing:
            mood.syncs_failing -= 1
            return Fault.IO
        for lie in disk.lies:
            fault = lie.fault(method, name, offset)
            if fault is not None:
                return fault
        return None

    def _shown(self, name: str, offset: int, data: bytes) -> bytes:
        data = self.disk.flaws.apply(name, offset, data)
        for lie in self.disk.lies:
            data = lie.shown(name, offset, data)
        return data
