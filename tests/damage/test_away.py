"""Writing goes on without one target and without two; what they missed is caught up."""

import os
import random
import shutil
from pathlib import Path

import pytest

from ecfs.repair import scrub
from ecfs.testing.pools import Opening, copy_tree
from tests.damage.lab import Lab, caught_up, scrub_twice, states_of

AWAY = [(0,), (4,), (1, 3), (0, 5), (2, 4)]


class Written:
    """What was written while targets were away."""

    def __init__(self) -> None:
        self.files: dict[bytes, bytes] = {}

    async def write(self, opening: Opening, seed: int) -> None:
        """Some new files of all sizes, and parts of old ones; durable."""
        source = random.Random(seed)
        for number, length in enumerate((10, 5_000, 200_000, 500_000)):
            path = b"away%d-%d" % (seed, number)
            self.files[path] = source.randbytes(length)
            await opening.shell.write(path, self.files[path])
            await opening.shell.fsync(path)
        await opening.volume.fsync(None)

    async def check(self, opening: Opening) -> None:
        """All of it is there."""
        for path, data in self.files.items():
            assert await opening.shell.read(path) == data


def put_away(lab: Lab, target: int) -> Path:
    """A target is taken out, with what it has. Who holds the directory open has nothing left."""
    aside = lab.base / f"aside{target}"
    copy_tree(lab.path(target), aside)
    shutil.rmtree(lab.path(target))
    return aside


async def lose_others(lab: Lab, away: tuple[int, ...], written: Written) -> None:
    """Everything reads without two other targets: nothing is lacking on those that were away."""
    others = [target for target in range(6) if target not in away]
    for lost in (others[:2], others[-2:]):
        aside = [put_away(lab, target) for target in lost]
        async with lab.open() as opening:
            await lab.check_contents_of(opening)
            await written.check(opening)
        for target, path in zip(lost, aside, strict=True):
            shutil.rmtree(lab.path(target), ignore_errors=True)
            shutil.move(path, lab.path(target))


@pytest.mark.parametrize("away", AWAY)
async def test_caught_up_at_the_next_open(lab: Lab, away: tuple[int, ...]) -> None:
    written = Written()
    aside = {target: put_away(lab, target) for target in away}
    async with lab.open() as opening:
        await written.write(opening, 1)
        assert opening.volume.status().state == "degraded"
        newest = max(opening.volume.files.index.segments.values(), key=lambda entry: entry.id)
        assert (newest.data, newest.parity) == (4 - len(away), 2)
        await lab.check_contents_of(opening)
        await written.check(opening)
    async with lab.open() as opening:
        await written.write(opening, 2)
        await written.check(opening)
    for target, path in aside.items():
        shutil.move(path, lab.path(target))
    async with lab.open() as opening:
        assert set(states_of(opening)) == {"online"}
        assert opening.volume.status().state == "degraded"
        await caught_up(opening)
        assert opening.volume.status().state == "healthy"
        await scrub_twice(opening)
        await written.write(opening, 3)
    await lose_others(lab, away, written)


@pytest.mark.parametrize("away", AWAY)
async def test_gone_and_back_while_open(lab: Lab, away: tuple[int, ...]) -> None:
    """A disk is pulled under the mount and put back."""
    written = Written()
    async with lab.open() as opening:
        await written.write(opening, 1)
        aside = {target: put_away(lab, target) for target in away}
        await written.write(opening, 2)
        await lab.check_contents_of(opening)
        await written.check(opening)
        states = states_of(opening)
        assert {number for number, state in enumerate(states) if state == "away"} == set(away)
        assert opening.volume.status().state == "degraded"
        await written.write(opening, 3)
        for target, path in aside.items():
            shutil.move(path, lab.path(target))
        await caught_up(opening)
        await written.write(opening, 4)
        await scrub_twice(opening)
        await written.check(opening)
    async with lab.open() as opening:
        await caught_up(opening)
        report = await scrub(opening.volume)
        assert report.bad_count == 0
    await lose_others(lab, away, written)


async def test_three_pulled_while_open(lab: Lab) -> None:
    """Below the quorum: nothing is acknowledged, until they return; then all of it is written."""
    async with lab.open() as opening:
        await opening.shell.write(b"before", b"x" * 100_000)
        await opening.shell.fsync(b"before")
        aside = {target: put_away(lab, target) for target in (0, 2, 4)}
        await opening.shell.write(b"meanwhile", b"y" * 100_000)
        with pytest.raises(Exception) as caught:
            await opening.shell.fsync(b"meanwhile")
        assert caught.type.__module__ == "ecfs.base.errors"
        assert await opening.shell.read(b"meanwhile") == b"y" * 100_000
        for target, path in aside.items():
            shutil.move(path, lab.path(target))
        await caught_up(opening)
        await opening.shell.fsync(b"meanwhile")
        assert not opening.volume.read_only
        await opening.shell.write(b"after", b"z" * 100_000)
    async with lab.open() as opening:
        for name, data in ((b"before", b"x"), (b"meanwhile", b"y"), (b"after", b"z")):
            assert await opening.shell.read(name) == data * 100_000
        await lab.check_contents_of(opening)
        await caught_up(opening)
        await scrub_twice(opening)


async def test_a_blank_directory_in_the_place_of_a_pulled_disk(lab: Lab) -> None:
    """It is left alone: nothing is written to it."""
    written = Written()
    async with lab.open() as opening:
        aside = put_away(lab, 3)
        lab.path(3).mkdir()
        await written.write(opening, 1)
        await opening.volume.tend()
        assert os.listdir(lab.path(3)) == []
        assert states_of(opening)[3] == "away"
        lab.path(3).rmdir()
        shutil.move(aside, lab.path(3))
        await caught_up(opening)
        await written.check(opening)
        await scrub_twice(opening)


async def test_taking_turns(lab: Lab) -> None:
    """Each target is away once while something is written."""
    written = Written()
    for target in range(6):
        aside = put_away(lab, target)
        async with lab.open() as opening:
            await written.write(opening, target)
            await written.check(opening)
        shutil.move(aside, lab.path(target))
        async with lab.open() as opening:
            await caught_up(opening)
    async with lab.open() as opening:
        await scrub_twice(opening)
        await lab.check_contents_of(opening)
        await written.check(opening)
    await lose_others(lab, (0, 1), written)
