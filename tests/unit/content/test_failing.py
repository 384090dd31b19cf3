"""What happens to written bytes when targets fail, and to readers when rows change under them."""

import errno

import pytest
import trio
from trio.testing import MockClock

from ecfs.base.errors import Damage, EcfsError, Fault, NoSpace
from ecfs.base.ids import InodeId
from ecfs.content import files as files_module
from ecfs.content import flusher as flusher_module
from ecfs.erasure import Geometry
from ecfs.metadata import Hidden
from tests.unit.content.simulated import FilesWorld, files_world

A, B, C = InodeId(10), InodeId(11), InodeId(12)


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def failed_flush(world: FilesWorld, inode: InodeId | None) -> None:
    with pytest.raises(EcfsError):
        await world.files.flush(inode)


async def content(world: FilesWorld, inode: InodeId) -> bytes:
    return bytes(await world.files.read(inode, 0, 1 << 30))


async def reads(world: FilesWorld, expected: set[bytes]) -> None:
    assert await content(world, A) in expected


async def overwritten(world: FilesWorld) -> None:
    await world.files.flush(A)
    await world.files.truncate(A, 8200)
    await world.files.flush(A)


async def test_many_pieces_that_wait_for_a_retry_lie_under_those_that_came_after(
        clock: MockClock) -> None:
    """Old and new pieces of one file go into one stripe, in the order in which they were taken."""
    async with files_world() as world:
        expected = bytearray(b"." * 100_000)
        await world.files.write(A, 0, bytes(expected))
        await world.files.flush(A)

        async def write_all(letter: bytes, offsets: range, length: int) -> None:
            for at in offsets:
                expected[at : at + length] = letter * length
                await world.files.write(A, at, letter * length)

        world.world.fail_all(Fault.IO, "write", "create")
        await write_all(b"o", range(0, 80_000, 5000), 3000)
        await failed_flush(world, A)
        await write_all(b"n", range(1000, 60_000, 4000), 2500)
        await world.files.write(B, 0, b"other")
        world.world.heal()
        await world.files.flush(None)
        assert await content(world, A) == expected
        await world.remount()
        assert await content(world, A) == expected
        assert await content(world, B) == b"other"
        world.check_accounting()


async def test_inline_bytes_do_not_overtake_older_ones_that_wait_for_a_retry(
        clock: MockClock) -> None:
    async with files_world() as world:
        await world.files.write(A, 0, b"old" * 1000)
        world.world.fail_all(Fault.IO, "write", "create")
        await failed_flush(world, A)
        await world.files.write(A, 0, b"new" * 1000)
        try:
            await world.files.flush(A, inline=True)
        except EcfsError:
            pass
        world.world.heal()
        await world.files.flush(None)
        assert await content(world, A) == b"new" * 1000
        await world.remount()
        assert await content(world, A) == b"new" * 1000
        world.check_accounting()


async def test_an_inline_flush_that_fails_reports_it_and_keeps_the_bytes(
        clock: MockClock) -> None:
    """The rows cannot be entered: metadata is damaged for a while."""
    async with files_world() as world:
        await world.files.write(A, 0, b"precious")
        add_inline, fail = world.files.tables.add_inline, True

        def failing(*args: object, **kwargs: object) -> None:
            if fail:
                raise Damage("a page of the metadata is lost")
            add_inline(*args, **kwargs)  # type: ignore[arg-type]

        world.files.tables.add_inline = failing  # type: ignore[method-assign]
        with pytest.raises(Damage):
            await world.sync(A)
        assert await content(world, A) == b"precious"
        fail = False
        await world.sync(A)
        assert world.files.pending(A) is None
        await world.remount()
        assert await content(world, A) == b"precious"


async def test_a_flush_covers_its_file_however_much_others_have_written(
        clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher_module, "UNSYNCED_RAW_LEN_MAX", 100_000)
    monkeypatch.setattr(flusher_module, "START_LEN", 100_000)
    async with files_world() as world:
        for inode in range(100, 104):
            await world.files.write(InodeId(inode), 0, bytes(90_000))
        await world.files.write(C, 0, b"asked for")
        await world.files.flush(C)
        assert world.database.one("SELECT 1 FROM maps WHERE inode=?", (C,)) is not None
        assert world.files.pending(C) is None


async def test_a_read_is_right_when_inline_bytes_move_under_it(clock: MockClock) -> None:
    for seed in range(10):
        async with files_world(slow=True, seed=seed) as world:
            await world.files.write(A, 0, b"a" * 5000)
            await world.files.flush(A)
            await world.files.write(A, 8192, b"b" * 5000)
            await world.sync(A)
            expected = b"a" * 5000 + bytes(3192) + b"b" * 5000
            async with trio.open_nursery() as nursery:
                async def read() -> None:
                    assert await content(world, A) == expected  # noqa: B023

                async def move() -> None:
                    await world.files.move_inline()

                nursery.start_soon(move)
                for _ in range(20):
                    nursery.start_soon(read)
                    await trio.sleep(0.003)
            assert world.damaged == []


async def test_a_read_is_right_when_its_stripe_is_overwritten_and_forgotten(
        clock: MockClock) -> None:
    """The map was taken before; the second extent's row goes while the first is read."""
    for seed in range(10):
        async with files_world(slow=True, seed=seed) as world:
            await world.files.write(A, 0, b"a" * 5000)
            await world.files.flush(A)
            await world.files.write(A, 8192, b"b" * 5000)
            await world.files.flush(A)
            await world.remount()
            await world.files.write(A, 8192, b"c" * 5000)
            gap = b"a" * 5000 + bytes(3192)
            async with trio.open_nursery() as nursery:
                async def read() -> None:
                    got = await world.files.read(A, 0, 8193)
                    assert got == gap + b"c"  # noqa: B023

                async def overwrite() -> None:
                    await world.files.flush(A)
                    await world.files.truncate(A, 8200)
                    await world.files.flush(A)

                nursery.start_soon(overwrite)
                for _ in range(20):
                    nursery.start_soon(read)
                    await trio.sleep(0.003)
            assert world.damaged == []


async def test_a_reader_meets_a_truncation(clock: MockClock) -> None:
    """Two cold extents in two stripes; the second is dropped while the first is being read."""
    for seed in range(10):
        async with files_world(slow=True, seed=seed) as world:
            for at, byte in ((0, b"a"), (8192, b"b")):
                await world.files.write(A, at, byte * 5000)
                await world.files.flush(A)
            await world.remount()
            before = b"a" * 5000 + bytes(3192) + b"b" * 5000
            async with trio.open_nursery() as nursery:
                async def read() -> None:
                    got = await content(world, A)
                    assert got in (before, before[:8192])  # noqa: B023

                for _ in range(3):
                    nursery.start_soon(read)
                await trio.sleep(0.002)
                await world.files.truncate(A, 8192)
            assert world.damaged == []


async def test_full_write_back_gives_writers_the_error_and_keeps_the_bytes(
        clock: MockClock) -> None:
    async with files_world(write_back_len=100_000) as world:
        world.world.fail_all()
        data = bytes(range(256)) * 256
        await world.files.write(A, 0, data)
        await world.files.write(A, 65_536, data)
        with trio.fail_after(60), pytest.raises(EcfsError):
            await world.files.write(B, 0, b"no room")
        assert await content(world, A) == data + data
        world.world.heal()
        with trio.fail_after(60):
            await world.files.write(B, 0, b"room")
            await world.files.flush(None)
        await world.remount()
        assert await content(world, A) == data + data
        assert await content(world, B) == b"room"
        world.check_accounting()


async def test_a_small_write_back_buffer_does_not_make_writers_wait_for_the_timer(
        clock: MockClock) -> None:
    async with files_world(write_back_len=100_000) as world:
        began = trio.current_time()
        for at in range(0, 2_000_000, 50_000):
            await world.files.write(A, at, bytes(50_000))
        assert trio.current_time() - began < 30


async def test_what_could_not_be_written_is_kept_and_told_by_each_flush_until_it_is(
        clock: MockClock) -> None:
    """So fsync(2) needs not to remember who was told: whoever asks hears how things stand."""
    async with files_world() as world:
        await world.files.write(A, 0, b"some bytes")
        world.world.fail_all(Fault.FULL, "write", "create")
        await trio.sleep(8)
        for _ in range(2):
            with pytest.raises(NoSpace) as caught:
                await world.files.flush(A)
            assert caught.value.errno == errno.ENOSPC
        world.world.heal()
        await world.files.flush(A)
        await world.files.flush(A)
        assert world.files.pending(A) is None
        assert await content(world, A) == b"some bytes"


async def test_no_target_at_all_is_not_called_a_lack_of_space(clock: MockClock) -> None:
    async with files_world() as world:
        await world.files.write(A, 0, b"x")
        world.world.fail_all(Fault.IO, "write", "create")
        await failed_flush(world, A)
        with pytest.raises(EcfsError) as caught:
            await world.files.flush(A)
        assert not isinstance(caught.value, NoSpace)


async def test_discarding_a_file_whose_bytes_are_on_their_way(clock: MockClock) -> None:
    for pause in range(12):
        async with files_world(slow=True, seed=pause) as world:
            await world.files.write(A, 0, bytes(300_000))
            await world.files.write(B, 0, b"stays")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.files.flush, None)
                await trio.sleep(pause * 0.004)
                world.files.discard([A])
            await world.files.flush(None)
            world.check_accounting()
            assert world.database.value("SELECT count(*) FROM maps WHERE inode=?", (A,)) == 0
            assert world.files.flusher.dirty_len == 0
            assert await content(world, B) == b"stays"


async def test_truncation_while_bytes_are_on_their_way(clock: MockClock) -> None:
    for pause in range(12):
        async with files_world(slow=True, seed=pause) as world:
            await world.files.write(A, 0, b"x" * 300_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.files.flush, None)
                await trio.sleep(pause * 0.004)
                await world.files.truncate(A, 100)
                await world.files.truncate(A, 1000)
                await world.files.write(A, 500, b"y")
            await world.files.flush(None)
            world.check_accounting()
            expected = b"x" * 100 + bytes(400) + b"y" + bytes(499)
            assert await content(world, A) == expected
            await world.remount()
            assert await content(world, A) == expected


async def test_a_lost_unit_takes_no_other_bytes_with_it(clock: MockClock) -> None:
    """Without parity left, bytes in good shards still read."""
    async with files_world(Geometry(2, 1), 3) as world:
        data = bytes(range(256)) * 800
        await world.files.write(A, 0, data)
        await world.remount()
        [stripe] = world.database.rows("SELECT id FROM stripes")
        ref = world.files.index.ref(stripe[0])
        for column in (1, 2):
            world.world.fail_one(world.world.ids.index(ref.segment.columns[column]), Fault.IO,
                                 "read")
        assert await world.files.read(A, 0, 4096) == data[:4096]
        with pytest.raises(Damage):
            await world.files.read(A, len(data) - 4096, 4096)
        assert world.damaged == [A]


def lose_maps_of(world: FilesWorld, inode: InodeId) -> None:
    """The page of the database that holds a file's map cannot be read."""
    tables = world.files.tables
    whole = tables.unmap_range

    def unmap_range(of: int, low: int, high: int, hidden: list[Hidden] | None = None) -> None:
        if of == inode:
            raise Damage("a page is lost")
        whole(of, low, high, hidden)

    vars(tables)["unmap_range"] = unmap_range


def find_maps_of(world: FilesWorld) -> None:
    """It can be read again."""
    del vars(world.files.tables)["unmap_range"]


@pytest.mark.parametrize("inline", [False, True])
async def test_a_file_whose_map_is_lost_holds_up_no_other(
        clock: MockClock, inline: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Who writes to it or syncs it is told, and the log once; its bytes stay until its map is there
    again."""
    async with files_world() as world:
        files = world.files
        for inode in (A, B, C):
            await files.write(inode, 0, b"old" * 1000)
        await files.flush(None)
        lose_maps_of(world, B)
        for inode in (A, B, C):
            await files.write(inode, 500, b"new" * 1000)
        await world.sync(A, inline=inline)
        with pytest.raises(Damage):
            await world.sync(B, inline=inline)
        with pytest.raises(Damage):
            await world.sync(B, inline=inline)
        await world.sync(C, inline=inline)
        with pytest.raises(Damage):
            await files.write(B, 9_000, b"more")
        await trio.sleep(60)
        assert [f"inode {B} " in line for line in caplog.messages
                if "cannot be entered" in line] == [True]
        with pytest.raises(Damage):
            await files.flush(None)
        world.check_accounting()
        for inode in (A, B, C):
            assert await content(world, inode) == b"old" * 166 + b"ol" + b"new" * 1000
        find_maps_of(world)
        await files.flush(None)
        await world.remount()
        for inode in (A, B, C):
            assert await content(world, inode) == b"old" * 166 + b"ol" + b"new" * 1000
        world.check_accounting()


async def test_the_segment_of_rows_that_were_taken_back_is_known_all_the_same(
        clock: MockClock) -> None:
    """The first try to enter rows is rolled back; memory must not know more than the database."""
    async with files_world() as world:
        lose_maps_of(world, B)
        for inode in (A, B):
            await world.files.write(inode, 0, b"new" * 1000)
        with pytest.raises(Damage):
            await world.files.flush(None)
        rows = {row.id: row.length for row in world.files.tables.segments()}
        assert rows == {entry.id: entry.length for entry in world.files.index.segments.values()}
        assert rows


async def test_a_file_whose_map_is_lost_does_not_fill_the_buffer(clock: MockClock) -> None:
    async with files_world(write_back_len=100_000) as world:
        files = world.files
        lose_maps_of(world, B)
        await files.write(B, 0, b"b" * 150_000)
        with pytest.raises(Damage):
            await files.flush(B)
        with pytest.raises(Damage):
            await files.write(A, 0, b"a")
        files.discard([B])
        with trio.fail_after(60):
            for at in range(0, 400_000, 50_000):
                await files.write(A, at, b"a" * 50_000)
        await files.flush(None)
        world.check_accounting()


async def test_what_was_written_before_a_map_is_found_lost_does_not_fill_the_buffer(
        clock: MockClock) -> None:
    """No round takes it: who waited for room, and whoever came later, would wait for good."""
    # Who waits in vain does so busily, and time would stand still.
    clock.rate = 1.0
    async with files_world(slow=True, write_back_len=100_000) as world:
        files = world.files

        async def told(inode: InodeId) -> None:
            with pytest.raises(Damage):
                await files.write(inode, 200_000, b"w" * 50_000)

        lose_maps_of(world, B)
        await files.write(B, 0, b"b")
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(failed_flush, world, B)
                while not files.flusher.round_lock.locked():
                    await trio.lowlevel.checkpoint()
                await files.write(B, 1, b"b" * 120_000)
                nursery.start_soon(told, B)
                nursery.start_soon(told, A)
        assert await content(world, B) == b"b" * 120_001
        files.discard([B])
        with trio.fail_after(10):
            await files.write(A, 0, b"a" * 50_000)
        await files.flush(None)
        assert await content(world, A) == b"a" * 50_000
        world.check_accounting()


async def test_a_deleted_file_whose_map_is_lost_holds_up_no_other(
        clock: MockClock, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    """What comes after in a round, checkpoints too, would never be reached."""
    monkeypatch.setattr(files_module, "UNMAP_AT_ONCE", 4)

    def maps_of(inode: InodeId) -> int:
        return int(world.database.value("SELECT count(*) FROM maps WHERE inode=?", (inode,)))

    def unmap_some(inode: int, rows_max: int) -> bool:
        if inode == A:
            raise Damage("a page is lost")
        return whole(inode, rows_max)

    async with files_world() as world:
        for inode in (A, B):
            for at in range(0, 200_000, 10_000):
                await world.files.write(inode, at, b"x" * 5000)
        await world.files.flush(None)
        for inode in (A, B):
            world.files.discard([inode])
        left = maps_of(A)
        assert left and maps_of(B)
        whole = world.files.tables.unmap_some
        vars(world.files.tables)["unmap_some"] = unmap_some
        for _ in range(30):
            world.files.reap()
        assert not world.files.reap()
        assert (maps_of(A), maps_of(B)) == (left, 0)
        assert [f"inode {A}," in line for line in caplog.messages] == [True]
        world.check_accounting()
        await world.remount()
        while world.files.reap():
            pass
        assert not maps_of(A)
        world.check_accounting()
