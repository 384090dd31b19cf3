"""Salvage of what commit records carry and no page of the metadata shows."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import Damage
from ecfs.base.ids import InodeId
from ecfs.base.limits import COMMIT_PADDING_LENS, INLINE_FILE_LEN_MAX
from ecfs.content.logged import WriteLog
from ecfs.formats import LoggedWrite
from ecfs.repair import salvage
from ecfs.repair.salvage_records import RecordedWrites, WriteTurn
from tests.unit.repair.conftest import (
    PASSPHRASE,
    Pool,
    SharedTarget,
    metadata_columns,
    put,
    scramble,
    snapshot,
)
from tests.unit.repair.test_salvage import ROOT, lose_metadata

BLOCK = 4096
LONG_LEN = 2 * INLINE_FILE_LEN_MAX


async def test_what_was_appended_and_overwritten_is_copied_out(
        pool: Pool, tmp_path: Path) -> None:
    async with pool.open() as volume:
        inode = await put(volume, ROOT, b"wal", b"A" * 100)
        await volume.fsync(None)
        for at, data in ((100, b"B" * 100), (50, b"C" * 10), (9000, b"end"), (55, b"D" * 10)):
            await volume.files.write(inode, at, data)
            await volume.fsync(inode)
        assert volume.files.pending(inode) is not None
        mtime_ns = max(volume.files.pending(inode) or (0,))
        crashed = snapshot(pool, tmp_path / "crashed")
    expected = (await crashed.contents())["/wal"]
    assert expected == (b"A" * 50 + b"C" * 5 + b"D" * 10 + b"A" * 35 + b"B" * 100).ljust(
        9000, b"\0") + b"end"
    report = await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert (tmp_path / "out" / "wal").read_bytes() == expected
    assert (tmp_path / "out" / "wal").stat().st_mtime_ns == mtime_ns
    assert not report.incomplete and not report.from_log


async def test_what_cannot_be_laid_over_its_file_is_told(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.open() as volume:
        inode = await put(volume, ROOT, b"wal", b"A" * 100)
        await volume.fsync(None)
        await volume.files.write(inode, 100, b"B" * 100)
        await volume.fsync(inode)
        crashed = snapshot(pool, tmp_path / "crashed")

    def unreadable(files: object, inode: InodeId) -> None:
        raise Damage("a page is lost for now")

    monkeypatch.setattr("ecfs.content.files.Files._state", unreadable)
    report = await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert "wal" in [os.path.basename(path) for path in report.incomplete]


async def test_without_metadata_older_bytes_do_not_lie_over_newer_ones(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round has both on their way when a commit with pages makes a row of the older ones."""
    async with pool.open() as volume:
        inode = await put(volume, ROOT, b"db", b"." * 4 * BLOCK)
        await volume.files.flush(None)
        await volume.checkpoint()
        await volume.files.write(inode, 0, b"A" * 2 * BLOCK)
        await volume.fsync(inode)
        await volume.files.write(inode, BLOCK, b"N" * 2 * BLOCK)
        sync, done = type(volume.store).sync, list[bool]()

        async def overtaken(store: object, stripes: object) -> object:
            result = await sync(store, stripes)  # type: ignore[arg-type]
            if not done:
                done.append(True)
                volume.tree.set_attributes(inode, mode=0o100600)
                await volume.commit()
            return result

        with monkeypatch.context() as patch:
            patch.setattr(type(volume.store), "sync", overtaken)
            await volume.files.flush(inode)
        assert done and (await volume.files.read(inode, 0, 1 << 20))[::BLOCK] == b"ANN."
        await volume.checkpoint()
        crashed = snapshot(pool, tmp_path / "crashed")
    await lose_metadata(crashed)
    await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    [saved] = (tmp_path / "out").rglob("db")
    assert saved.read_bytes()[::BLOCK] == b"ANN."


# -- without metadata, but with records ------------------------------------------------------


async def lose_pages(pool: Pool) -> None:
    """Nothing of metadata stripes is left anywhere; commit records are."""
    names = await metadata_columns(pool)
    for path in pool.paths:
        for name in set(names) & set(pool.columns(path)):
            pool.edit(path, name, scramble)


async def crashed_with_writes(pool: Pool, place: Path) -> tuple[Pool, bytes]:
    """A pool that lost its pages with a file in stripes, and with newer blocks in records, of which
    some went into rows and a stripe since and some did not; and what the file held."""
    async with pool.open() as volume:
        inode = await put(volume, ROOT, b"db", b"." * 6 * BLOCK)
        await volume.files.flush(None)
        await volume.checkpoint()
        for at, mark in ((0, b"a"), (1, b"b"), (2, b"c")):
            await volume.files.write(inode, at * BLOCK, mark * BLOCK)
            await volume.fsync(inode)
        await volume.files.flush(None)
        await volume.commit()
        await volume.files.write(inode, BLOCK, b"B" * BLOCK)
        await volume.fsync(inode)
        await volume.files.flush(None)
        await volume.commit()
        await volume.files.write(inode, 9 * BLOCK, b"x" * BLOCK)
        await volume.fsync(inode)
        await volume.files.write(inode, 7 * BLOCK, b"W" * LONG_LEN)
        await volume.fsync(inode)
        for at, mark in ((2, b"C"), (6, b"e"), (2, b"D")):
            await volume.files.write(inode, at * BLOCK, mark * BLOCK)
            await volume.fsync(inode)
        assert volume.files.pending(inode) is not None
        crashed = snapshot(pool, place)
        expected = await volume.files.read(inode, 0, 1 << 20)
    assert expected[:11 * BLOCK : BLOCK] == b"aBD...eWWWW"
    await lose_pages(crashed)
    return crashed, bytes(expected)


def saved_in(folder: Path, name: str) -> bytes:
    [path] = folder.rglob(name)
    return path.read_bytes()


async def test_without_metadata_records_tell_what_was_synced_last(
        pool: Pool, tmp_path: Path) -> None:
    crashed, expected = await crashed_with_writes(pool, tmp_path / "crashed")
    report = await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert report.from_log and not report.lost_stripes_count
    assert saved_in(tmp_path / "out", "db") == expected


@pytest.mark.parametrize("left", [0, 3])
async def test_records_of_one_target_are_enough(pool: Pool, tmp_path: Path, left: int) -> None:
    crashed, expected = await crashed_with_writes(pool, tmp_path / "crashed")
    for path in [path for number, path in enumerate(crashed.paths) if number != left]:
        for name in crashed.targets[path].list_names():
            if name.startswith("commits."):
                crashed.edit(path, name, scramble)
    await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert saved_in(tmp_path / "out", "db") == expected


@pytest.mark.parametrize("shows", ["nothing", "another record"])
async def test_a_record_that_is_shown_once_only_comes_from_another_target(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows: str) -> None:
    crashed, expected = await crashed_with_writes(pool, tmp_path / "crashed")
    read, write = SharedTarget.read, RecordedWrites.write
    seen = dict[int, bytes]()
    lies = list[bool]()

    def write_of(records: RecordedWrites, turn: WriteTurn) -> LoggedWrite | None:
        lies.append(True)
        return write(records, turn)

    def read_lying(target: SharedTarget, name: str, offset: int, length: int) -> bytes:
        """All but one target show other bytes once the order is known."""
        data = read(target, name, offset, length)
        if name.startswith("commits.") and length in COMMIT_PADDING_LENS:
            if lies and target.path != crashed.paths[4]:
                return bytes(length) if shows == "nothing" else seen[length]
            seen[length] = data
        return data

    monkeypatch.setattr(SharedTarget, "read", read_lying)
    monkeypatch.setattr(RecordedWrites, "write", write_of)
    await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert lies and seen and saved_in(tmp_path / "out", "db") == expected


async def test_a_write_that_nobody_shows_any_more_makes_its_file_incomplete(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed, _ = await crashed_with_writes(pool, tmp_path / "crashed")
    write = RecordedWrites.write

    def write_of(records: RecordedWrites, turn: WriteTurn) -> LoggedWrite | None:
        found = write(records, turn)
        return None if found is None or found.data.startswith(b"D") else found

    monkeypatch.setattr(RecordedWrites, "write", write_of)
    report = await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert "db" in [os.path.basename(path) for path in report.incomplete]


async def test_what_a_program_wrote_that_told_no_order_counts_as_oldest(
        pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = WriteLog.take
    monkeypatch.setattr(WriteLog, "take", lambda log: [
        tuple(replace(write, order=0) for write in group) for group in take(log)])
    crashed, _ = await crashed_with_writes(pool, tmp_path / "crashed")
    await salvage(crashed.paths, PASSPHRASE, crashed.environment, tmp_path / "out")
    assert saved_in(tmp_path / "out", "db")[: 11 * BLOCK : BLOCK] == b"aBc...\0WWWW"
