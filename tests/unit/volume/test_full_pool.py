"""A pool that was written full: what is deleted gives its room back, whatever is beside it."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import RESERVE_LEN_MIN
from ecfs.base.units import MIB
from ecfs.content.moving import MovedOut
from ecfs.targets import MemoryTarget
from ecfs.volume import Volume
from tests.unit.volume.simulated import Pool, get, put

ROOT = InodeId(1)
KEPT = bytes(range(256)) * 4096


async def small_pool(folder: Path, total_len: int) -> Pool:
    pool = Pool(folder)
    pool.memories = {path: MemoryTarget(path, total_len=total_len) for path in pool.paths}
    await pool.make()
    return pool


async def fill(volume: Volume, left_len: int = 0) -> int:
    """One file as long as there is more room than `left_len`; how many MiB."""
    entry = volume.tree.create(ROOT, b"fill", mode=0o100644, uid=0, gid=0)
    count = 0
    try:
        while True:
            volume.admit(grows=True)
            if volume.meter.available_len(volume.files.flusher.dirty_len) < left_len:
                break
            await volume.files.write(entry.inode, count * MIB, bytes([count % 256]) * MIB)
            count += 1
            if count % 8 == 0:
                await volume.fsync(None)
                await volume.meter.refresh()
    except EcfsError:
        pass
    return count


@pytest.mark.parametrize("remounted", [False, True])
async def test_a_little_that_lives_does_not_hold_the_room_of_what_was_deleted(
        tmp_path: Path, remounted: bool) -> None:
    """All of it is in one segment, and no other can be begun but in the room that is kept."""
    pool = await small_pool(tmp_path, 40 * MIB)
    async with pool.mounted() as volume:
        before = volume.meter.available_len(0)
        await put(volume, b"kept", KEPT)
        assert await fill(volume) > 64
        await volume.fsync(None)
        await volume.meter.refresh()
        assert volume.meter.available_len(0) <= 4 * MIB
        if not remounted:
            await delete_and_wait(volume)
            assert volume.meter.available_len(0) > before - 8 * MIB
    async with pool.mounted() as volume:
        if remounted:
            await delete_and_wait(volume)
            assert volume.meter.available_len(0) > before - 8 * MIB
        assert await get(volume, b"kept") == KEPT
        await put(volume, b"more", bytes(16 * MIB))
    async with pool.mounted() as volume:
        assert await get(volume, b"kept") == KEPT
        assert await get(volume, b"more") == bytes(16 * MIB)
        assert volume.database.integrity_findings() == []


async def test_room_is_given_back_before_the_last_of_it_is_used(tmp_path: Path) -> None:
    """The segment in which all of it lies is still written to."""
    pool = await small_pool(tmp_path, 40 * MIB)
    async with pool.mounted() as volume:
        before = volume.meter.available_len(0)
        await put(volume, b"kept", KEPT)
        await fill(volume, 6 * MIB)
        await volume.fsync(None)
        await volume.meter.refresh()
        assert volume.meter.available_len(0) > 0 and volume.meter.is_low()
        assert set(volume.files.tables.live_by_segment()) <= volume.store.open_segment_ids()
        await delete_and_wait(volume)
        assert volume.meter.available_len(0) > before - 8 * MIB
        assert await get(volume, b"kept") == KEPT


async def delete_and_wait(volume: Volume) -> None:
    inode = volume.tree.lookup(ROOT, b"fill").inode
    volume.tree.unlink(ROOT, b"fill")
    volume.files.discard([inode])
    await volume.commit()
    await trio.sleep(60)


async def test_what_moves_leaves_room_to_commits(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No slice is larger than what may move, and a quarter of what is kept is never touched."""
    pool = await small_pool(tmp_path, 160 * MIB)
    async with pool.mounted() as volume:
        await put(volume, b"kept", KEPT * 48)
        inode = volume.tree.lookup(ROOT, b"kept").inode
        await fill(volume)
        await volume.fsync(None)
        # Every stripe of it is half dead, none of it all dead.
        for at in range(0, len(KEPT) * 48, 2 * MIB):
            await volume.files.punch(inode, at, at + MIB)
        await volume.meter.refresh()
        move_out, moved = volume.files.mover.move_out, list[int]()

        async def noting(stripes: Iterable[int], *, reserve: bool = False,
                         gain_percent_min: int | None = None,
                         length_max: int | None = None) -> MovedOut:
            meter = volume.meter
            assert length_max is not None and length_max <= max(
                meter.room_for_moves(), meter.room_for_moves(RESERVE_LEN_MIN // 4) // 2)
            done = await move_out(stripes, reserve=reserve, gain_percent_min=gain_percent_min,
                                  length_max=length_max)
            assert done.moved_len <= length_max
            await meter.refresh()
            assert min(space.free_len for space in meter.spaces.values()) >= RESERVE_LEN_MIN // 8
            moved.append(done.moved_len)
            return done

        monkeypatch.setattr(volume.files.mover, "move_out", noting)
        await volume.fsync(None)
        await trio.sleep(60)
        assert sum(moved) > 0 and volume.read_only == ""
        left = await get(volume, b"kept")
        assert left[MIB : 2 * MIB] == (KEPT * 48)[MIB : 2 * MIB] and not any(left[:MIB])
