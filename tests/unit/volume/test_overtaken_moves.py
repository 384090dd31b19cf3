"""What moves was planned before; meanwhile programs delete it, and segments go."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecfs.base.errors import Damage
from ecfs.base.ids import InodeId
from ecfs.base.units import KIB, MIB
from ecfs.erasure import Geometry
from ecfs.formats import KIND_CONTENT, column_name
from ecfs.repair import mending, scrub
from ecfs.stripes import StripeRef
from ecfs.targets import MemoryTarget
from ecfs.volume import Volume
from ecfs.volume.behind import is_dead
from tests.crash.world import some_bytes
from tests.unit.volume.simulated import Pool, get, put

ROOT = InodeId(1)
MOUNTS = 3
FILES = 4
LEFT_LEN = 256 * KIB


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


def delete(volume: Volume, mounts: Iterable[int], files: Iterable[int] = range(FILES)) -> None:
    for mount in mounts:
        for file in files:
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


async def test_who_catches_up_passes_over_what_dies_meanwhile(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripes that are punched out, and a whole segment; else it begins anew for ever."""
    pool = await sparse_pool(tmp_path)
    async with pool.mounted() as volume:
        late = list(volume.fleet)[2]
        for entry in volume.files.index.segments.values():
            pool.memories[late.path].remove(column_name(entry.epoch, entry.id))
        late.behind = True
        mend_column = mending.mend_column
        looked_at: list[object] = []

        async def overtaken(store: Any, ref: Any, member: Any) -> str:
            looked_at.append(ref)
            if store.is_dead(ref) or ref.segment.id not in volume.files.index.segments:
                return await mend_column(store, ref, member)
            if not deleted:
                deleted.append(ref)
                # The first is that which is being walked.
                delete(volume, [0])
                delete(volume, [1], range(1, FILES))
                await volume.background.reclaim()
                await volume.background.tidy()
                assert store.is_given_back(ref.segment)
            return await mend_column(store, ref, member)

        deleted: list[object] = []
        monkeypatch.setattr(mending, "mend_column", overtaken)
        await mending.catch_up(volume, late)
        assert deleted and not late.behind
        for file in range(FILES):
            assert await get(volume, name_of(2, file)) == data_of(2, file)
        assert await get(volume, name_of(1, 0)) == data_of(1, 0)
        assert (await scrub(volume)).bad_count == 0


async def test_what_cannot_be_looked_up_is_not_dead(tmp_path: Path) -> None:
    """No stripe is passed over, when its target catches up, for a row that is lost."""
    pool = await sparse_pool(tmp_path)
    async with pool.mounted() as volume:
        segment = next(iter(volume.files.index.segments.values()))
        ref = StripeRef(segment, KIND_CONTENT, 0, 0, bytes(32), bytes(32))
        assert is_dead(volume.files.tables, ref)

        def lost(*_: object) -> None:
            raise Damage("a page is lost")

        assert not is_dead(SimpleNamespace(stripe_at=lost), ref)  # type: ignore[arg-type]
