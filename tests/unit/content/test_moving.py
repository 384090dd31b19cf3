"""Moving what lives out of stripes: extents are cut where they are partly dead, and only then."""

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from ecfs.base.errors import Damage
from ecfs.base.ids import InodeId
from ecfs.base.units import KIB
from tests.unit.content.simulated import FilesWorld, files_world

SOURCE, TARGET = InodeId(5), InodeId(6)
BLOCK = 4 * KIB
LENGTH = 512 * KIB


def in_a_world(scenario: Callable[[FilesWorld, bytearray], Awaitable[None]]) -> None:
    """`scenario` gets a world in which every fourth block of a file was written anew, and what the
    file holds."""
    async def run() -> None:
        async with files_world() as world:
            data = bytearray(bytes(range(256)) * (LENGTH // 256))
            await world.files.write(SOURCE, 0, bytes(data))
            await world.files.flush(None)
            for at in range(0, LENGTH, 4 * BLOCK):
                data[at : at + BLOCK] = bytes([at // BLOCK % 251]) * BLOCK
                await world.files.write(SOURCE, at, bytes(data[at : at + BLOCK]))
            await world.files.flush(None)
            await scenario(world, data)
            world.check_accounting()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def stored_len(world: FilesWorld) -> int:
    return int(world.database.value("SELECT sum(len) FROM extents") or 0)


async def move_all(world: FilesWorld) -> int:
    stripes = [row[0] for row in world.database.rows("SELECT id FROM stripes ORDER BY id")]
    return (await world.files.mover.move_out(stripes)).moved_len


def test_only_what_lives_of_an_extent_moves() -> None:
    async def scenario(world: FilesWorld, data: bytearray) -> None:
        assert stored_len(world) == LENGTH + LENGTH // 4
        assert await move_all(world) == LENGTH
        assert stored_len(world) == LENGTH
        assert await world.files.read(SOURCE, 0, LENGTH) == data
        await world.files.truncate(SOURCE, LENGTH // 2 + 100)
        await world.files.write(SOURCE, 100, b"once more")
        data[100:109] = b"once more"
        await world.files.flush(None)
        assert await move_all(world) == LENGTH // 2 + 100
        await world.remount()
        assert await world.files.read(SOURCE, 0, LENGTH) == data[: LENGTH // 2 + 100]

    in_a_world(scenario)


def test_what_another_file_shows_too_stays_whole() -> None:
    async def scenario(world: FilesWorld, data: bytearray) -> None:
        await world.files.copy(SOURCE, 0, TARGET, 100, LENGTH)
        await move_all(world)
        assert stored_len(world) == LENGTH + LENGTH // 4
        world.files.discard([SOURCE])
        await move_all(world)
        await world.remount()
        assert await world.files.read(TARGET, 100, LENGTH) == data

    in_a_world(scenario)


def test_what_is_copied_while_it_moves_stays_where_it_is() -> None:
    """It was to be cut; the copy shows it by its number."""
    async def scenario(world: FilesWorld, data: bytearray) -> None:
        enter = world.files.flusher.rows.enter_moved

        def copied_first(moves: object, stripe: object) -> None:
            extents = world.database.rows("SELECT offset, len, extent, extent_offset FROM maps "
                                          "WHERE inode=? ORDER BY offset", (SOURCE,))
            with world.database.change():
                for offset, length, extent, low in extents:
                    world.database.run("INSERT OR IGNORE INTO maps VALUES(?,?,?,?,?)",
                                       (TARGET, offset, length, extent, low))
                    if world.database.changed_rows():
                        stored = world.database.value("SELECT stripe FROM extents WHERE id=?",
                                                      (extent,))
                        world.database.run("UPDATE extents SET live=live+? WHERE id=?",
                                           (length, extent))
                        world.database.run("UPDATE stripes SET live=live+? WHERE id=?",
                                           (length, stored))
            enter(moves, stripe)  # type: ignore[arg-type]

        world.files.flusher.rows.enter_moved = copied_first  # type: ignore[method-assign]
        await move_all(world)
        assert await world.files.read(SOURCE, 0, LENGTH) == data
        world.check_accounting()

    in_a_world(scenario)


def test_next_to_nothing_to_gain_is_left_alone() -> None:
    async def scenario(world: FilesWorld, data: bytearray) -> None:
        stripes = [row[0] for row in world.database.rows("SELECT id FROM stripes ORDER BY live")]
        whole = stripes[-1]
        done = await world.files.mover.move_out([whole], gain_percent_min=60)
        assert (done.moved_len, done.kept) == (0, [whole])
        done = await world.files.mover.move_out([whole], gain_percent_min=10)
        assert done.moved_len == LENGTH * 3 // 4 and not done.kept

    in_a_world(scenario)


def test_no_more_moves_than_fits() -> None:
    async def scenario(world: FilesWorld, data: bytearray) -> None:
        stripes = [row[0] for row in world.database.rows("SELECT id FROM stripes")]
        done = await world.files.mover.move_out(stripes, length_max=64 * KIB)
        assert done.moved_len <= 64 * KIB
        assert await world.files.read(SOURCE, 0, LENGTH) == data

    in_a_world(scenario)


def test_what_dies_while_it_is_read_is_not_unreadable() -> None:
    """Its room was given back as soon as it was dead."""
    async def scenario(world: FilesWorld, data: bytearray) -> None:
        [stripe, *_] = [row[0] for row in world.database.rows("SELECT id FROM stripes")]
        read = world.files.store.read

        async def too_late(*asked: object) -> None:
            world.files.discard([SOURCE])
            raise Damage("holes")

        async def lost(*asked: object) -> None:
            raise Damage("rotten")

        world.files.store.read = lost  # type: ignore[method-assign, assignment]
        done = await world.files.mover.move_out([stripe])
        assert [*done.unreadable] == [stripe]
        assert await world.files.rescue(stripe, move=True) == {SOURCE}
        world.files.store.read = too_late  # type: ignore[method-assign, assignment]
        assert await world.files.rescue(stripe, move=True) == set()
        await world.files.write(SOURCE, 0, bytes(data))
        await world.files.flush(None)
        [stripe] = [row[0] for row in world.database.rows("SELECT id FROM stripes")]
        done = await world.files.mover.move_out([stripe])
        assert not done.unreadable and not done.kept and not done.moved_len
        # By now there is not even a row of it.
        assert await world.files.rescue(stripe, move=True) == set()
        world.files.store.read = read  # type: ignore[method-assign]

    in_a_world(scenario)
