"""Time never orders or permits anything (threat 49)."""

from pathlib import Path

import pytest
import trio

from ecfs.base.errors import InUse
from ecfs.base.limits import TAKEOVER_QUIET_S
from ecfs.base.units import KIB, NS_PER_S
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume import Host
from tests.crash.world import MemoryDisks, TrioClock, memory_ground

DAY_NS = 86_400 * NS_PER_S


class Backwards(TrioClock):
    """Each look at the wall clock shows a day earlier; the other one goes on."""

    def __init__(self) -> None:
        self.looks = 0

    def wall_ns(self) -> int:
        self.looks += 1
        return 20_000 * DAY_NS - self.looks * DAY_NS


@pytest.fixture
async def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryDisks:
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = MemoryDisks()
    await ground_of(tmp_path, made).create()
    return made


def ground_of(base: Path, disks: MemoryDisks, host: str = "here") -> Ground:
    ground = memory_ground(base / "pool", disks, clock=Backwards(), host=Host(host, "boot", 1))
    ground.state_dir, ground.run_dir = base / host / "state", base / host / "run"
    return ground


async def test_the_newest_bytes_win_though_they_look_oldest(disks: MemoryDisks,
                                                            tmp_path: Path) -> None:
    """Over flushes, commits, checkpoints, a crash, and another mount."""
    ground = ground_of(tmp_path, disks)
    for number in range(4):
        async with ground.open_and_crash() as opening:
            for turn in range(3):
                data = b"%d-%d" % (number, turn) * 9000
                await opening.shell.write(b"file", data)
                await opening.volume.fsync(None)
                assert await opening.shell.read(b"file") == data
            await opening.volume.checkpoint()
        disks.crash()
        async with ground.open_and_crash() as opening:
            assert await opening.shell.read(b"file") == data
            assert opening.volume.opened.freshness.value == "proven"
        disks.crash()


async def test_a_holder_is_not_dead_because_its_clock_says_so(disks: MemoryDisks,
                                                              tmp_path: Path) -> None:
    """Only silence on our own, steady clock counts."""
    ground = ground_of(tmp_path, disks)
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"here")
        await opening.volume.fsync(None)
        began = trio.current_time()
        with pytest.raises(InUse):
            async with ground_of(tmp_path, disks, "there").open():
                raise AssertionError("two writers")
        assert trio.current_time() - began < TAKEOVER_QUIET_S
        await opening.shell.write(b"file", b"still")
        await opening.volume.fsync(None)
    async with ground.open_and_crash():
        pass
    disks.crash()
    began = trio.current_time()
    async with ground_of(tmp_path, disks, "there").open() as opening:
        assert trio.current_time() - began >= TAKEOVER_QUIET_S
        assert await opening.shell.read(b"file") == b"still"
