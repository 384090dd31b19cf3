"""A volume is closed: all that was written is durable, whatever goes on beside it or has failed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ecfs.base.errors import Bug, NoSpace
from ecfs.base.ids import InodeId
from ecfs.base.units import KIB, MIB
from ecfs.volume import Volume
from tests.crash.world import some_bytes
from tests.unit.volume.simulated import Pool, get, put

ROOT = InodeId(1)
DATA = some_bytes((1, 1), 3 * MIB)


@asynccontextmanager
async def torn_down(pool: Pool, expected: type[BaseException]) -> AsyncIterator[Volume]:
    """A mount that ends with this error, and the machine with it: only what is durable is left."""
    with pytest.raises(BaseException) as raised:
        async with pool.mounted() as volume:
            yield volume
    assert isinstance(raised.value, expected) or (
        isinstance(raised.value, BaseExceptionGroup)
        and raised.value.split(expected)[1] is None), raised.value
    for memory in pool.memories.values():
        memory.crash()


async def test_what_is_compacted_meanwhile_is_left(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes behind the last checkpoint, neither into the database nor into the log."""
    monkeypatch.setattr("ecfs.volume.tending.SPARSE_SLACK_LEN", 0)
    async with pool.mounted() as volume:
        inode = InodeId(await put(volume, b"sparse", DATA))
        await volume.files.punch(inode, 64 * KIB, 3 * MIB)
        await volume.fsync(None)
    said: list[str] = []
    changes: list[int] = []
    async with pool.mounted() as volume:
        moving, released = trio.Event(), trio.Event()
        sync, enter = volume.store.sync, volume.files.flusher.rows.enter_moved

        async def slow_sync(stripes: Sequence[Any]) -> Any:
            done = await sync(stripes)
            moving.set()
            await released.wait()
            return done

        def entered(*asked: Any) -> None:
            said.append("entered")
            enter(*asked)

        monkeypatch.setattr(volume.store, "sync", slow_sync)
        monkeypatch.setattr(volume.files.flusher.rows, "enter_moved", entered)
        with trio.fail_after(100):
            await moving.wait()
        monkeypatch.setattr(volume.store, "sync", sync)
        assert volume.writer is not None
        trim = volume.writer.trim

        async def last() -> None:
            changes.append(volume.database.change_count)
            released.set()
            await wait_all_tasks_blocked()
            await trim()
            changes.append(volume.database.change_count)

        monkeypatch.setattr(volume.writer, "trim", last)
    assert len(changes) == 2 and changes[0] == changes[1]
    assert not said
    async with pool.mounted() as volume:
        assert volume.opened.clean
        assert await get(volume, b"sparse") == DATA[: 64 * KIB].ljust(len(DATA), b"\0")


async def test_a_record_on_its_way_is_not_cut_off_with_the_room_behind_the_log(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever commits has the lock; what is behind the last record that is acknowledged may be the
    next one."""
    async with pool.mounted() as volume:
        assert volume.writer is not None and volume.committer is not None
        committer, trim, held = volume.committer, volume.writer.trim, []

        async def noted() -> None:
            held.append(committer.lock.locked())
            await trim()

        monkeypatch.setattr(volume.writer, "trim", noted)
    assert held == [True]


async def test_who_is_cancelled_at_the_end_finds_the_database_open(pool: Pool) -> None:
    """Whatever it waited for may have come just then."""
    found: list[object] = []

    async def reads(volume: Volume) -> None:
        try:
            await trio.sleep_forever()
        finally:
            found.append(volume.database.value("SELECT count(*) FROM inodes"))

    async with pool.mounted() as volume:
        volume.nursery.start_soon(reads, volume)
        await put(volume, b"file", DATA)
    assert found == [2]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("writing", [False, True])
async def test_what_was_written_is_durable_when_a_bug_ends_the_mount(
        pool: Pool, monkeypatch: pytest.MonkeyPatch, again: bool, writing: bool) -> None:
    """Also where the flusher is in the middle of it, and where closing meets the bug again."""
    async with torn_down(pool, KeyError) as volume:
        entry = volume.tree.create(ROOT, b"file", mode=0o100644, uid=0, gid=0)
        fails, late = trio.Event(), volume.store.append
        honest = volume.background.reclaim

        async def fail() -> None:
            if again or not fails.is_set():
                fails.set()
                raise KeyError(2)
            await honest()

        async def slow_append(*asked: Any, **wishes: Any) -> Any:
            if not fails.is_set():
                await trio.sleep_forever()
            return await late(*asked, **wishes)

        if writing:
            monkeypatch.setattr(volume.store, "append", slow_append)
        monkeypatch.setattr(volume.background, "reclaim", fail)
        await volume.files.write(entry.inode, 0, DATA)
        await trio.sleep(60)
    async with pool.mounted() as volume:
        assert volume.opened.clean
        assert await get(volume, b"file") == DATA
        assert volume.database.integrity_findings() == []


@pytest.mark.parametrize("error", [NoSpace("full"), KeyError("flush")])
async def test_what_cannot_be_written_takes_nothing_along(
        pool: Pool, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Names that were made since the last commit are durable, and who unmounts is told."""
    async with torn_down(pool, type(error)) as volume:
        volume.tree.create(ROOT, b"name", mode=0o100644, uid=0, gid=0)

        async def refuse(*asked: Any, **wishes: Any) -> None:
            raise error

        monkeypatch.setattr(volume.files, "flush", refuse)
        await volume.files.write(volume.tree.lookup(ROOT, b"name").inode, 0, DATA)
    async with pool.mounted() as volume:
        assert DATA.startswith(await get(volume, b"name"))


async def test_a_bug_in_the_background_leaves_a_mount_that_loses_nothing(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no change any more, and what it took before is durable at the end."""
    async with pool.mounted() as volume:
        entry = volume.tree.create(ROOT, b"file", mode=0o100644, uid=0, gid=0)

        async def fail() -> None:
            await volume.files.write(entry.inode, 0, DATA)
            raise Bug("no such thing")

        monkeypatch.setattr(volume.background, "reclaim", fail)
        while not volume.broken:
            await trio.sleep(1)
        assert volume.read_only == "a bug in ecfs: no such thing"
    for memory in pool.memories.values():
        memory.crash()
    async with pool.mounted() as volume:
        assert await get(volume, b"file") == DATA
