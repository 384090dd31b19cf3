"""What enters the database, and when: only what is durable, in the order in which it was written.
"""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from ecfs.base.errors import AppendRefused, EcfsError, Fault, NoSpace
from ecfs.base.ids import InodeId
from ecfs.base.limits import STRIPE_CONTENT_LEN_MAX
from ecfs.content.blocks import ExtentReader
from ecfs.erasure import Geometry
from ecfs.stripes import Read, StripeRef, UnitRun
from ecfs.targets import Outcome
from tests.unit.content.simulated import FilesWorld, files_world

A, B = InodeId(10), InodeId(11)


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


def rows_of(world: FilesWorld, inode: InodeId) -> int:
    """How many bytes of a file the database knows."""
    return world.files.tables.mapped_len(inode)


async def content(world: FilesWorld, inode: InodeId) -> bytes:
    return bytes(await world.files.read(inode, 0, 1 << 30))


async def test_no_rows_of_a_stripe_whose_sync_failed(clock: MockClock) -> None:
    """Rows that name bytes which a crash takes would be acknowledged with the next commit."""
    async with files_world() as world:
        await world.files.write(A, 0, b"x" * 50_000)
        world.world.fail_all(Fault.IO, "sync")
        with pytest.raises(EcfsError):
            await world.files.flush(A)
        assert rows_of(world, A) == 0 and world.inodes.size_of(A) == 0
        world.world.heal()
        await world.files.flush(A)
        assert rows_of(world, A) == world.inodes.size_of(A) == 50_000
        for memory in world.world.memories:
            memory.crash()
        assert await content(world, A) == b"x" * 50_000


def after(count: int, fault: Fault) -> Callable[[str, str, int], Outcome]:
    """The first so many writes of columns pass, later ones fail."""
    seen = [0]

    def plan(method: str, name: str, offset: int) -> Outcome:
        seen[0] += method == "write"
        return fault if method == "write" and seen[0] > count else None

    return plan


async def fill_up(data: bytes, passing: int) -> int:
    """Write a file while the disks fill up after some stripes; what the database knew of it then.
    """
    async with files_world() as world:
        await world.files.write(A, 0, data)
        for index in range(3):
            world.world.fail[index] = after(passing, Fault.FULL)
        with pytest.raises(EcfsError):
            await world.files.flush(A)
        known = world.inodes.size_of(A)
        assert known == rows_of(world, A) < len(data) == world.files.size(A)
        world.world.heal()
        await world.files.flush(A)
        assert world.inodes.size_of(A) == rows_of(world, A) == len(data)
        await world.remount()
        assert await content(world, A) == data
        world.check_accounting()
    return known


async def test_a_size_never_runs_ahead_of_its_bytes(clock: MockClock) -> None:
    """The disks fill up in the middle: what the database shows of the file is a beginning of it,
    not a longer file with a hole at its end. Which stripe goes first is chance."""
    data = b"".join(bytes([number]) * STRIPE_CONTENT_LEN_MAX for number in range(1, 5))
    known = [await fill_up(data, 3) for _ in range(8)]
    assert any(known)


async def test_who_missed_a_stripe_is_a_row(clock: MockClock) -> None:
    """What a returning target lacks is known after a remount too."""
    async with files_world(Geometry(2, 2), 4) as world:
        await world.files.write(A, 0, b"first" * 5000)
        await world.files.flush(A)
        world.world.fail_one(1, Fault.IO, "write")
        await world.files.write(A, 0, b"again" * 5000)
        await world.files.flush(A)
        assert world.files.tables.missing_targets() == {world.world.ids[1]}
        assert world.files.tables.missed_len(world.world.ids[1]) > 0


async def test_who_missed_a_stripe_has_to_catch_up_though_nothing_shows_it(
        clock: MockClock) -> None:
    """Its row is gone before the commit that lengthens the segment; its shards are compared as
    long as that is there, and the one that is missing must accuse nobody."""
    async with files_world(Geometry(2, 2), 4) as world:
        lacking = world.world.ids[1]
        await world.files.write(A, 0, b"first" * 5000)
        await world.files.flush(A)
        assert world.files.tables.behind() == set()
        world.world.fail_one(1, Fault.IO, "write")
        await world.files.write(B, 0, b"again" * 5000)
        await world.files.flush(B)
        await world.files.truncate(B, 0)
        while world.files.reap():
            pass
        assert world.files.tables.missing_targets() == set()
        assert world.files.tables.behind() == {lacking}


async def test_who_missed_a_moved_stripe_is_a_row(clock: MockClock) -> None:
    async with files_world(Geometry(2, 2), 4) as world:
        await world.files.write(A, 0, b"inline" * 100)
        await world.sync(A)
        assert world.files.tables.inline_len() > 0
        await world.files.write(B, 0, b"opens a segment" * 1000)
        await world.files.flush(B)
        world.world.fail_one(2, Fault.IO, "write")
        await world.files.move_inline()
        assert world.files.tables.missing_targets() == {world.world.ids[2]}
        assert await content(world, A) == b"inline" * 100


@pytest.mark.parametrize("method", ["sync", "write"])
async def test_what_could_not_be_moved_stays_where_it_is(clock: MockClock, method: str) -> None:
    async with files_world() as world:
        await world.files.write(A, 0, b"inline" * 100)
        await world.sync(A)
        await world.files.write(B, 0, b"opens a segment" * 1000)
        await world.files.flush(B)
        world.world.fail_all(Fault.IO, method)
        with pytest.raises(AppendRefused):
            await world.files.move_inline()
        assert world.files.tables.inline_len() == 600
        world.world.heal()
        await world.files.move_inline()
        assert world.files.tables.inline_len() == 0
        for memory in world.world.memories:
            memory.crash()
        assert await content(world, A) == b"inline" * 100
        world.check_accounting()


async def test_a_full_disk_is_told_and_nothing_is_lost(clock: MockClock) -> None:
    async with files_world() as world:
        await world.files.write(A, 0, b"x" * 50_000)
        world.world.fail_all(Fault.FULL, "write", "create")
        for _ in range(3):
            with pytest.raises((NoSpace, AppendRefused)):
                await world.files.flush(A)
        assert await content(world, A) == b"x" * 50_000
        world.world.heal()
        await world.files.flush(A)
        await world.remount()
        assert await content(world, A) == b"x" * 50_000


async def test_the_cache_of_extents_keeps_to_its_bound(clock: MockClock) -> None:
    async with files_world() as world:
        reader: ExtentReader = world.files._reader
        reader._cache_len_max = 100_000
        for number in range(8):
            inode = InodeId(100 + number)
            await world.files.write(inode, 0, bytes([number]) * 30_000)
            await world.files.flush(inode)
        for _ in range(2):
            for number in range(8):
                assert await content(world, InodeId(100 + number)) == bytes([number]) * 30_000
                assert sum(map(len, reader._cache.values())) == reader._cache_len <= 100_000
        reader.remember(999_999, bytes(200_000))
        assert 999_999 not in reader._cache


async def test_a_unit_that_was_read_is_not_fetched_again(clock: MockClock) -> None:
    """Reads here and there in a large extent, by their units; what is written over them counts."""
    async with files_world() as world:
        data = bytes(range(256)) * (8 * 4096)
        await world.files.write(A, 0, data)
        await world.files.flush(A)
        fetched = []
        real = world.world.store.read

        async def read(ref: StripeRef, units: list[UnitRun]) -> Read:
            fetched.extend(units)
            return await real(ref, units)

        world.world.store.read = read  # type: ignore[method-assign]
        for at in (700_001, 6_000_000, 700_901, 6_000_100, 690_000):
            assert bytes(await world.files.read(A, at, 50)) == data[at : at + 50]
        assert len(fetched) == len(set(fetched)) == 2
        # The first of two units, whose run begins with the same nonce.
        assert bytes(await world.files.read(A, 704_500, 50)) == data[704_500:704_550]
        assert [run.nonce for run in fetched].count(fetched[0].nonce) == 2
        await world.files.write(A, 700_010, b"!" * 9)
        await world.files.flush(A)
        assert bytes(await world.files.read(A, 700_001, 50)) == (
            data[700_001:700_010] + b"!" * 9 + data[700_019:700_051])


async def test_no_stripe_is_written_while_segments_are_looked_through(clock: MockClock) -> None:
    """Whoever holds the lock of the rounds may give back a segment in which nothing lives: no
    append may be on its way into it."""
    async with files_world() as world:
        await world.files.write(A, 0, b"x" * 50_000)
        async with trio.open_nursery() as nursery, world.files.flusher.round_lock:
            nursery.start_soon(world.files.flush, A)
            await trio.sleep(60)
            assert world.world.store.appended_len == 0 and rows_of(world, A) == 0
        assert rows_of(world, A) == 50_000
