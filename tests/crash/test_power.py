"""The power goes at a call of a target: all that was not synced is lost, on all targets at once.

ECFS_CRASH_STEP: every how many-th call it goes at (1: at every one).
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ecfs.base.errors import EcfsError
from ecfs.erasure import Geometry
from ecfs.testing.oracle import Oracle
from ecfs.testing.pools import Ground
from ecfs.testing.trees import Kind, Seen, snapshot_of
from tests.crash.workload import Workload
from tests.crash.world import MemoryDisks, Power, memory_ground

STEP = int(os.environ.get("ECFS_CRASH_STEP", "4"))
PARTS_COUNT = 4
SMALL, USUAL = (Geometry(2, 1), 3), (Geometry(4, 2), 6)


class Site:
    """A pool that can be put back to its beginning, with what is known to be in it."""

    def __init__(self, base: Path, geometry: Geometry, targets_count: int) -> None:
        self._base = base
        self._geometry = geometry
        self._targets_count = targets_count
        self._origin = MemoryDisks()
        self._saved = base / "saved"
        self.disks = self._origin
        self.ground = self._ground()
        self._contents: dict[bytes, Seen] = {}
        self.oracle = Oracle()

    def _ground(self) -> Ground:
        return memory_ground(self._base / "pool", self.disks, geometry=self._geometry,
                             targets_count=self._targets_count)

    async def build(self) -> None:
        """The pool as it is before the workload."""
        await self.ground.create()
        async with self.ground.open() as opening:
            await Workload(opening, Oracle()).prepare()
        async with self.ground.open() as opening:
            self._contents = await snapshot_of(opening.shell)
        self.ground.save(self._saved)

    def reset(self, power: Power) -> None:
        """The beginning."""
        self.ground.load(self._saved)
        self.disks = self._origin.copy()
        self.disks.power = power
        self.ground = self._ground()
        self.oracle = Oracle(self._contents)

    async def live(self, power: Power, salt: object = 0) -> None:
        """Mount, run the workload, unmount; if the power goes, that is the end of it."""
        self.disks.power = power
        try:
            with power.scope:
                async with self.ground.open_and_crash() as opening:
                    await Workload(opening, self.oracle, salt).run()
                    await opening.volume.close()
        except* EcfsError:
            if not power.is_out:
                raise

    async def recovered(self) -> None:
        """Mount again: the tree is one that may be, and it is whole; then it goes on."""
        async with self.ground.open() as opening:
            found = await snapshot_of(opening.shell)
            self.oracle.check(found)
            assert not opening.volume.read_only
            assert opening.volume.database.integrity_findings() == []
            self.oracle.settle(found)
            await opening.shell.write(b"afterwards", b"a" * 12_345)
            await opening.shell.fsync(b"afterwards")
            self.oracle.settle(found | {
                b"afterwards": Seen(Kind.FILE, -1, b"a" * 12_345)})

    async def proven(self) -> None:
        """After all that, nothing is wrong and nothing has changed."""
        report = await self.ground.fsck()
        assert report.clean, report.findings
        async with self.ground.open() as opening:
            self.oracle.check(await snapshot_of(opening.shell))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[Geometry, int]], Site]:
    """Sites by geometry."""
    return lambda size: Site(tmp_path_factory.mktemp("crash"), *size)


async def calls_of(site: Site) -> int:
    """How many calls the whole workload makes."""
    power = Power()
    site.reset(power)
    await site.live(power)
    await site.proven()
    return power.calls_count


def keeping(number: int) -> tuple[Callable[[int], bool] | None, int | None]:
    """Which unsynced changes reach the medium: none, all, some, or some and one of them torn."""
    source = random.Random(number)
    kind = number % 4
    if kind == 0:
        return None, None
    if kind == 1:
        return (lambda change: True), None
    return (lambda change: source.random() < 0.5), (
        source.choice([1, 511, 4096, 5000]) if kind == 3 else None)


@pytest.mark.parametrize("part", range(PARTS_COUNT))
@pytest.mark.parametrize("size", [SMALL, USUAL], ids=["2+1", "4+2"])
async def test_at_every_call(sites: Callable[[tuple[Geometry, int]], Site],
                             size: tuple[Geometry, int], part: int) -> None:
    site = sites(size)
    await site.build()
    total = await calls_of(site)
    step = STEP if size is SMALL else 5 * STEP
    for cut_at in range(part * step, total, PARTS_COUNT * step):
        power = Power(cut_at)
        site.reset(power)
        await site.live(power, salt=cut_at)
        keep, torn_len = keeping(cut_at // step)
        site.disks.crash(keep, torn_len=torn_len)
        try:
            await site.recovered()
            await site.proven()
        except BaseException as error:
            error.add_note(f"the power went at call {cut_at} of {total}")
            raise


async def test_in_the_recovery(sites: Callable[[tuple[Geometry, int]], Site]) -> None:
    """And again while it recovers, and again while it recovers from that."""
    site = sites(SMALL)
    await site.build()
    total = await calls_of(site)
    for cut_at in range(0, total, max(1, total // 24)):
        source = random.Random(cut_at)
        power = Power(cut_at)
        site.reset(power)
        await site.live(power)
        for _ in range(3):
            site.disks.crash(*keeping_parts(source))
            power = Power(source.randrange(0, 150))
            site.disks.power = power
            try:
                with power.scope:
                    async with site.ground.open_and_crash() as opening:
                        await opening.volume.checkpoint()
                        await opening.volume.close()
            except* EcfsError:
                assert power.is_out
        site.disks.crash()
        try:
            await site.recovered()
            await site.proven()
        except BaseException as error:
            error.add_note(f"the power went at call {cut_at} of {total} first")
            raise


def keeping_parts(source: random.Random) -> tuple[Callable[[int], bool] | None]:
    """Some unsynced changes reach the medium."""
    return ((lambda change: source.random() < 0.5) if source.random() < 0.5 else None,)
