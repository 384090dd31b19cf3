"""Salvage of what commit records carry and no page of the metadata shows."""

import os
from pathlib import Path

import pytest

from ecfs.base.errors import Damage
from ecfs.base.ids import InodeId
from ecfs.repair import salvage
from tests.unit.repair.conftest import PASSPHRASE, Pool, put, snapshot
from tests.unit.repair.test_salvage import ROOT, lose_metadata

BLOCK = 4096


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
