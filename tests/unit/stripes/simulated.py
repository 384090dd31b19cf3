"""A stripe store over targets in memory, with virtual time, fixed keys and fixed entropy."""

import hashlib
import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import UNIT_LEN
from ecfs.erasure import Geometry, metadata_geometry
from ecfs.keys import MasterKey
from ecfs.observe import Journal
from ecfs.stripes import Fleet, Identity, Member, MemberState, StripeStore
from ecfs.targets import FaultyTarget, InlineLane, MemoryTarget, Outcome, run_all
from ecfs.targets.jobs import Job

T = TypeVar("T")
Args = TypeVarTuple("Args")

POOL_ID = bytes(range(16))


class CountedEntropy:
    """Bytes that look random and are the same in every run."""

    def __init__(self, seed: bytes = b"") -> None:
        self._seed = seed
        self._count = 0

    def token(self, length: int) -> bytes:
        self._count += 1
        text = self._seed + self._count.to_bytes(8, "big")
        return hashlib.shake_128(text).digest(length)


class TrioClock:
    """Trio's time, which a MockClock moves."""

    def wall_ns(self) -> int:
        return 1_000_000_000_000 + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return int(trio.current_time() * 1e9)


class StillClock:
    """No time passes."""

    def wall_ns(self) -> int:
        return 1_000

    def monotonic_ns(self) -> int:
        return 1_000


class MovedClock:
    """Time passes where somebody says so."""

    now_ns = 1_000_000_000

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


class SlowLane(InlineLane):
    """A lane that does its jobs in order, each after a random time: other tasks run meanwhile."""

    def __init__(self, name: str, nursery: trio.Nursery, chance: random.Random) -> None:
        super().__init__(name)
        self._chance = chance
        self._sender, receiver = trio.open_memory_channel[Job](1024)
        nursery.start_soon(self._work, receiver)

    async def run(self, function: Callable[[*Args], T], *args: *Args, deadline_s: float) -> T:
        [result] = await run_all([self], [partial(function, *args)], deadline_s)
        if isinstance(result, TargetError):
            raise result
        return result

    def post(self, job: Job) -> None:
        self._sender.send_nowait(job)

    async def _work(self, receiver: trio.MemoryReceiveChannel[Job]) -> None:
        async for job in receiver:
            await trio.sleep(self._chance.random() * 0.01)
            if not job.abandoned:
                job.execute()
                job.on_done()


class World:
    """Targets, fleet and store. `fail[i]` says what becomes of target i's next calls."""

    def __init__(self, geometry: Geometry, targets_count: int, *, liars: int = 1, seed: int = 0,
                 nursery: trio.Nursery | None = None, clock: Any = None,
                 total_len: int = 1 << 40) -> None:
        chance = random.Random(seed)
        self.memories = [MemoryTarget(f"memory:{i}", total_len=total_len)
                         for i in range(targets_count)]
        self.fail: list[Callable[[str, str, int], Outcome]] = [
            lambda method, name, offset: None for _ in range(targets_count)]
        self.targets = [FaultyTarget(memory, partial(self._plan, i))
                        for i, memory in enumerate(self.memories)]
        self.journal = Journal(clock or StillClock())
        self.ids = [bytes([0x40 + i]) * 16 for i in range(targets_count)]
        self.lanes = [SlowLane(f"l{i}", nursery, chance) if nursery else InlineLane(f"l{i}")
                      for i in range(targets_count)]
        self.fleet = Fleet(
            [Member(self.ids[i], f"target{i}", target.path, target, self.lanes[i],
                    MemberState.ONLINE) for i, target in enumerate(self.targets)], self.journal)
        self.master = MasterKey(bytes(range(32))).for_content(
            hashes_first=True, unit_len=UNIT_LEN)
        worker = SlowLane("worker", nursery, chance) if nursery else InlineLane("worker")
        self.identity = Identity(POOL_ID, self.master, 3, liars)
        self.entropy = CountedEntropy()
        self.store = StripeStore(
            self.identity, self.fleet, worker, self.entropy, self.journal,
            content=geometry, metadata=metadata_geometry(geometry, targets_count))

    def _plan(self, index: int, number: int, method: str, name: str, offset: int) -> Outcome:
        return self.fail[index](method, name, offset)

    def fail_all(self, fault: Fault = Fault.IO, *methods: str) -> None:
        """Every target fails these calls (all calls if none is named) from now on."""
        for index in range(len(self.fail)):
            self.fail_one(index, fault, *methods)

    def fail_one(self, index: int, fault: Outcome, *methods: str) -> None:
        """One target fails these calls from now on."""
        self.fail[index] = lambda method, name, offset: (
            fault if not methods or method in methods else None)

    def heal(self) -> None:
        """Every target works again and is online."""
        for index, target_id in enumerate(self.ids):
            self.fail[index] = lambda method, name, offset: None
            member = self.fleet[target_id]
            member.full = False
            if member.state is not MemberState.ONLINE:
                self.fleet.mark_online(member)
