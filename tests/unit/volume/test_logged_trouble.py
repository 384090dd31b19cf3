"""Small synced writes where stripes, rows or quorums cannot be had, and what is said of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import AppendRefused, Damage, NoSpace, ReadOnly
from ecfs.content import Files
from ecfs.content.state import FileState
from ecfs.driver.requests import Requests
from ecfs.formats import HASHES_FIRST, KIND_CONTENT, SHORT_UNITS
from ecfs.metadata import Database
from ecfs.stripes import StripeStore
from ecfs.volume import OpenOptions, Volume
from ecfs.volume.appending import RecordWriter
from tests.unit.volume.simulated import Pool, get, put
from tests.unit.volume.test_logged_writes import (
    BLOCK,
    ROOT,
    inode_of,
    letters,
    unable,
    with_file,
    write,
)

Step = Callable[[Volume], Awaitable[object]]


async def syncfs(volume: Volume) -> None:
    await volume.fsync(None)


async def punch(volume: Volume) -> None:
    await volume.files.punch(inode_of(volume), 2 * BLOCK, 3 * BLOCK)


async def copy(volume: Volume) -> None:
    await volume.files.copy(inode_of(volume), 0, inode_of(volume, b"other"), 0, 1 << 20)


async def unmount(volume: Volume) -> None:
    """What the context does anyhow."""


@asynccontextmanager
async def without_stripes(error: type[Exception]) -> AsyncIterator[list[int]]:
    """No target takes content; metadata and records are taken. How often content was offered."""
    append, offered = StripeStore.append, list[int]()

    async def refusing(store: StripeStore, kind: int, *rest: object, **where: bool) -> object:
        if kind == KIND_CONTENT:
            offered.append(kind)
            raise error("content takes nothing")
        return await append(store, kind, *rest, **where)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StripeStore, "append", refusing)
        yield offered


@pytest.mark.parametrize("error", [NoSpace, AppendRefused])
@pytest.mark.parametrize("step", [syncfs, punch, copy, unmount])
async def test_what_was_acknowledged_needs_no_stripe(
        pool: Pool, step: Step, error: type[Exception]) -> None:
    await with_file(pool)
    async with without_stripes(error), pool.mounted() as volume:
        await write(volume, 0, b"a")
        await step(volume)
    async with pool.mounted(OpenOptions(read_only=True)) as volume:
        assert volume.opened.clean and not volume.opened.writes
        assert letters(await get(volume, b"file"))[:2] == b"a."


async def test_new_files_that_are_synced_one_by_one_need_no_stripes(pool: Pool) -> None:
    """Each commit has pages, and enters what it carries."""
    async with pool.crashing() as volume, without_stripes(NoSpace) as offered:
        for number in range(60):
            await put(volume, b"%d" % number, bytes([number]) * BLOCK)
        assert not offered
    async with pool.mounted() as volume:
        for number in range(60):
            assert await get(volume, b"%d" % number) == bytes([number]) * BLOCK


async def test_where_no_stripe_can_be_had_it_is_not_tried_each_second(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        async with without_stripes(NoSpace) as offered:
            await write(volume, 0, b"a")
            await trio.sleep(60)
            assert 1 <= len(offered) <= 4 and not volume.files.flusher.log
        assert letters(await get(volume, b"file")) == b"a......."


async def test_others_that_fail_are_not_told_to_who_only_logged(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        async with without_stripes(NoSpace):
            large = inode_of(volume, b"other")
            await volume.files.write(large, 0, bytes(1 << 20))
            await write(volume, 0, b"a")
            with pytest.raises(NoSpace):
                await volume.files.flush(large)
            await volume.files.flush_logged()
            with pytest.raises(NoSpace):
                await volume.fsync(None)
        await volume.fsync(None)
        assert await get(volume, b"other") == bytes(1 << 20)


async def test_an_anchor_names_no_step_that_may_be_cut_off(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two records the first was acknowledged: a mount that finds no second one leaves it out."""
    await with_file(pool)
    with monkeypatch.context() as patch:
        async with pool.crashing() as volume:
            await write(volume, 0, b"a")
            unable(volume, inode_of(volume))
            append, count = RecordWriter.append, list[int]()

            async def losing(writer: RecordWriter, record: bytes) -> None:
                count.append(1)
                if len(count) == 2:
                    raise ReadOnly("too few")
                await append(writer, record)

            patch.setattr(RecordWriter, "append", losing)
            with pytest.raises(ReadOnly):
                await put(volume, b"new", b"new")
            assert volume.committer is not None
            assert volume.committer.step_tip.seq == volume.committer.tip.seq - 1
            volume.save_anchor(durable=True)
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"a......."


async def test_times_that_were_set_since_are_not_carried(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        inode = inode_of(volume)
        unable(volume, inode)
        volume.tree.set_attributes(inode, mtime_ns=12_345)
        volume.files.times_were_set(inode)
        await volume.commit()
    async with pool.mounted() as volume:
        await volume.files.flush(None)
        assert volume.tree.attributes(inode).mtime_ns == 12_345
        assert letters(await get(volume, b"file")) == b"a......."


async def test_a_size_that_could_not_be_read_is_read_later(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        await write(volume, 1, b"b")
    state_of = Files._state

    def unreadable(files: Files, inode: int) -> FileState:
        raise Damage("a page is lost for now")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "_state", unreadable)
        async with pool.mounted(OpenOptions(read_only=True)) as volume:
            inode = inode_of(volume)
            assert inode in volume.files.flusher.rows.stuck
            patch.setattr(Files, "_state", state_of)
            pending = volume.files.pending(inode)
            assert pending is not None and pending[0] == 8 * BLOCK == volume.files.size(inode)
            assert letters(await get(volume, b"file")) == b"ab......"


async def test_a_write_of_an_inode_that_is_not_there_is_stuck_alone(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
    async with pool.crashing() as volume:
        [restored] = volume.opened.writes
        volume.files.restore([replace(restored, inode=10_000)])
        for _ in range(3):
            with pytest.raises(Damage):
                await volume.fsync(None)
        await put(volume, b"new", b"new")
        await put(volume, b"large", bytes(100_000))
        assert set(volume.files.flusher.rows.stuck) == {10_000}
        assert letters(await get(volume, b"file")) == b"a......."


async def test_older_pools_rename_nothing_over_a_file_without_its_content(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their records cannot carry it, so it is entered before."""
    monkeypatch.setattr("ecfs.volume.creating.INCOMPATIBLE_OF_NEW", HASHES_FIRST | SHORT_UNITS)
    pool = Pool(tmp_path)
    await pool.make()
    await with_file(pool)
    async with pool.crashing() as volume:
        requests = Requests(volume, lambda inode: None)
        new = volume.tree.create(ROOT, b"new", mode=0o100644, uid=0, gid=0).inode
        await volume.commit()
        await volume.files.write(new, 0, b"n" * BLOCK)
        unable(volume, new)
        with pytest.raises(Damage):
            await requests.rename(ROOT, b"new", ROOT, b"file", 0)
        await volume.commit()
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"........"


@pytest.mark.parametrize("synced", [False, True])
async def test_a_small_file_is_renamed_over_another_with_its_content(
        pool: Pool, synced: bool) -> None:
    """By the commit that renames it; no stripe is needed for that."""
    await with_file(pool)
    async with pool.crashing() as volume:
        requests = Requests(volume, lambda inode: None)
        async with without_stripes(NoSpace) as offered:
            for letter in (b"n", b"m"):
                new = volume.tree.create(ROOT, b"new", mode=0o100644, uid=0, gid=0).inode
                await volume.files.write(new, 0, letter * BLOCK)
                if synced:
                    await volume.fsync(new)
                await requests.rename(ROOT, b"new", ROOT, b"file", 0)
            await volume.commit()
            assert not offered
    async with pool.mounted() as volume:
        assert await get(volume, b"file") == b"m" * BLOCK


async def test_orders_of_writing_are_those_of_logging(pool: Pool) -> None:
    """Salvage without metadata lays extents over each other by them."""
    await with_file(pool)
    async with pool.crashing() as volume:
        inode, orders = inode_of(volume), list[int]()
        add = volume.files.tables.add_inline
        volume.files.tables.add_inline = partial(_noting, orders, add)  # type: ignore[method-assign]
        await write(volume, 0, b"a")
        taken = volume.store.take_order()
        await put(volume, b"new", b"new")
        assert len(orders) == 2 and orders[0] < taken < orders[1]
        assert volume.files.pending(inode) is None
    async with pool.crashing() as volume:
        await write(volume, 0, b"b")
    async with pool.crashing() as volume:
        [piece] = volume.files.flusher.log
        assert piece.order > taken and piece.order < volume.store.next_order


def _noting(orders: list[int], add: Callable[..., None], *args: object, **about: int) -> None:
    orders.append(about["order"])
    add(*args, **about)


LOST_PAGES = {"old history": "DELETE FROM history", "content in the metadata": "FROM inline"}


@pytest.mark.parametrize("lost", LOST_PAGES)
async def test_checkpoints_are_written_though_a_page_that_they_could_do_without_is_lost(
        pool: Pool, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """Without them the log grows until nothing may be written, for all mounts."""
    def losing(method: Callable[..., object]) -> Callable[..., object]:
        def asked(database: Database, statement: str, *values: object) -> object:
            if LOST_PAGES[lost] in statement:
                raise Damage("a page is lost")
            return method(database, statement, *values)
        return asked

    await with_file(pool)
    async with pool.crashing() as volume:
        with monkeypatch.context() as patch:
            for name in ("run", "rows"):
                patch.setattr(Database, name, losing(getattr(Database, name)))
            assert volume.checkpointer is not None
            for number in range(3):
                await put(volume, b"%d" % number, bytes([number]) * BLOCK)
                await volume.checkpoint()
                assert not volume.checkpointer.is_behind()
    async with pool.mounted() as volume:
        for number in range(3):
            assert await get(volume, b"%d" % number) == bytes([number]) * BLOCK
        assert volume.database.integrity_findings() == []
