"""What is dead gives its room back: by itself where targets punch, by moving where they do not."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import EcfsError, Fault, NoSpace
from ecfs.base.ids import InodeId
from ecfs.base.units import KIB, MIB
from ecfs.content.moving import MovedOut
from ecfs.erasure import Geometry
from ecfs.formats import SEGMENTS_FOLDER, column_name
from ecfs.observe import EventKind
from ecfs.repair import scrub
from ecfs.repair.mending import catch_up
from ecfs.targets import FaultyTarget, MemoryTarget, Outcome, Target
from ecfs.volume import Volume
from tests.crash.world import some_bytes
from tests.unit.volume.simulated import Pool, get, put

ROOT = InodeId(1)
TWO_AND_ONE = Geometry(2, 1)
FILE_LEN = 1 * MIB
GIVING_BACK = ("remove", "truncate", "punch")


class Recorded(FaultyTarget):
    """As `simulated.Handle`, telling of calls that give room back."""

    def close(self) -> None:
        """Nothing."""


class SmallPool(Pool):
    """2+1 on three small targets, of which some may not punch; calls on columns are noted."""

    def __init__(self, folder: Path, total_len: int, punches: tuple[bool, ...] = (True,) * 3,
                 ) -> None:
        super().__init__(folder, 3)
        self.memories = {path: MemoryTarget(path, total_len=total_len, punches=can)
                         for path, can in zip(self.paths, punches, strict=True)}
        self.calls: list[tuple[str, str, str]] = []

    def _open_target(self, path: str) -> Target:
        handle = super()._open_target(path)

        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            if method in GIVING_BACK and name.startswith(SEGMENTS_FOLDER):
                self.calls.append((path, method, name))
            return None

        return Recorded(handle, plan)

    def count(self, method: str) -> int:
        return sum(one == method for _, one, _ in self.calls)


def data_of(number: int) -> bytes:
    return some_bytes((number, 0), FILE_LEN)


async def fill(volume: Volume) -> int:
    """Files of 1 MiB until the pool is full; how many."""
    count = 0
    try:
        while True:
            volume.admit(grows=True)
            await put(volume, b"f%d" % count, data_of(count), sync=count % 4 == 3)
            count += 1
            if count % 4 == 0:
                await volume.meter.refresh()
    except NoSpace:
        pass
    await volume.fsync(None)
    await volume.meter.refresh()
    assert available(volume) <= 3 * MIB
    return count


def available(volume: Volume) -> int:
    return volume.meter.available_len(volume.files.flusher.dirty_len)


def delete(volume: Volume, names: list[bytes]) -> None:
    for name in names:
        inode = volume.tree.lookup(ROOT, name).inode
        volume.tree.unlink(ROOT, name)
        volume.files.discard([inode])


@asynccontextmanager
async def full_pool(pool: SmallPool) -> AsyncIterator[tuple[Volume, int]]:
    await pool.make(TWO_AND_ONE)
    async with pool.mounted() as volume:
        yield volume, await fill(volume)


async def check_kept(volume: Volume, kept: list[int]) -> None:
    for number in kept:
        assert await get(volume, b"f%d" % number) == data_of(number)
    assert volume.database.integrity_findings() == []
    assert volume.read_only == ""


@pytest.mark.parametrize(("kept_of_16", "punches"), [
    (15, (True,) * 3), (8, (True,) * 3), (6, (True,) * 3), (1, (True,) * 3),
    (8, (True, False, True)), (15, (False,) * 3), (6, (False,) * 3)])
async def test_what_was_deleted_of_a_full_pool_can_be_written_again(
        tmp_path: Path, kept_of_16: int, punches: tuple[bool, ...]) -> None:
    pool = SmallPool(tmp_path, 56 * MIB, punches)
    async with full_pool(pool) as (volume, count):
        before = available(volume)
        kept = [number for number in range(count) if number % 16 < kept_of_16]
        delete(volume, [b"f%d" % number for number in range(count) if number not in kept])
        await volume.fsync(None)
        await trio.sleep(60)
        dead_len = (count - len(kept)) * FILE_LEN
        assert available(volume) - before > dead_len * 0.9 - 4 * MIB
        assert bool(pool.count("punch")) and bool(pool.count("truncate")) is (False in punches)
        await check_kept(volume, kept)
        for number in range(count, count + int(dead_len * 0.8) // FILE_LEN):
            volume.admit(grows=True)
            await put(volume, b"f%d" % number, data_of(number))
            kept.append(number)
        await check_kept(volume, kept)
        assert (await scrub(volume)).bad_count == 0
    async with pool.mounted() as volume:
        await check_kept(volume, kept)
        assert (await scrub(volume)).bad_count == 0


async def test_what_cannot_be_punched_is_cut_in_the_same_round(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a target cannot is known after the first try only."""
    pool = SmallPool(tmp_path, 48 * MIB, (True, False, True))
    await pool.make(TWO_AND_ONE)
    async with pool.mounted() as volume:
        for number in range(8):
            await put(volume, b"f%d" % number, data_of(number))
    async with pool.mounted() as volume:

        async def nothing(*_: object, **wishes: object) -> MovedOut:
            return MovedOut()

        monkeypatch.setattr(volume.files.mover, "move_out", nothing)
        delete(volume, [b"f%d" % number for number in range(4, 8)])
        free_len = pool.memories[pool.paths[1]].space().free_len
        await volume.background.tidy()
        assert pool.memories[pool.paths[1]].space().free_len > free_len + FILE_LEN
        await check_kept(volume, list(range(4)))


async def test_random_blocks_of_a_large_file_can_be_written_again_and_again(
        tmp_path: Path) -> None:
    """What lives of its extents is cut out of them."""
    pool = SmallPool(tmp_path, 56 * MIB)
    await pool.make(TWO_AND_ONE)
    async with pool.mounted() as volume:
        expected = bytearray(some_bytes((0, 0), 44 * MIB))
        inode = InodeId(await put(volume, b"large", bytes(expected)))
        places = list(range(0, len(expected), 4 * KIB))
        for number in range(3 * len(places) // 2):
            at = places[(number * 7919) % len(places)]
            block = bytes([number % 251]) * (4 * KIB)
            try:
                volume.admit(grows=True)
            except NoSpace:
                await volume.make_room()
                volume.admit(grows=True)
            await volume.files.write(inode, at, block)
            expected[at : at + len(block)] = block
            if number % 512 == 511:
                await volume.fsync(None)
                await volume.meter.refresh()
        assert await get(volume, b"large") == expected
        assert volume.database.integrity_findings() == []
    async with pool.mounted() as volume:
        assert await get(volume, b"large") == expected
        assert (await scrub(volume)).bad_count == 0


async def test_who_may_not_grow_waits_for_what_is_dead(tmp_path: Path) -> None:
    """Not for the background, which comes by every few seconds."""
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        delete(volume, [b"f%d" % number for number in range(0, count, 2)])
        with pytest.raises(NoSpace):
            while True:
                volume.admit(grows=True)
                await put(volume, b"g%d" % volume.database.change_count, data_of(0), sync=False)
        began = trio.current_time()
        await volume.make_room()
        assert trio.current_time() - began < 1
        volume.admit(grows=True)
        await check_kept(volume, list(range(1, count, 2)))


@pytest.mark.parametrize("syncs", [False, True])
async def test_what_killed_mounts_left_of_their_records_gives_its_room_back(
        tmp_path: Path, syncs: bool) -> None:
    """It lies in the room that is kept, and what is deleted would fill that first."""
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (_, count):
        pass
    for _ in range(12):
        async with pool.crashing():
            pass
    async with pool.mounted() as volume:
        assert volume.log_length is not None and volume.log_length.epochs() > 12
        assert available(volume) <= 0
        free_len = pool.memories[pool.paths[0]].space().free_len
        delete(volume, [b"f%d" % number for number in range(6)])
        await (volume.fsync(None) if syncs else volume.make_room())
        volume.admit(grows=True)
        assert volume.log_length.epochs() <= 2
        assert pool.memories[pool.paths[0]].space().free_len > free_len + 10 * MIB
        await check_kept(volume, list(range(6, count)))


async def test_syncing_all_gives_back_what_is_dead(tmp_path: Path) -> None:
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        delete(volume, [b"f%d" % number for number in range(0, count, 2)])
        await volume.fsync(None)
        assert available(volume) > count * FILE_LEN // 3


async def test_nothing_is_looked_for_again_and_again_in_vain(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But as soon as anything has died."""
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        await volume.make_room()
        looks: list[None] = []
        honest = volume.files.tables.stored_by_segment

        def counted() -> object:
            looks.append(None)
            return honest()

        monkeypatch.setattr(volume.files.tables, "stored_by_segment", counted)
        for _ in range(8):
            volume.tree.create(ROOT, b"d%d" % volume.database.change_count, mode=0o100644, uid=0,
                               gid=0)
            await volume.make_room()
        assert not looks
        delete(volume, [b"f%d" % number for number in range(0, count, 2)])
        await volume.make_room()
        assert looks
        volume.admit(grows=True)


async def test_nothing_goes_before_the_commit_that_no_longer_names_it(tmp_path: Path) -> None:
    pool = SmallPool(tmp_path, 48 * MIB)
    await pool.make(TWO_AND_ONE)
    async with pool.crashing() as volume:
        count = await fill(volume)
        pool.calls.clear()
        delete(volume, [b"f%d" % number for number in range(0, count, 2)])
        pool.fail_on(folder="commits")
        await volume.make_room()
        with pytest.raises(EcfsError):
            await volume.fsync(None)
        assert pool.calls == []
    async with pool.mounted() as volume:
        await check_kept(volume, list(range(count)))
        assert (await scrub(volume)).bad_count == 0


@pytest.mark.parametrize("punches", [(True,) * 3, (False,) * 3])
async def test_a_crash_after_it_loses_nothing(tmp_path: Path, punches: tuple[bool, ...]) -> None:
    pool = SmallPool(tmp_path, 48 * MIB, punches)
    await pool.make(TWO_AND_ONE)
    async with pool.crashing() as volume:
        count = await fill(volume)
        kept = [number for number in range(count) if number % 3]
        delete(volume, [b"f%d" % number for number in range(0, count, 3)])
        await volume.fsync(None)
        await trio.sleep(30)
    async with pool.mounted() as volume:
        await check_kept(volume, kept)
        assert (await scrub(volume)).bad_count == 0
        await trio.sleep(60)
        assert available(volume) > (count - len(kept)) * FILE_LEN * 0.7
        await check_kept(volume, kept)


def spans(volume: Volume) -> Iterator[tuple[str, int, int]]:
    """(column, offset, end) of live stripes."""
    for entry in volume.files.index.segments.values():
        for row in volume.files.tables.stripes_of(entry.id):
            ref = volume.files.index.ref_of(row)
            yield column_name(entry.epoch, entry.id), ref.offset, ref.offset + ref.record_len


async def test_what_one_target_still_has_accuses_nobody_and_is_not_made_anew(
        tmp_path: Path) -> None:
    """It did not answer when dead stripes were given back, so the others' holes can be seen."""
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        pool.fail_on(1, methods=("punch",))
        kept = [number for number in range(count) if number % 2]
        delete(volume, [b"f%d" % number for number in range(0, count, 2)])
        await volume.fsync(None)
        pool.heal()
        used = {path: memory.space().free_len for path, memory in pool.memories.items()}
        assert used[pool.paths[1]] < used[pool.paths[0]] - 4 * MIB
        report = await scrub(volume)
        assert (report.bad_count, report.mended_count, report.unreadable_count) == (0, 0, 0)
        assert pool.memories[pool.paths[0]].space().free_len > used[pool.paths[0]] - 2 * MIB
        await check_kept(volume, kept)
    async with pool.mounted() as volume:
        assert (await scrub(volume)).bad_count == 0
        assert volume.journal.count(EventKind.SHARD_MISSING) == 0
        await check_kept(volume, kept)


async def test_who_catches_up_does_not_wait_for_what_was_given_back(tmp_path: Path) -> None:
    """A target that is away might have more of a dead stripe, and nobody wants it."""
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        delete(volume, [b"f%d" % number for number in range(0, count, 2)])
        await volume.fsync(None)
        late, away, _ = volume.fleet
        volume.fleet.note_missed([late.id])
        volume.fleet.mark_away(away.id, "unplugged")
        await catch_up(volume, late)
        assert not late.behind


async def test_a_read_that_comes_too_late_accuses_nobody(tmp_path: Path) -> None:
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        inode = volume.tree.lookup(ROOT, b"f8").inode
        [piece, *_] = volume.files.tables.pieces(inode, 0, FILE_LEN)
        assert piece.stripe is not None and piece.start is not None
        ref = volume.files.index.ref(piece.stripe)
        units = volume.store.layout(ref).units_of(piece.start, piece.length)
        await volume.store.read(ref, units)
        delete(volume, [b"f%d" % number for number in range(count)])
        await put(volume, b"f1", data_of(1), sync=False)
        await volume.fsync(None)
        assert (column_name(ref.segment.epoch, ref.segment.id), ref.offset) not in {
            (name, offset) for name, offset, _ in spans(volume)}
        with pytest.raises(EcfsError):
            await volume.store.read(ref, units)
        assert not any(volume.journal.errors_of(member.id).tag for member in volume.fleet)


async def test_a_target_that_was_away_gives_back_once_it_is_here(tmp_path: Path) -> None:
    """Whole stripes are dead, and nothing has to move: the others have given them back long ago."""
    pool = SmallPool(tmp_path, 48 * MIB)
    async with full_pool(pool) as (volume, count):
        third = list(volume.fleet)[2]
        path = third.path
        pool.absent.add(path)
        pool.fail[path], pool.methods[path] = Fault.AWAY, ()
        delete(volume, [b"f%d" % number for number in range(count // 2)])
        await volume.fsync(None)
        await trio.sleep(30)
        free = pool.memories[path].space().free_len
        pool.absent.clear()
        pool.heal()
        await trio.sleep(90)
        assert pool.memories[path].space().free_len > free + 8 * MIB
        await check_kept(volume, list(range(count // 2, count)))
