"""Several writers and one pool: never two acknowledged histories.

Each machine writes files of its own and remembers what was acknowledged. Machines are cut off from
some targets, slow on others, taken for dead while they run, killed, and set back to a snapshot. In
the end everything that was ever acknowledged, by whomever, is in the one history that is left.
"""

import random

import trio

from ecfs.base.errors import EcfsError
from ecfs.repair import FsckMode, check_pool, scrub
from ecfs.testing.pools import SECRET, Opening
from ecfs.testing.simulation.acknowledging import Acknowledged, Writer
from ecfs.testing.simulation.determinism import source_of
from ecfs.testing.simulation.finding import Failure
from ecfs.testing.simulation.hosts import Machine
from ecfs.testing.simulation.judging import check_shards
from ecfs.testing.simulation.plans import Contest
from ecfs.testing.simulation.setbacks import SETBACKS
from ecfs.testing.simulation.trace import Trace
from ecfs.testing.simulation.world import World

SETTLING_DEADLINE_S = 1800.0


async def disturb(machine: Machine, source: random.Random, until_s: float, trace: Trace) -> None:
    """Make the life of a machine hard: other targets out of reach, slow or silent each time."""
    paths = list(machine.disks)
    while trio.current_time() < until_s:
        machine.cut_off = set(source.sample(paths, source.choice((0, 0, 0, 1, 1, len(paths) // 2))))
        machine.slow_s = {path: source.choice((0.05, 1.0, 6.0))
                          for path in source.sample(paths, source.choice((0, 1, 2)))}
        machine.heart_hidden = source.random() < 0.5
        trace.say("disturbed", f"{machine.name}: cut off from {sorted(machine.cut_off)}, slow on "
                  f"{sorted(machine.slow_s)}, heart {'hidden' if machine.heart_hidden else 'seen'}")
        await trio.sleep(source.choice((5.0, 20.0, 50.0)))
        if source.random() < 0.3:
            trace.say("killed", machine.name)
            machine.power.cut()


async def contend(contest: Contest, machines: list[Machine], trace: Trace,
                  acknowledged: Acknowledged) -> None:
    """All machines at full speed, for the time of the contest."""
    until_s = trio.current_time() + contest.duration_s
    async with trio.open_nursery() as nursery:
        for number, machine in enumerate(machines):
            source = source_of("contest", contest.seed, number)
            writer = Writer(machine, acknowledged, source, trace)
            nursery.start_soon(writer.run, until_s)
            nursery.start_soon(disturb, machine, source_of("disturb", contest.seed, number),
                               until_s, trace)
            await trio.sleep(source.choice((0.0, 0.0, 1.0, 40.0)))
    for machine in machines:
        machine.power.cut()
        machine.stop_lanes()


class Contending:
    """The course of a contest."""

    def __init__(self, world: World, contest: Contest) -> None:
        self.world = world
        self.contest = contest
        self.acknowledged = Acknowledged()
        world.lenient = True

    async def run(self) -> None:
        """Several writers; whoever comes last finds what each of them was told to be safe."""
        world, contest = self.world, self.contest
        await world.make_pool(world.new_machine("one"))
        world.tell_lies(contest.lies)
        if contest.kind == "crowd":
            names = ("two", "three", "four")[: contest.machines_count]
            await contend(contest, [world.new_machine(name) for name in names], world.trace,
                          self.acknowledged)
        else:
            await SETBACKS[contest.kind](world, contest, self.acknowledged)
        world.check()
        world.behave()
        world.lenient = False
        await settle(world.new_machine("last"), self.acknowledged, world.trace)
        world.trace.counts["acknowledged by several"] += self.acknowledged.acknowledged_count


async def settle(machine: Machine, acknowledged: Acknowledged, trace: Trace) -> None:
    """Who comes last finds everything, and makes it whole."""
    async def body(opening: Opening) -> None:
        volume = opening.volume
        if volume.read_only:
            raise Failure(f"all targets are there, but it is read-only: {volume.read_only}")
        while any(member.behind or not member.online for member in volume.fleet):
            await trio.sleep(1)
        acknowledged.check(await opening.shell.contents())
        for _ in range(4):
            await opening.mending.drained()
            report = await scrub(volume)
            if not report.bad_count:
                break
        if report.bad_count or report.unreadable_count:
            raise Failure(f"scrub after scrub finds {report.bad_count} bad shards")
        trace.counts["shards compared"] += check_shards(volume, machine.disks)
        await volume.close()

    try:
        with trio.fail_after(SETTLING_DEADLINE_S):
            await machine.live(body)
            machine.reboot()
            report = await check_pool(machine.paths, SECRET, machine.environment(),
                                      mode=FsckMode.LOOK, force=True)
    except EcfsError as error:
        raise Failure(f"in the end: {type(error).__name__}: {error}") from error
    if not report.clean:
        raise Failure(f"fsck is not clean: {[str(finding) for finding in report.findings]}")
