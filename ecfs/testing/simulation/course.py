"""The course of a world with one writer at a time: lives, what befalls them, and healing."""

import errno

import trio

from ecfs.base.errors import Damage, EcfsError, ReadOnly
from ecfs.erasure import quorum_for
from ecfs.repair import FsckMode, check_pool, replace_target, scrub
from ecfs.stripes import Member
from ecfs.testing.pools import SECRET, Opening
from ecfs.testing.simulation.finding import Failure
from ecfs.testing.simulation.history import History, Item, Kind
from ecfs.testing.simulation.judging import check_shards
from ecfs.testing.simulation.kernel import Kernel
from ecfs.testing.simulation.plans import Chapter, Life, Plan
from ecfs.testing.simulation.troubles import befall, end_troubles, wound
from ecfs.testing.simulation.world import World
from ecfs.volume import Volume

LIFE_DEADLINE_S = 4 * 3600.0
HEALING_DEADLINE_S = 3600.0
UNKNOWN_DEADLINE_S = 60.0
CATCHING_UP_DEADLINE_S = 600.0
SCRUBS_MAX = 4


class _PastHealing(Exception):
    """The pool cannot be written any more, as its quorum says."""


class Course:
    """What a plan makes of a world."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.trace = world.trace
        self.disks = world.disks
        self.history = History()
        self.machine = world.new_machine("one")
        self._lives_count = 0
        self._past_healing = False
        world.lenient = plan.beyond

    async def run(self) -> None:
        """All of it."""
        await self.world.make_pool(self.machine)
        for chapter in self.plan.chapters:
            await self._live_chapter(chapter)
            if not self.plan.beyond:
                await self._heal()
            if self._past_healing:
                break

    async def _live_chapter(self, chapter: Chapter) -> None:
        disks = list(self.disks.values())
        for number in chapter.absent:
            disks[number].mood.away = True
        self.world.tell_lies(chapter.lies)
        for life in chapter.lives:
            await self._live(life, chapter)

    async def _live(self, life: Life, chapter: Chapter) -> None:
        self._lives_count += 1
        absent = chapter.absent
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
            self._refused(error, chapter)
        self.world.check()
        self._end(life, absent)

    async def _programs(self, opening: Opening, life: Life) -> None:
        kernel = Kernel(opening.volume, self.history, self.trace, self._lives_count,
                        strict=not self.plan.beyond)
        await kernel.begin()
        async with trio.open_nursery() as nursery:
            for program in life.programs:
                nursery.start_soon(kernel.run, list(program))
        self.world.check()
        if life.end == "clean":
            await kernel.finish()
            mark = self.history.mark_all()
            await opening.volume.close()
            if not opening.volume.read_only:
                self.history.acknowledged(mark)

    def _refused(self, error: EcfsError, chapter: Chapter) -> None:
        self.trace.say("refusal", f"{type(error).__name__}: {error}")
        self.trace.counts[f"refusal {type(error).__name__}"] += 1
        if not self.plan.beyond and not (
                error.errno == errno.ENOSPC
                or (isinstance(error, ReadOnly) and self._may_stop(chapter))):
            raise Failure(f"within the budget: {type(error).__name__}: {error}") from error

    def _may_stop(self, chapter: Chapter) -> bool:
        """Whether the bad disks alone keep the others from a quorum, so that nothing is written
        while they misbehave."""
        quorum = quorum_for(self.plan.targets_count, self.plan.parity)
        return len(chapter.bad) > quorum.members - quorum.commit

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
                    # Where the power went in the middle of this, it failed for nobody.
                    await trio.lowlevel.checkpoint_if_cancelled()
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
        self.world.behave()
        try:
            with trio.fail_after(HEALING_DEADLINE_S):
                await machine.live(self._healed)
                await self._prove()
        except _PastHealing:
            self.trace.say("past healing", "a target without labels, and too few others to write")
            self._past_healing = True
            return
        except EcfsError as error:
            raise Failure(f"while healing: {type(error).__name__}: {error}") from error
        self.world.check()
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
                spare = self.world.replace_disk(disk)
                await replace_target(volume, member.name, spare.path)
        left = await self._not_whole(volume, CATCHING_UP_DEADLINE_S)
        if left:
            raise Failure("all targets are there, but do not become whole: " + ", ".join(
                f"{member.name} is {member.state}{', behind' * member.behind}"
                for member in left))
        self.world.ids = {member.id: member.path for member in volume.fleet}

    @staticmethod
    async def _not_whole(volume: Volume, deadline_s: float) -> list[Member]:
        left: list[Member] = []
        with trio.move_on_after(deadline_s):
            while left := [member for member in volume.fleet
                           if member.behind or not member.online]:
                await trio.sleep(1)
        return left

    async def _prove(self) -> None:
        self.machine.reboot()
        report = await check_pool(self.machine.paths, SECRET, self.machine.environment(),
                                  mode=FsckMode.LOOK, force=True)
        if not report.clean:
            raise Failure(f"fsck is not clean: {[str(finding) for finding in report.findings]}")
