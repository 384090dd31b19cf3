"""A client that is set back to a snapshot: of its state on disk, or of its whole memory.

Nothing that it does afterwards may seal other bytes under a nonce that it used, nor undo what it,
or another one, had acknowledged since the snapshot.
"""

import random

import trio

from ecfs.base.errors import Bug, EcfsError
from ecfs.testing.pools import Opening
from ecfs.testing.simulation.acknowledging import Acknowledged, Writer
from ecfs.testing.simulation.determinism import source_of
from ecfs.testing.simulation.disks import Disk
from ecfs.testing.simulation.hosts import Machine
from ecfs.testing.simulation.plans import Contest
from ecfs.testing.simulation.world import World

SETBACKS_COUNT = 3
STEP_S = 0.3


async def restored(world: World, contest: Contest, acknowledged: Acknowledged) -> None:
    """A machine is down, its disk and random state are put back, and it boots again."""
    source = source_of("restored", contest.seed)
    machine = world.new_machine("two")
    copy = world.base / "snapshot"
    machine.save_state(copy)
    position = machine.entropy.position
    for _ in range(SETBACKS_COUNT):
        for _ in range(source.choice((1, 2))):
            await _life(world, machine, acknowledged, source)
            if source.random() < 0.4:
                machine.save_state(copy)
                position = machine.entropy.position
        world.trace.say("restored", f"to {position} of {machine.entropy.position}")
        machine.load_state(copy)
        machine.entropy.position = position
    await _life(world, machine, acknowledged, source)


async def _life(world: World, machine: Machine, acknowledged: Acknowledged,
                source: random.Random) -> None:
    writer = Writer(machine, acknowledged, source, world.trace)
    machine.reboot()

    async def body(opening: Opening) -> None:
        for _ in range(source.choice((1, 3, 6))):
            await writer.write_one(opening)
            await trio.sleep(source.choice((0.0, 0.5, 2.0)))
        if source.random() < 0.4:
            await opening.volume.close()

    await machine.live(body)
    machine.power.cut()
    machine.stop_lanes()
    if source.random() < 0.5:
        for disk in world.disks.values():
            disk.cut_power(torn=source.random() < 0.5)


async def cloned(world: World, contest: Contest, acknowledged: Acknowledged) -> None:
    """A machine is restored, memory and all, to where it was while it had the pool mounted.

    Two machines that are the same in every byte run beside each other, on disks that are copies of
    each other; then one goes on, and the other is led to its disks.
    """
    source = source_of("cloned", contest.seed)
    copies = {path: disk.copy() for path, disk in world.disks.items()}
    first = world.new_machine("two", folder="two")
    clone = world.new_machine("two", copies, folder="two again")
    steps, more = source.choice((1, 3, 6)), source.choice((1, 2, 5))
    at_snapshot, gone_on = trio.Event(), trio.Event()
    survives = source.random() < 0.5

    async def live_first(opening: Opening) -> None:
        await _same_steps(opening, steps)
        at_snapshot.set()
        if source.random() < 0.3:
            await opening.volume.checkpoint()
        writer = Writer(first, acknowledged, source, world.trace)
        for _ in range(more):
            await writer.write_one(opening)
        gone_on.set()
        if survives:
            await _go_on(world, opening, writer, 4)

    async def live_clone(opening: Opening) -> None:
        await _same_steps(opening, steps)
        await gone_on.wait()
        if not survives:
            first.power.cut()
        clone.move_to(world.disks)
        writer = Writer(clone, acknowledged, source, world.trace, prefix=b"clone")
        await _go_on(world, opening, writer, 4)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.live, live_first)
        nursery.start_soon(clone.live, live_clone)
        await at_snapshot.wait()
        alike = _alike(world.disks, copies)
        world.trace.say("cloned" if alike else "clones differ", f"after {steps} steps")
        if not alike:
            nursery.cancel_scope.cancel()
    for machine in (first, clone):
        machine.power.cut()
        machine.stop_lanes()


async def _same_steps(opening: Opening, count: int) -> None:
    """What both of two clones do; timed so that no two of their tasks draw random bytes at once."""
    for number in range(count):
        await trio.sleep(STEP_S)
        await opening.shell.write(b"both%d" % number, b"both" * 500 * (number + 1))
        await opening.shell.fsync(b"both%d" % number)
    await trio.sleep(STEP_S)


async def _go_on(world: World, opening: Opening, writer: Writer, count: int) -> None:
    for _ in range(count):
        try:
            await writer.write_one(opening)
        except EcfsError as error:
            if isinstance(error, Bug):
                raise
            world.trace.say(f"refusal {type(error).__name__}", str(error))
        await trio.sleep(STEP_S)


def _alike(disks: dict[str, Disk], copies: dict[str, Disk]) -> bool:
    return all({name: disk.content(name) for name in disk.files()}
               == {name: copies[path].content(name) for name in copies[path].files()}
               for path, disk in disks.items())


SETBACKS = {"restored": restored, "cloned": cloned}
