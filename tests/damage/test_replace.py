"""A lost target is rebuilt: with work going on, and after it was cut short."""

import random
import shutil
from contextlib import suppress

import pytest
import trio

from ecfs.base.errors import EcfsError, Fault, PoolExists, Refusal, SameTarget, UsageRefusal
from ecfs.repair import Progress, replace_target
from ecfs.targets import Outcome
from ecfs.testing.pools import Opening, live_columns
from tests.damage.lab import Lab, caught_up, scrub_twice, states_of

ALL = {0, 1, 2, 3, 4, 5}


async def keep_writing(opening: Opening, written: dict[bytes, bytes],
                       stop: trio.Event) -> None:
    """New files and reads, until told to stop."""
    source = random.Random(7)
    number = 0
    while not stop.is_set():
        path = b"during%d" % number
        data = source.randbytes(source.choice((3_000, 90_000)))
        await opening.shell.write(path, data)
        await opening.shell.fsync(path)
        written[path] = data
        chosen = source.choice(sorted(written))
        assert await opening.shell.read(chosen) == written[chosen]
        number += 1
        await trio.sleep(0.2)


async def test_replaced_while_in_use(lab: Lab) -> None:
    shutil.rmtree(lab.path(2))
    written: dict[bytes, bytes] = {}
    new = str(lab.base / "pool" / "new")
    async with lab.open() as opening:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_writing, opening, written, stop)
            await trio.sleep(1)
            report = await replace_target(opening.volume, str(lab.path(2)), new)
            await lab.check_contents_of(opening)
            stop.set()
        assert report.complete and written
        await scrub_twice(opening)
        await caught_up(opening)
        assert opening.volume.status().state == "healthy"
    paths = tuple(new if number == 2 else path for number, path in enumerate(lab.ground.paths))
    for lost in ((0, 1), (4, 5)):
        kept = tuple(path for number, path in enumerate(paths) if number not in lost)
        hidden = [(lab.path(target), lab.base / f"hidden{target}") for target in lost]
        for path, aside in hidden:
            path.rename(aside)
        async with lab.ground.open(paths=kept) as opening:
            await lab.check_contents_of(opening)
            for name, data in written.items():
                assert await opening.shell.read(name) == data
        for path, aside in hidden:
            aside.rename(path)


async def test_a_target_that_is_there_can_be_replaced(lab: Lab) -> None:
    new = str(lab.base / "pool" / "new")
    async with lab.open() as opening:
        report = await replace_target(opening.volume, str(lab.path(4)), new)
        assert report.complete
        await lab.check_contents(opening)
        await scrub_twice(opening)
    async with lab.open() as opening:
        # The old one is no longer part of the pool, though its path was given.
        assert states_of(opening) == ["online"] * 6
        assert opening.volume.status().targets[4].path == new
        await lab.check_contents(opening)


@pytest.mark.parametrize("calls", [0, 1, 3, 6])
@pytest.mark.parametrize("crash", [False, True])
async def test_cut_short_by_cancelling(lab: Lab, calls: int, crash: bool) -> None:
    """In the middle of the filling; the next mount goes on and finishes."""
    lab.make_blank(2)
    path = str(lab.path(2))
    opener = lab.ground.open_and_crash if crash else lab.ground.open
    async with opener() as opening:
        with trio.CancelScope() as scope:
            count = 0

            def note(progress: Progress) -> None:
                nonlocal count
                count += 1
                if count > calls:
                    scope.cancel()

            await replace_target(opening.volume, path, path, progress=note)
        await opening.shell.write(b"after", b"z" * 50_000)
        await opening.shell.fsync(b"after")
    await finished(lab)


@pytest.mark.parametrize("step", range(2, 50, 3))
async def test_killed_in_the_middle(lab: Lab, step: int) -> None:
    """At any call of the new target: the pool opens, and goes on or takes a second try."""
    lab.make_blank(2)
    path = str(lab.path(2))
    kill = trio.CancelScope()
    hit = trio.Event()

    def plan(number: int, method: str, name: str, offset: int) -> Outcome:
        if number >= step:
            hit.set()
            kill.cancel()
            return Fault.IO
        return None

    async with lab.ground.open_and_crash() as opening:
        lab.plan_for(2, plan)
        with kill, suppress(Refusal):
            await replace_target(opening.volume, path, path)
        assert hit.is_set()
    lab.end_of_faults()
    async with lab.open() as opening:
        await lab.check_contents(opening)
        if "online" not in states_of(opening)[2:3]:
            report = await replace_target(opening.volume, path, path)
            assert report.complete
    await finished(lab)


async def finished(lab: Lab) -> None:
    """The rebuild goes on by itself and ends."""
    async with lab.open() as opening:
        await lab.check_contents_of(opening)
        with trio.fail_after(600):
            while opening.volume.status().state != "healthy":
                await trio.sleep(1)
        await scrub_twice(opening)
        live = live_columns(opening.volume)
        assert live
    lab.check_columns(opening, ALL)


async def test_a_target_that_was_part_of_the_pool_is_no_leftover(lab: Lab) -> None:
    """It has columns, and nobody knows whether somebody wants them."""
    old = str(lab.path(4))
    async with lab.open() as opening:
        await replace_target(opening.volume, old, str(lab.base / "pool" / "new"))
        with pytest.raises(PoolExists):
            await replace_target(opening.volume, str(lab.path(1)), old)
        assert set(states_of(opening)) == {"online"}


async def test_refusals(lab: Lab) -> None:
    async with lab.open() as opening:
        volume = opening.volume
        for old, new, kind in (
            ("nobody", str(lab.base / "new"), UsageRefusal),
            (str(lab.path(1)), str(lab.path(2)), SameTarget),
            (str(lab.path(1)), str(lab.path(1)), (SameTarget, PoolExists)),
            (str(lab.path(1)), str(lab.base / "no" / "where"), Refusal),
            (str(lab.path(1)), str(lab.base), Refusal),
        ):
            with pytest.raises(kind):
                await replace_target(volume, old, new)
        assert set(states_of(opening)) == {"online"}
        with pytest.raises(EcfsError):
            await replace_target(volume, "", str(lab.base / "new"))
        await lab.check_contents(opening)
        await scrub_twice(opening)
    lab.check_columns(opening, ALL)
