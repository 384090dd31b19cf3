"""A pool that was written full: what is deleted gives its room back, whatever is beside it."""

from pathlib import Path

import pytest
import trio

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.base.units import MIB
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


async def test_what_lives_and_does_not_fit_is_not_tried(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the room that is kept stays for commits."""
    pool = await small_pool(tmp_path, 160 * MIB)
    async with pool.mounted() as volume:
        await put(volume, b"kept", KEPT * 48)
        await fill(volume)
        await volume.fsync(None)
        await volume.meter.refresh()
        assert 0 < volume.meter.room_for_moves() <= 40 * MIB
        [first, *_] = sorted(volume.files.tables.live_by_segment())
        rooms: dict[int, int] = {}
        compact = volume.files.compact

        async def noting(segment: int, *, reserve: bool = False) -> int:
            assert reserve is volume.meter.is_low()
            rooms[segment] = volume.meter.room_for_moves()
            return await compact(segment, reserve=reserve)

        monkeypatch.setattr(volume.files, "compact", noting)
        await delete_and_wait(volume)
        assert all(room >= 48 * MIB for segment, room in rooms.items() if segment == first)
        assert await get(volume, b"kept") == KEPT * 48
        assert volume.read_only == ""
