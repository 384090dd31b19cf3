"""Extents that several files show: none goes before the last, and damage concerns all."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from ecfs.base.errors import Fault
from ecfs.base.ids import InodeId
from tests.unit.content.simulated import FilesWorld, files_world

SOURCE, TARGET, THIRD = InodeId(5), InodeId(6), InodeId(7)
LENGTH = 3_000_000


def in_a_world(scenario: Callable[[FilesWorld], Awaitable[None]]) -> None:
    async def run() -> None:
        async with files_world() as world:
            data = bytes(range(256)) * (LENGTH // 256)
            await world.files.write(SOURCE, 0, data)
            await world.files.flush(None)
            await scenario(world)
            world.check_accounting()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def stored_len(world: FilesWorld) -> int:
    return int(world.database.value("SELECT sum(len) FROM extents") or 0)


def test_a_copy_takes_no_room_and_outlives_its_source() -> None:
    async def scenario(world: FilesWorld) -> None:
        before_len = stored_len(world)
        for target in (TARGET, THIRD):
            assert await world.files.copy(SOURCE, 0, target, 0, LENGTH) == LENGTH // 256 * 256
        assert stored_len(world) == before_len
        whole = bytes(await world.files.read(SOURCE, 0, LENGTH))
        world.files.discard([SOURCE])
        await world.files.truncate(THIRD, 1_000_000)
        world.check_accounting()
        assert await world.files.read(TARGET, 0, LENGTH) == whole
        assert await world.files.read(THIRD, 0, LENGTH) == whole[:1_000_000]
        world.files.discard([TARGET])
        world.files.discard([THIRD])
        assert stored_len(world) == 0

    in_a_world(scenario)


def test_what_is_shared_counts_once_for_reclaiming() -> None:
    async def scenario(world: FilesWorld) -> None:
        tables = world.files.tables
        before = tables.live_by_segment()
        for number in range(40):
            await world.files.copy(SOURCE, 0, InodeId(100 + number), 0, LENGTH)
        assert tables.live_by_segment() == before

    in_a_world(scenario)


def test_compaction_moves_what_is_shared() -> None:
    async def scenario(world: FilesWorld) -> None:
        whole = bytes(await world.files.read(SOURCE, 0, LENGTH))
        await world.files.copy(SOURCE, 0, TARGET, 100, LENGTH)
        world.world.store.close_segments()
        for segment in list(world.files.index.segments):
            await world.files.compact(segment)
        await world.remount()
        assert await world.files.read(SOURCE, 0, LENGTH) == whole
        assert await world.files.read(TARGET, 100, LENGTH) == whole

    in_a_world(scenario)


def test_damage_concerns_every_file_that_shows_it() -> None:
    async def scenario(world: FilesWorld) -> None:
        await world.files.copy(SOURCE, 0, TARGET, 0, LENGTH)
        await world.remount()
        for index in (0, 1):
            world.world.fail_one(index, Fault.IO, "read")
        stripes = [row[0] for row in world.database.rows("SELECT id FROM stripes")]
        for stripe in stripes:
            assert await world.files.rescue(stripe, move=False) == {SOURCE, TARGET}

    in_a_world(scenario)


@pytest.mark.parametrize("length", [1, 4096, LENGTH])
def test_what_is_dirty_is_copied_too(length: int) -> None:
    async def scenario(world: FilesWorld) -> None:
        await world.files.write(SOURCE, 0, b"fresh")
        copied_len = await world.files.copy(SOURCE, 0, TARGET, 7, length)
        assert 0 < copied_len <= length
        expected = bytes(7) + bytes(await world.files.read(SOURCE, 0, copied_len))
        assert await world.files.read(TARGET, 0, LENGTH) == expected

    in_a_world(scenario)
