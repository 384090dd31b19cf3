"""Small synced writes in commit records: durable at once, in no page until others change."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import AppendRefused, Damage
from ecfs.base.ids import InodeId
from ecfs.base.limits import INLINE_RECORD_LEN_MAX, LOGGED_COUNT_MAX
from ecfs.formats import HASHES_FIRST, SHORT_UNITS, Commit, encode_commit
from ecfs.volume import OpenOptions, Volume
from tests.unit.volume.simulated import Pool, get, put

ROOT = InodeId(1)
BLOCK = 4096


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Commit]:
    """All records that were made, in order."""
    commits: list[Commit] = []

    def noting(commit: Commit, *args: object) -> bytes:
        commits.append(commit)
        return encode_commit(commit, *args)  # type: ignore[arg-type]

    monkeypatch.setattr("ecfs.volume.committing.encode_commit", noting)
    return commits


async def with_file(pool: Pool, data: bytes = b"." * 8 * BLOCK) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"file", data)
        await put(volume, b"other", b"other")


def inode_of(volume: Volume, name: bytes = b"file") -> InodeId:
    return volume.tree.lookup(ROOT, name).inode


async def write(volume: Volume, number: int, letter: bytes, name: bytes = b"file") -> None:
    """One block of the file, synced."""
    inode = inode_of(volume, name)
    await volume.files.write(inode, number * BLOCK, letter * BLOCK)
    await volume.fsync(inode)


def letters(data: bytes) -> bytes:
    """The first byte of each block."""
    return data[::BLOCK]


async def test_a_small_synced_write_is_a_record_without_pages(
        pool: Pool, made: list[Commit]) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        made.clear()
        for number, letter in enumerate([b"a", b"b", b"c"], 2):
            await write(volume, number, letter)
        assert [(len(commit.pages), len(commit.writes), commit.entered) for commit in made] == [
            (0, 1, False)] * 3
        assert letters(await get(volume, b"file")) == b"..abc..."
    async with pool.crashing() as volume:
        assert letters(await get(volume, b"file")) == b"..abc..."
    # Twice: nobody has entered it anywhere.
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"..abc..."
        assert volume.database.integrity_findings() == []
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"..abc..."
        assert not volume.opened.writes


async def test_size_and_times_are_restored_with_the_bytes(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await trio.sleep(5)
        await write(volume, 20, b"z")
        before = volume.files.pending(inode_of(volume))
        assert before is not None and before[0] == 21 * BLOCK
    for options in (OpenOptions(read_only=True), OpenOptions()):
        async with pool.crashing(options) as volume:
            await trio.sleep(3)
            assert volume.files.pending(inode_of(volume)) == before
            assert letters(await get(volume, b"file")) == b"." * 8 + b"\0" * 12 + b"z"


async def test_who_only_reads_sees_it_and_writes_nothing(pool: Pool, made: list[Commit]) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
    made.clear()
    async with pool.mounted(OpenOptions(read_only=True)) as volume:
        inode = inode_of(volume)
        await volume.fsync(inode)
        await volume.fsync(None)
        assert letters(await get(volume, b"file")) == b"a......."
        await trio.sleep(100)
    assert not made
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"a......."


async def test_a_record_with_pages_supersedes_those_before_it(
        pool: Pool, made: list[Commit]) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        made.clear()
        await put(volume, b"new", b"new")
        assert [commit.entered for commit in made if commit.pages] == [True]
        await write(volume, 1, b"b")
        await volume.files.truncate(inode_of(volume), BLOCK)
        await volume.commit()
        await put(volume, b"last", b"last")
        assert [commit.entered for commit in made if commit.pages] == [True, True, False]
    async with pool.mounted() as volume:
        assert await get(volume, b"file") == b"a" * BLOCK
        assert not volume.opened.writes


async def test_a_change_that_changes_no_page_supersedes_all_the_same(
        pool: Pool, made: list[Commit]) -> None:
    """SQLite leaves out rows that are written as they were."""
    await with_file(pool, b"")
    async with pool.crashing() as volume:
        inode = inode_of(volume)
        row = volume.tree.attributes(inode)
        await write(volume, 0, b"a")
        made.clear()

        def settle(inode: InodeId, *, size: int, **times: int | None) -> None:
            volume.tree.record_content(inode, size=size, mtime_ns=row.mtime_ns,
                                       ctime_ns=row.ctime_ns)

        volume.files._inodes.settle = settle  # type: ignore[method-assign]
        await volume.files.truncate(inode, 0)
        await volume.commit()
        assert [(commit.pages, commit.entered) for commit in made] == [((), True)]
    async with pool.mounted() as volume:
        assert await get(volume, b"file") == b""


async def test_a_file_that_is_removed_stays_removed(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        inode = inode_of(volume)
        volume.tree.unlink(ROOT, b"file")
        volume.files.discard([inode])
        assert not volume.files.flusher.log and not volume.files.flusher.dirty_len
        await volume.commit()
    async with pool.mounted() as volume:
        assert not volume.opened.writes
        assert volume.database.integrity_findings() == []


async def test_what_is_logged_reaches_stripes_in_time(pool: Pool, made: list[Commit]) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        await trio.sleep(30)
        assert volume.files.pending(inode_of(volume)) is None
        assert volume.files.tables.inline_len() == 0
        assert made[-1].pages and not volume.files.flusher.log
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"a......."


async def test_so_much_is_logged_and_no_more(pool: Pool, made: list[Commit]) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        log, inode = volume.files.flusher.log, inode_of(volume)
        for number in range(3 * LOGGED_COUNT_MAX):
            await volume.files.write(inode, 2 * number, bytes([number % 251]))
            await volume.fsync(inode)
            assert len(list(log)) <= 2 * LOGGED_COUNT_MAX
        await trio.sleep(30)
        made.clear()
        # More than one record is to carry.
        for number in range(LOGGED_COUNT_MAX + 1):
            await volume.files.write(inode, 2 * number, b"!")
        await volume.fsync(inode)
        await volume.files.write(inode, 0, bytes(INLINE_RECORD_LEN_MAX))
        await volume.fsync(inode)
        assert made and not any(commit.writes for commit in made)
    async with pool.mounted() as volume:
        data = await get(volume, b"file")
        assert data == bytes(INLINE_RECORD_LEN_MAX)


async def test_who_finds_the_log_full_waits_for_a_round(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        flusher, inode = volume.files.flusher, inode_of(volume)
        async with flusher.round_lock:
            for number in range(2 * LOGGED_COUNT_MAX):
                await volume.files.write(inode, 2 * number, b"x")
                await volume.fsync(inode)
            await volume.files.write(inode, 0, b"y")
            with trio.move_on_after(1) as scope:
                await volume.fsync(inode)
            assert scope.cancelled_caught and len(list(flusher.log)) == 2 * LOGGED_COUNT_MAX
        await volume.fsync(inode)
        assert not flusher.log
    async with pool.mounted() as volume:
        assert (await get(volume, b"file"))[:8] == b"y.x.x.x."


async def test_newer_bytes_lie_over_those_that_were_logged(pool: Pool) -> None:
    """In the same round, and in the same stripe."""
    await with_file(pool)
    async with pool.mounted() as volume:
        inode = inode_of(volume)
        for letter in (b"a", b"b"):
            await write(volume, 0, letter)
        await volume.files.write(inode, 0, b"c" * BLOCK)
        await volume.files.flush(inode)
        assert volume.files.pending(inode) is None
        assert letters(await get(volume, b"file")) == b"c......."


async def test_those_who_wait_at_once_share_a_record(pool: Pool, made: list[Commit]) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        made.clear()
        async with trio.open_nursery() as nursery:
            for number, letter in enumerate([b"a", b"b", b"c", b"d"]):
                nursery.start_soon(write, volume, number, letter)
        assert sum(len(commit.writes) for commit in made) == 4
        assert len(made) <= 2
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"abcd...."


def unable(volume: Volume, inode: InodeId) -> None:
    """From now on no row of a file can be entered: a page that it needs is lost. Nor is what is
    logged written out before it is looked at."""
    volume.files.flush_logged = trio.lowlevel.checkpoint  # type: ignore[method-assign]
    tables = volume.files.tables
    for name in ("map_range", "map_pieces"):
        setattr(tables, name, partial(_refusing, inode, getattr(tables, name)))


def _refusing(lost: InodeId, enter: Callable[..., None], inode: InodeId, *args: object) -> None:
    if inode == lost:
        raise Damage("a page of the metadata is lost")
    enter(inode, *args)


@pytest.mark.parametrize("checkpoints", [0, 1, 3])
async def test_what_cannot_be_entered_is_carried_on(
        pool: Pool, made: list[Commit], checkpoints: int) -> None:
    """It was acknowledged; records with pages, and checkpoints, say it again."""
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 3, b"a")
        await write(volume, 4, b"b")
        await write(volume, 4, b"c")
        unable(volume, inode_of(volume))
        await put(volume, b"new", b"new")
        assert made[-2].pages and made[-2].entered and made[-2].more
        assert len(made[-1].writes) == 3
        for _ in range(checkpoints):
            await volume.checkpoint()
        with pytest.raises(Damage):
            await volume.fsync(inode_of(volume))
        await put(volume, b"newer", b"newer")
    async with pool.crashing() as volume:
        assert letters(await get(volume, b"file")) == b"...ac..."
        assert await get(volume, b"newer") == b"newer"
        await put(volume, b"newest", b"newest")
    async with pool.mounted() as volume:
        assert not volume.opened.writes
        assert letters(await get(volume, b"file")) == b"...ac..."


async def test_what_cannot_be_entered_is_carried_past_a_checkpoint(pool: Pool) -> None:
    """Who starts from it sees only records after its base; this one is followed by no other."""
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 3, b"a")
        unable(volume, inode_of(volume))
        await put(volume, b"new", b"new")
        assert volume.checkpointer is not None
        await volume.checkpointer.write(volume.labeller.label, clean=False,
                                        before=trio.lowlevel.checkpoint)
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"...a...."


async def test_a_round_that_was_overtaken_enters_nothing(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on its way into a stripe became rows of the database before, and newer ones came."""
    await with_file(pool)
    async with pool.crashing() as volume:
        flusher = volume.files.flusher
        await write(volume, 0, b"a")
        sync, done = volume.store.sync, list[bool]()

        async def overtaken(stripes: object) -> object:
            result = await sync(stripes)  # type: ignore[arg-type]
            if not done:
                done.append(True)
                await write(volume, 0, b"b")
                flusher.enter_logged()
                await write(volume, 0, b"c")
            return result

        monkeypatch.setattr(type(volume.store), "sync", lambda store, stripes: overtaken(stripes))
        await volume.files.flush_logged()
        assert done and letters(await get(volume, b"file")) == b"c......."
        assert flusher.dirty_len == sum(len(piece.data) for piece in flusher.log)
        await volume.files.flush(None)
        assert flusher.dirty_len == 0 and not flusher.log
        await volume.commit()
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"c......."
        assert volume.database.integrity_findings() == []


async def test_a_round_that_fails_makes_rows_of_what_is_logged(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        flusher = volume.files.flusher
        await write(volume, 0, b"a")
        with monkeypatch.context() as patch:
            patch.setattr(type(volume.store), "append", refused)
            await volume.files.flush_logged()
            assert letters(await get(volume, b"file")) == b"a......."
            assert not flusher.log and not flusher.dirty_len
            assert volume.files.tables.inline_len() == BLOCK
        await write(volume, 1, b"b")
        assert not flusher.log
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"ab......"


async def refused(*args: object, **where: bool) -> None:
    raise AppendRefused("no target takes anything")


async def test_an_inode_that_cannot_be_read_holds_up_no_mount(pool: Pool) -> None:
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        inode = inode_of(volume)
    async with pool.mounted() as volume:
        [restored] = volume.opened.writes
        flusher = volume.files.flusher
        volume.files.restore([replace(restored, inode=10_000)])
        assert set(flusher.rows.stuck) == {10_000}
        await put(volume, b"new", b"new")
        flusher.forget(flusher.states[10_000])
        assert letters(await get(volume, b"file")) == b"a......."
        assert inode_of(volume) == inode


@pytest.mark.parametrize("features", [0, HASHES_FIRST | SHORT_UNITS])
async def test_older_pools_have_pages_for_everything(
        tmp_path: Path, made: list[Commit], monkeypatch: pytest.MonkeyPatch,
        features: int) -> None:
    monkeypatch.setattr("ecfs.volume.creating.INCOMPATIBLE_OF_NEW", features)
    pool = Pool(tmp_path)
    await pool.make()
    await with_file(pool)
    async with pool.crashing() as volume:
        await write(volume, 0, b"a")
        await write(volume, 1, b"b")
        unable(volume, inode_of(volume))
        await volume.files.write(inode_of(volume), 2 * BLOCK, b"c" * BLOCK)
        with pytest.raises(Damage):
            await volume.fsync(inode_of(volume))
        await put(volume, b"new", b"new")
    assert made and not any(commit.writes or commit.entered for commit in made)
    async with pool.mounted() as volume:
        assert letters(await get(volume, b"file")) == b"ab......"
