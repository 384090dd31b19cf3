"""A world: a pool, its disks, a machine, and what a plan makes of them."""

import errno
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ecfs.base.errors import Damage, EcfsError
from ecfs.observe import Event
from ecfs.repair import FsckMode, check_pool, replace_target, scrub
from ecfs.stripes import Member
from ecfs.testing.pools import QUICK_KDF, SECRET
from ecfs.testing.simulation.determinism import SeededEntropy, run_seeded, source_of
from ecfs.testing.simulation.disks import Disk
from ecfs.testing.simulation.finding import Failure
from ecfs.testing.simulation.history import History, Item, Kind
from ecfs.testing.simulation.hosts import Machine, Opening
from ecfs.testing.simulation.judging import LOST_KINDS, check_event, check_shards
from ecfs.testing.simulation.kernel import Kernel
from ecfs.testing.simulation.ledger import SealLedger
from ecfs.testing.simulation.lies import make_lie
from ecfs.testing.simulation.plans import Chapter, Life, Plan
from ecfs.testing.simulation.trace import Trace
from ecfs.testing.simulation.troubles import befall, end_troubles, wound
from ecfs.volume import OpenOptions, PoolOrder, Volume, open_volume
from ecfs.volume.creating import lay_out, remember

LIFE_DEADLINE_S = 4 * 3600.0
HEALING_DEADLINE_S = 3600.0
UNKNOWN_DEADLINE_S = 60.0
CATCHING_UP_DEADLINE_S = 600.0
SCRUBS_MAX = 4


class _PastHealing(Exception):
    """The pool cannot be written any more, as its quorum says."""


@dataclass(slots=True)
class Outcome:
    """What came of a world. `failure` is empty when all held; times in seconds."""

    seed: int
    digest: str
    failure: str
    features: tuple[str, ...]
    counts: Counter[str]
    calls_count: int
    seals_count: int
    virtual_s: float
    cpu_s: float
    lines: list[str] = field(default_factory=list)


class World:
    """One pool and what happens to it. Everything in it follows from the plan."""

    def __init__(self, plan: Plan, base: Path, trace: Trace) -> None:
        self.plan = plan
        self.base = base
        self.trace = trace
        self.history = History()
        self.ledger = SealLedger()
        self.ids: dict[bytes, str] = {}
        self.failure: Failure | None = None
        self.disks: dict[str, Disk] = {}
        for number in range(1, plan.targets_count + 1):
            path = f"/simulated/target{number}"
            self.disks[path] = Disk(path, trace, source_of("disk", plan.seed, number))
        self.past_healing = False
        self._lives_count = 0
        self.machine = self.new_machine("one")

    def new_machine(self, name: str, disks: dict[str, Disk] | None = None) -> Machine:
        """One more machine that reaches these disks."""
        return Machine(name, self.base / name, self.disks if disks is None else disks, self.trace,
                       SeededEntropy((self.plan.seed, name)),
                       source_of("machine", self.plan.seed, name), self.judge)

    def judge(self, machine: Machine, event: Event) -> None:
        """Look at an event; the first that must not be is the world's failure."""
        if machine.power.is_out:
            return
        self.trace.say(f"event {event.kind}", f"{machine.name}: {event.text()}")
        try:
            check_event(event, machine.disks, self.ids)
            if event.kind in LOST_KINDS and not self.plan.beyond:
                raise Failure(f"within the budget: {event.text()}")
        except Failure as failure:
            self.failure = self.failure or failure

    def check(self) -> None:
        """Raise what failed in the background."""
        if self.failure is not None:
            raise self.failure
        if self.ledger.violation is not None:
            raise self.ledger.violation

    # -- the course of a world ---------------------------------------------------------------

    async def run(self) -> None:
        """All of it."""
        with self.ledger.watching():
            await self.make_pool()
            for disk in self.disks.values():
                end_troubles(disk, self.plan.delay_s)
            for chapter in self.plan.chapters:
                await self._live_chapter(chapter)
                if not self.plan.beyond:
                    await self._heal()
                if self.past_healing:
                    break
        self.check()

    async def make_pool(self) -> None:
        """As mkfs does, without the thread."""
        environment = self.machine.environment()
        order = PoolOrder(self.machine.paths, self.plan.geometry, SECRET, QUICK_KDF)
        made, paths = lay_out(order, environment)
        remember(order, made, environment)
        async with open_volume(paths, SECRET, environment, OpenOptions(fresh=True)) as volume:
            volume.tree.format_root(0, 0, 0o755)
            self.ids = {member.id: member.path for member in volume.fleet}

    async def _live_chapter(self, chapter: Chapter) -> None:
        disks = list(self.disks.values())
        for number in chapter.absent:
            disks[number].mood.away = True
        for number, name in chapter.lies:
            disk = disks[number]
            files = {file: disk.content(file) for file in disk.files()}
            foreign = {file: disk.source.randbytes(len(data)) for file, data in files.items()
                       if file.endswith(".col")}
            disk.lies.append(make_lie(name, disk.source, files, foreign))
            disk.harm.add(f"lie: {name}")
            self.trace.say("lie", f"{disk.name} {name}")
        for life in chapter.lives:
            await self._live(life, chapter.absent)

    async def _live(self, life: Life, absent: tuple[int, ...]) -> None:
        self._lives_count += 1
        disks = list(self.disks.values())
        machine = self.machine
        for given in life.wounds:
            wound(disks[given.disk], given, self.trace)
        machine.reboot()
        machine.clock.wall_skew_ns += int(life.wall_skew_s * 1e9)
        machine.power.cut_at = life.cut_at
        self.trace.say("life", f"{self._lives_count}, ends {life.end} at {life.cut_at}")

        async def body(opening: Opening) -> None:
            await self._found(opening)
            async with trio.open_nursery() as nursery:
                for trouble in life.troubles:
                    if trouble.disk not in absent:
                        nursery.start_soon(befall, trouble, disks[trouble.disk],
                                           self.plan.delay_s, self.trace)
                await self._programs(opening, life)
                nursery.cancel_scope.cancel()

        try:
            with trio.fail_after(LIFE_DEADLINE_S):
                await machine.live(body)
        except EcfsError as error:
            self._refused(error)
        self.check()
        self._end(life, absent)

    async def _programs(self, opening: Opening, life: Life) -> None:
        kernel = Kernel(opening.volume, self.history, self.trace, self._lives_count,
                        strict=not self.plan.beyond)
        await kernel.begin()
        async with trio.open_nursery() as nursery:
            for program in life.programs:
                nursery.start_soon(kernel.run, list(program))
        self.check()
        if life.end == "clean":
            await kernel.finish()
            mark = self.history.mark_all()
            await opening.volume.close()
            if not opening.volume.read_only:
                self.history.acknowledged(mark)

    def _refused(self, error: EcfsError) -> None:
        self.trace.say("refusal", f"{type(error).__name__}: {error}")
        self.trace.counts[f"refusal {type(error).__name__}"] += 1
        if not self.plan.beyond:
            raise Failure(f"within the budget: {type(error).__name__}: {error}") from error

    def _end(self, life: Life, absent: tuple[int, ...]) -> None:
        """The machine is down; with the power, what was not synced goes too."""
        self.machine.stop_lanes()
        for number, disk in enumerate(self.disks.values()):
            end_troubles(disk, self.plan.delay_s)
            disk.mood.away = number in absent
            if life.end.startswith("power"):
                lost = disk.cut_power(torn=life.end.endswith("torn"))
                self.trace.counts["unsynced changes at a power cut"] += lost

    async def _found(self, opening: Opening) -> None:
        """What a mount finds is what may be there, and counts from now on."""
        if opening.volume.read_only:
            self.trace.say("read-only mount", opening.volume.read_only)
        found = await self.tree_of(opening)
        if self.plan.beyond:
            self.history.check_plausible(found)
            self.history.settle(found)
            return
        self.history.check(found)
        self.history.settle(found)

    async def tree_of(self, opening: Opening) -> dict[bytes, Item]:
        """The tree as it can be read. Contents past the budget may be None."""
        found = {}
        tree = opening.volume.tree
        for path, attributes in opening.shell.paths().items():
            data: bytes | None = b""
            if attributes.is_regular:
                kind = Kind.FILE
                try:
                    data = await opening.shell.read(path)
                except Damage as damage:
                    if not self.plan.beyond:
                        raise Failure(f"{path!r} cannot be read: {damage}") from damage
                    self.trace.counts[f"errno {errno.errorcode[errno.EIO]}"] += 1
                    data = None
            elif attributes.is_directory:
                kind = Kind.FOLDER
            else:
                kind, data = Kind.LINK, tree.readlink(attributes.inode)
            found[path] = Item(kind, attributes.inode, data)
        return found

    # -- healing -----------------------------------------------------------------------------

    async def _heal(self) -> None:
        """All disks behave again: everything must become as good as new."""
        machine = self.machine
        machine.reboot()
        for disk in self.disks.values():
            end_troubles(disk, self.plan.delay_s)
            disk.lies.clear()
        try:
            with trio.fail_after(HEALING_DEADLINE_S):
                await machine.live(self._healed)
                await self._prove()
        except _PastHealing:
            self.trace.say("past healing", "a target without labels, and too few others to write")
            self.past_healing = True
            return
        except EcfsError as error:
            raise Failure(f"while healing: {type(error).__name__}: {error}") from error
        self.check()
        for disk in self.disks.values():
            disk.settle()
            if not len(disk.flaws):
                disk.harm.clear()

    async def _healed(self, opening: Opening) -> None:
        await self._found(opening)
        volume = opening.volume
        if volume.read_only:
            lost = [member for member in volume.fleet if not member.online
                    and self.disks[member.path].harm]
            if len(volume.opened.label.members) - len(lost) >= volume.quorum.commit:
                raise Failure(f"all targets are there, but it is read-only: {volume.read_only}")
            # A target that has no label left is not known any more, and the others are too few.
            raise _PastHealing
        await self._become_whole(volume)
        for _ in range(SCRUBS_MAX):
            await opening.mending.drained()
            report = await scrub(volume)
            if not report.bad_count:
                break
        if report.bad_count or report.unreadable_count:
            raise Failure(f"scrub after scrub finds {report.bad_count} bad shards, "
                          f"{report.unreadable_count} unreadable stripes")
        self.trace.counts["shards compared"] += check_shards(volume, self.disks)
        self.history.check_exact(await self.tree_of(opening))
        await volume.close()

    async def _become_whole(self, volume: Volume) -> None:
        """Wait until every target is there and has caught up; one without any label left is not
        known any more, and an empty disk takes its place."""
        left = await self._not_whole(volume, UNKNOWN_DEADLINE_S)
        for member in left:
            disk = self.disks[member.path]
            if not member.online and disk.harm:
                self.trace.say("replaced", disk.name)
                spare = self._replace_disk(disk)
                await replace_target(volume, member.name, spare.path)
        left = await self._not_whole(volume, CATCHING_UP_DEADLINE_S)
        if left:
            raise Failure("all targets are there, but do not become whole: " + ", ".join(
                f"{member.name} is {member.state}{', behind' * member.behind}"
                for member in left))
        self.ids = {member.id: member.path for member in volume.fleet}

    @staticmethod
    async def _not_whole(volume: Volume, deadline_s: float) -> list[Member]:
        left: list[Member] = []
        with trio.move_on_after(deadline_s):
            while left := [member for member in volume.fleet
                           if member.behind or not member.online]:
                await trio.sleep(1)
        return left

    def _replace_disk(self, old: Disk) -> Disk:
        """An empty disk at another path, in the same place of the order."""
        spare = Disk(f"{old.path}x", self.trace, old.source, mood=old.mood)
        disks = [spare if disk is old else disk for disk in self.disks.values()]
        self.disks.clear()
        self.disks.update({disk.path: disk for disk in disks})
        return spare

    async def _prove(self) -> None:
        self.machine.reboot()
        report = await check_pool(self.machine.paths, SECRET, self.machine.environment(),
                                  mode=FsckMode.LOOK, force=True)
        if not report.clean:
            raise Failure(f"fsck is not clean: {[str(finding) for finding in report.findings]}")


def run_plan(plan: Plan, folder: Path, *, keep_lines: bool = False) -> Outcome:
    """Run a world to its end. `folder` is for state directories; it is emptied."""
    base = folder / f"world-{os.getpid()}"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    trace = Trace(keep=keep_lines)
    world = World(plan, base, trace)
    began_s = time.process_time()
    failure, virtual_s = "", 0.0

    async def main() -> None:
        nonlocal failure, virtual_s
        try:
            await world.run()
        except BaseException as error:
            failure = describe(error)
            trace.say("failure", failure)
        virtual_s = trio.current_time()

    try:
        run_seeded(plan.seed, main)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return Outcome(plan.seed, trace.digest, failure, plan.features, trace.counts,
                   trace.calls_count, world.ledger.seals_count, virtual_s,
                   time.process_time() - began_s, trace.lines)


def describe(error: BaseException) -> str:
    """An exception in a few words, with the innermost of a group and where it was raised."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    place, trace = "", inner.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(inner).__name__}: {inner} (at {place})"
