"""The n-th call of a target fails, for every n of a life in which everything happens once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

from ecfs.base.errors import Fault
from ecfs.observe import EventKind
from ecfs.observe.events import EVIDENCE_KINDS
from ecfs.repair import scrub
from ecfs.targets import Buffer, FaultyTarget, Outcome, Target
from ecfs.testing.faults.cases import Outcome as CaseOutcome
from ecfs.testing.faults.expecting import expect
from ecfs.testing.faults.judging import Verdict, judge_error
from ecfs.testing.faults.lane import Hangs
from ecfs.testing.faults.site import Site
from ecfs.testing.faults.world import FaultGround, run_repeatably
from ecfs.testing.pools import Opening

FAILURES = ("io", "full", "read-only", "missing", "unsafe", "short", "after", "hang", "hang-lost",
            "io-on")
"""`hang`: the call returns long after it was given up and does its work then; `hang-lost`: it never
does. `io-on`: this call and the nine that follow."""

T = TypeVar("T")
ON_COUNT = 10
REST_S = 12.0
REST_LONG_S = 120.0
TIME_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class CallFault:
    """Call number `number` of a target, from 0 at the mount, fails in this way."""

    target: int
    number: int
    how: str

    @property
    def id(self) -> str:
        """`call t1/57/io`."""
        return f"call t{self.target}/{self.number}/{self.how}"


@dataclass(slots=True)
class CallPlan:
    """Counts the calls of one target over all ways to it, and fails the chosen ones. `life_count`:
    those before the life ended; in what is checked afterwards nothing fails."""

    fault: CallFault | None
    hangs: Hangs
    count: int = 0
    life_count: int = 0
    method: str = ""

    @property
    def lasts(self) -> bool:
        """Whether the target needs a while to be well again."""
        return self.fault is not None and self.fault.how in ("hang", "hang-lost", "io-on")

    def __call__(self, number: int, method: str, name: str, offset: int) -> Outcome:
        """What becomes of the next call."""
        self.hangs.let_return()
        at, self.count = self.count, self.count + 1
        fault = self.fault
        if fault is None or not fault.number <= at < fault.number + (
                ON_COUNT if fault.how == "io-on" else 1):
            return None
        self.method = f"{method} {name}+{offset:x}"
        if fault.how in ("hang", "hang-lost"):
            self.hangs.arm(lost=fault.how == "hang-lost")
            return None
        if fault.how in ("short", "after"):
            return "short" if fault.how == "short" else "after"
        return {"io": Fault.IO, "io-on": Fault.IO, "full": Fault.FULL, "missing": Fault.MISSING,
                "read-only": Fault.READ_ONLY, "unsafe": Fault.UNSAFE}[fault.how]


@dataclass(slots=True)
class Promises:
    """What each path may hold: the newest state that is promised, and those that came after it."""

    states: dict[bytes, list[bytes | None]] = field(default_factory=dict)

    def now(self, path: bytes) -> bytes:
        """The newest content."""
        return self.states[path][-1] or b""

    def put(self, path: bytes, content: bytes | None) -> None:
        """Not promised yet."""
        self.states.setdefault(path, [None]).append(content)

    def promised(self) -> None:
        """All of it is durable."""
        self.states = {path: states[-1:] for path, states in self.states.items()}

    def broken_by(self, found: dict[bytes, bytes]) -> list[bytes]:
        """Paths that hold what they may not."""
        return [path for path in sorted(self.states.keys() | found.keys())
                if found.get(path) not in self.states.get(path, [None])]


class HangingTarget(FaultyTarget):
    """A FaultyTarget whose plan can also let a call hang, by arming `hangs`."""

    def __init__(self, inner: Target, plan: CallPlan) -> None:
        super().__init__(inner, plan)
        self._hangs = plan.hangs

    def read(self, name: str, offset: int, length: int) -> bytes:
        """See Target."""
        data = super().read(name, offset, length)
        self._hangs.hang_if_armed(lambda: None)
        return data

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """See Target."""
        self._inner_write(name, offset, [bytes(buffer) for buffer in buffers])

    def _inner_write(self, name: str, offset: int, data: list[bytes]) -> None:
        outcome = self._outcome("write", name, offset)
        self._hangs.hang_if_armed(lambda: self.inner.write(name, offset, data))
        if outcome == "short":
            joined = b"".join(data)
            self.inner.write(name, offset, [joined[: len(joined) // 2]])
            raise self._error(Fault.IO, "write", name)
        self.inner.write(name, offset, data)
        if outcome == "after":
            raise self._error(Fault.TIMEOUT, "write", name)

    def _call(self, method: str, name: str, offset: int, function: Callable[[], T]) -> T:
        def guarded() -> T:
            self._hangs.hang_if_armed(function)
            return function()

        return super()._call(method, name, offset, guarded)


def planned(plan: CallPlan, inner: Target) -> Target:
    """The way to a target that follows the plan."""
    return HangingTarget(inner, plan)


class Life:
    """The script. Stops at the first error; what was acknowledged by then is in `promises`."""

    def __init__(self, site: Site, opening: Opening) -> None:
        self._opening = opening
        self._shell = opening.shell
        self.promises = Promises({path: [content] for path, content in site.expected.items()})

    async def run(self) -> None:
        """All of it, but for the unmount."""
        volume = self._opening.volume
        await self._write(b"fresh", b"f" * 3_000)
        await self._fsync(b"fresh")
        await self._write(b"log", b"l" * 30_000)
        await self._write(b"packed", b"p" * 4_000)
        await self._all()
        await self._write(b"fresh", b"F" * 5_000)
        await self._rename(b"fresh", b"single")
        await self._all()
        await volume.checkpoint()
        self.promises.promised()
        self._unlink(b"docs/small5")
        await volume.tend()
        await self._write(b"docs/tail", b"t" * 50_000)
        await self._fsync(b"docs/tail")
        await self._read_all()
        await scrub(volume)
        await self._read_all()

    async def rest(self, seconds: float) -> None:
        """Time for who was away to return and to catch up."""
        await trio.sleep(seconds)

    async def _read_all(self) -> None:
        found = await self._shell.contents()
        wrong = self.promises.broken_by(found)
        if wrong:
            raise AssertionError(f"wrong bytes: {wrong}")

    async def _write(self, path: bytes, data: bytes) -> None:
        states = self.promises.states
        old = self.promises.now(path) if path in states else b""
        if states.get(path, [None])[-1] is None:
            # A name that nobody has synced may be there before the bytes.
            self.promises.put(path, b"")
        self.promises.put(path, data + old[len(data):])
        await self._shell.write(path, data)

    async def _fsync(self, path: bytes) -> None:
        await self._shell.fsync(path)
        states = self.promises.states
        states[path] = states[path][-1:]

    async def _all(self) -> None:
        await self._opening.volume.fsync(None)
        self.promises.promised()

    async def _rename(self, old: bytes, new: bytes) -> None:
        for state in self.promises.states[old]:
            self.promises.put(new, state)
        self.promises.put(old, None)
        await self._shell.rename(old, new)

    def _unlink(self, path: bytes) -> None:
        self.promises.put(path, None)
        self._shell.unlink(path)


def call_faults(site: Site) -> Iterator[CallFault]:
    """Every way of every call of every target."""
    for target in range(site.shape.targets_count):
        count = _calls_of(site, target)
        for number in range(count):
            for how in FAILURES:
                yield CallFault(target, number, how)


def _calls_of(site: Site, target: int) -> int:
    disks = site.disks.copy()
    ground = site.ground(disks, "count")
    plan = CallPlan(None, ground.hangs)
    disks.plans[site.paths[target]] = partial(planned, plan)
    verdict = Verdict()
    run_repeatably("count", lambda: _judge(site, ground, plan, -1, verdict))
    if verdict.problems:
        raise AssertionError(verdict.problems)
    return plan.life_count


def run_call_case(site: Site, fault: CallFault) -> CaseOutcome:
    """Live with a call that fails."""
    case_id = f"{site.shape.name} {fault.id}"
    disks = site.disks.copy()
    ground = site.ground(disks, case_id)
    plan = CallPlan(fault, ground.hangs)
    disks.plans[site.paths[fault.target]] = partial(planned, plan)
    verdict = Verdict()
    run_repeatably(case_id, lambda: _judge(site, ground, plan, fault.target, verdict))
    verdict.log.insert(0, f"failed: {plan.method}")
    return CaseOutcome(case_id, verdict if plan.method else None, case_id.encode())


async def _judge(site: Site, ground: FaultGround, plan: CallPlan, failing: int,
                 verdict: Verdict) -> None:
    allowed = expect(site, site.disks.copy(), frozenset({failing} - {-1}))
    began_s = trio.current_time()
    promises = Promises({path: [content] for path, content in site.expected.items()})
    excuse = allowed.read_only or allowed.may_fail
    try:
        async with ground.open_and_crash() as opening:
            life = Life(site, opening)
            promises = life.promises
            try:
                await life.run()
                fired = bool(plan.method)
                await life.rest(REST_LONG_S if plan.lasts and fired else REST_S)
                if fired and not excuse:
                    _check_healed(opening, verdict)
                await opening.volume.close()
            finally:
                _check_accused(site, opening, failing, verdict)
    except BaseException as error:
        judge_error(error, excuse, verdict)
    plan.fault, plan.life_count = None, plan.count
    ground.hangs.let_return(all_of_them=True)
    await _check_after(site, ground, promises, failing, verdict)
    if trio.current_time() - began_s > TIME_MAX_S:
        verdict.blame("slow", f"took {trio.current_time() - began_s:.0f} s")


def _check_healed(opening: Opening, verdict: Verdict) -> None:
    status = opening.volume.status()
    if status.state != "healthy":
        verdict.blame("not healed", f"{status.state}: {'; '.join(status.advice)}")


def _check_accused(site: Site, opening: Opening, failing: int, verdict: Verdict) -> None:
    for event in opening.volume.journal.recent(10_000):
        verdict.log.append(event.text())
        if event.kind in EVIDENCE_KINDS and event.target in site.ids:
            number = site.ids.index(event.target)
            if number != failing and event.kind is not EventKind.COLUMN_ABANDONED:
                verdict.blame("accused", f"target {number}: {event.kind}")


async def _check_after(site: Site, ground: FaultGround, promises: Promises, failing: int,
                       verdict: Verdict) -> None:
    """All targets answer: what was promised is there, and nothing is wrong."""
    try:
        async with ground.open() as opening:
            wrong = promises.broken_by(await opening.shell.contents())
            if wrong:
                verdict.blame("wrong bytes", f"after: {wrong}")
            if opening.volume.read_only:
                verdict.blame("read-only", opening.volume.read_only)
            await trio.sleep(10)
            await scrub(opening.volume)
            again = await scrub(opening.volume)
            if again.bad_count or again.unreadable_count:
                verdict.blame("not mended", f"a second scrub finds {again}")
            _check_accused(site, opening, failing, verdict)
        report = await ground.fsck()
        if not report.clean:
            verdict.blame("fsck", "; ".join(f"{one.id} {one.description}"
                                            for one in report.findings[:3]))
    except BaseException as error:
        judge_error(error, "", verdict)
