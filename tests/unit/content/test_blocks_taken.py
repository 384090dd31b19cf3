"""st_blocks of files with bytes that are not in the database yet."""

import random

import pytest
from trio.testing import MockClock

from ecfs.base.ids import InodeId
from tests.unit.content.simulated import files_world

A = InodeId(10)
BLOCK = 4096
SIZE = 64 * BLOCK


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_dirty_over_others_is_counted_once(clock: MockClock, seed: int) -> None:
    """Logged, dirty and mapped bytes of a sparse file, over and beside each other."""
    chance = random.Random(seed)
    taken: set[int] = set()
    async with files_world() as world:
        files = world.files
        await files.truncate(A, SIZE)
        for _ in range(60):
            first, count = chance.randrange(50), chance.randrange(1, 6)
            await files.write(A, first * BLOCK, bytes(count * BLOCK))
            taken |= set(range(first, first + count))
            if chance.random() < 0.5:
                await files.flush(A, inline=True)
            if chance.random() < 0.2:
                files.flusher.enter_logged()
            if chance.random() < 0.1:
                await files.flush(A)
            if chance.random() < 0.1:
                await files.truncate(A, 40 * BLOCK)
                await files.truncate(A, SIZE)
                taken = {block for block in taken if block < 40}
            assert files.blocks(A, SIZE) == len(taken) * BLOCK // 512


async def test_a_file_takes_no_more_than_it_is_long(clock: MockClock) -> None:
    async with files_world() as world:
        files = world.files
        await files.write(A, 0, b"." * 1000)
        assert files.blocks(A, 1000) == 2
        await files.flush(A)
        await files.write(A, 10, b"!")
        assert files.blocks(A, 1000) == 2
        for at in range(0, 200 * BLOCK, 2 * BLOCK):
            # In more places than are looked at.
            await files.write(A, at, b"?" * BLOCK)
        assert 100 * 8 <= files.blocks(A, 199 * BLOCK) <= 100 * 8 + 2
        assert files.blocks(A, 0) == 0
