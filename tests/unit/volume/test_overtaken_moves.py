"""What moves was planned before; meanwhile programs delete it, and segments go."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.ids import InodeId
from ecfs.base.units import KIB, MIB
from ecfs.erasure import Geometry
from ecfs.repair import scrub
from ecfs.targets import MemoryTarget
from ecfs.volume import Volume
from tests.crash.world import some_bytes
from tests.unit.volume.simulated import Pool, get, put

ROOT = InodeId(1)
MOUNTS = 3
FILES = 4
LEFT_LEN = 256 * KIB
Body = Callable[[], Awaitable[Any]]


def name_of(mount: int, file: int) -> bytes:
    return b"f%d-%d" % (mount, file)


def data_of(mount: int, file: int) -> bytes:
    return some_bytes((mount, file), MIB)


async def sparse_pool(folder: Path) -> Pool:
    """A segment of each mount, in each some stripes of which a quarter will be left."""
    pool = Pool(folder, 3)
    pool.memories = {path: MemoryTarget(path, total_len=64 * MIB) for path in pool.paths}
    await pool.make(Geometry(2, 1))
    for mount in range(MOUNTS):
        async with pool.mounted() as volume:
            for file in range(FILES):
                await put(volume, name_of(mount, file), data_of(mount, file))
    return pool


async def punch_all(volume: Volume) -> None:
    for mount in range(MOUNTS):
        for file in range(FILES):
            entry = volume.tree.lookup(ROOT, name_of(mount, file))
            await volume.files.punch(entry.inode, LEFT_LEN, MIB)
    await volume.fsync(None)


def delete(volume: Volume, mounts: Iterable[int]) -> None:
    for mount in mounts:
        for file in range(FILES):
            inode = volume.tree.lookup(ROOT, name_of(mount, file)).inode
            volume.tree.unlink(ROOT, name_of(mount, file))
            volume.files.discard([inode])


async def check_left(volume: Volume, mounts: Iterable[int]) -> None:
    for mount in mounts:
        for file in range(FILES):
            expected = data_of(mount, file)[:LEFT_LEN].ljust(MIB, b"\0")
            assert await get(volume, name_of(mount, file)) == expected
    assert volume.database.integrity_findings() == []
    assert (await scrub(volume)).bad_count == 0


async def test_segments_that_go_while_others_move(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan has stripes of them still."""
    monkeypatch.setattr("ecfs.volume.reclaiming.SLICE_LEN", LEFT_LEN)
    pool = await sparse_pool(tmp_path)
    async with pool.mounted() as volume:
        await punch_all(volume)
        honest = volume.files.mover.move_out
        moved: list[tuple[int, ...]] = []

        async def overtaken(stripe_ids: Iterable[int], **wishes: Any) -> Any:
            moved.append(tuple(stripe_ids))
            if len(moved) == 1:
                delete(volume, [0, 2])
            return await honest(moved[-1], **wishes)

        monkeypatch.setattr(volume.files.mover, "move_out", overtaken)
        await volume.background.tidy()
        assert len(moved) > 2
        await check_left(volume, [1])
    async with pool.mounted() as volume:
        await check_left(volume, [1])
