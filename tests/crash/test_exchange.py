"""The power goes while a target is replaced: at every call, with the old target there and without.
"""

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import EcfsError, Fault
from ecfs.erasure import Geometry
from ecfs.repair import replace_target, scrub
from ecfs.targets import FaultyTarget, Outcome, Target
from ecfs.testing.pools import Ground, Opening
from ecfs.volume import OpenOptions
from tests.crash.world import MemoryDisks, Power, memory_ground

STEP = int(os.environ.get("ECFS_CRASH_STEP", "9"))
FILES = {b"one": b"1" * 200_000, b"two": b"2" * 3_000, b"three": b"3" * 50_000}


class Exchange:
    """A pool on three targets whose second is to be replaced."""

    def __init__(self, base: Path, *, is_old_there: bool) -> None:
        self._base = base
        self.is_old_there = is_old_there
        self._origin = MemoryDisks()
        self.disks = self._origin
        self.ground = self._ground()
        self.new_path = str(base / "pool" / "new")

    def _ground(self) -> Ground:
        return memory_ground(self._base / "pool", self.disks, geometry=Geometry(2, 1),
                             targets_count=3)

    async def build(self) -> None:
        """Before the exchange."""
        await self.ground.create()
        async with self.ground.open() as opening:
            for path, data in FILES.items():
                await opening.shell.write(path, data)
                await opening.shell.fsync(path)
        self.ground.save(self._base / "saved")

    async def cut(self, power: Power) -> None:
        """From the beginning until the power goes, or to the end."""
        self.ground.load(self._base / "saved")
        self.disks = self._origin.copy()
        self.ground = self._ground()
        if not self.is_old_there:
            self.disks.targets.pop(self.ground.paths[1])
        try:
            with power.scope:
                async with self.ground.open_and_crash() as opening:
                    self.disks.power = power
                    await opening.shell.write(b"late", b"l" * 5_000)
                    await replace_target(opening.volume, self.ground.paths[1], self.new_path)
                    await opening.volume.close()
        except* EcfsError:
            if not power.is_out:
                raise

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Opening]:
        """With all paths that anybody could name."""
        async with self.ground.open(paths=(*self.ground.paths, self.new_path)) as opening:
            found = await opening.shell.contents()
            assert {path: found[path] for path in FILES} == FILES
            assert not opening.volume.read_only
            yield opening


@pytest.mark.parametrize("is_old_there", [False, True])
async def test_cut_at_every_call(tmp_path: Path, is_old_there: bool) -> None:
    exchange = Exchange(tmp_path, is_old_there=is_old_there)
    await exchange.build()
    power = Power()
    await exchange.cut(power)
    finished = 0
    for cut_at in range(0, power.calls_count, STEP):
        await exchange.cut(Power(cut_at))
        source = random.Random(cut_at)

        def keep(change: int, source: random.Random = source) -> bool:
            return source.random() < 0.5

        exchange.disks.crash(keep if cut_at % 3 else None)
        try:
            if is_old_there:
                await reads_without(exchange, exchange.ground.paths[2 * (cut_at % 2)])
            finished += await settled(exchange)
        except BaseException as error:
            error.add_note(f"the power went at call {cut_at} of {power.calls_count}")
            raise
    assert finished


async def reads_without(exchange: Exchange, lost: str) -> None:
    """All is there while one of the others is away: the old target is a source from the moment its
    columns are the new one's, whatever was cut short after that."""
    target = exchange.disks.targets.pop(lost)
    async with exchange.ground.open(OpenOptions(read_only=True),
                                    (*exchange.ground.paths, exchange.new_path)) as opening:
        found = await opening.shell.contents()
        assert {path: found[path] for path in FILES} == FILES
    exchange.disks.targets[lost] = target


async def settled(exchange: Exchange) -> bool:
    """The pool opens; the exchange goes on by itself, or can be made anew. Whether it went on."""
    async with exchange.opened() as opening:
        paths = {member.path for member in opening.volume.fleet}
        went_on = exchange.new_path in paths
        assert len(paths) == 3
        if not went_on:
            with trio.fail_after(600):
                # Before the others are whole the old one, where it is there, cannot be spared.
                while exchange.is_old_there and any(
                        member.behind for member in opening.volume.fleet):
                    await trio.sleep(1)
            again = exchange.new_path + "2"
            report = await replace_target(opening.volume, exchange.ground.paths[1], again)
            assert report.complete
        with trio.fail_after(600):
            while opening.volume.status().state != "healthy":
                await trio.sleep(1)
        assert (await scrub(opening.volume)).unreadable_count == 0
        kept = [member.path for member in opening.volume.fleet]
    exchange.disks.targets.pop(kept[0])
    async with exchange.opened():
        pass
    return went_on


async def test_a_target_that_does_not_take_all_records_becomes_no_member(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, is_old_there=True)
    await exchange.build()
    opener = exchange.ground.open_target

    def picky(path: str) -> Target:
        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            return Fault.FULL if name.startswith("commits") and method == "write" else None

        return FaultyTarget(opener(path), plan) if path == exchange.new_path else opener(path)

    exchange.ground.open_target = picky
    async with exchange.ground.open() as opening:
        members = opening.volume.labeller.label.members
        with pytest.raises(EcfsError, match="does not take the commit records"):
            await replace_target(opening.volume, exchange.ground.paths[1], exchange.new_path)
        assert opening.volume.labeller.label.members == members
        await opening.shell.write(b"later", b"l" * 900)
        await opening.shell.fsync(b"later")
    exchange.ground.open_target = opener
    async with exchange.opened() as opening:
        assert await opening.shell.read(b"later") == b"l" * 900
