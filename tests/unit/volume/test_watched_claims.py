"""Claims are looked at again only where the kernel tells of new names; who claims still fences."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ecfs.base.errors import Fenced, ReadOnly
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import Claim, claim_name, encode_claim
from ecfs.targets import DirectoryTarget, name_watch
from ecfs.targets.in_memory import file_system_type
from ecfs.testing.pools import Ground, Opening
from ecfs.testing.quick import remember_keys
from ecfs.volume.claiming import box_keys


class Bench:
    """A pool in directories, and how often its targets were listed."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.listed_count = 0

    async def commit(self, opening: Opening, text: bytes) -> int:
        """A synced write; how many targets were listed for it."""
        before = self.listed_count
        await opening.shell.write(b"file", text)
        inode = opening.volume.tree.lookup(1, b"file").inode  # type: ignore[arg-type]
        await opening.volume.fsync(inode)
        return self.listed_count - before

    def claim(self, opening: Opening, *, epoch: int) -> bytes:
        keys = box_keys(opening.volume.opened.master, opening.volume.pool_id, "claim")
        return encode_claim(Claim(epoch, b"o" * 16, "other", "boot", 1), keys, os.urandom(32))

    def place(self, number: int, epoch: int) -> Path:
        return Path(self.ground.paths[number], claim_name(epoch))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    fd = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(name_watch, "LOCAL_TYPES", {file_system_type(fd)})
    os.close(fd)
    remember_keys(monkeypatch)
    made = Bench(Ground(tmp_path))
    list_names = DirectoryTarget.list_names

    def counting(target: DirectoryTarget, folder: str = "") -> list[str]:
        made.listed_count += not folder
        return list_names(target, folder)

    monkeypatch.setattr(DirectoryTarget, "list_names", counting)
    await made.ground.create()
    yield made


async def test_targets_are_listed_again_only_after_a_name_came(bench: Bench) -> None:
    async with bench.ground.open() as opening:
        await bench.commit(opening, b"once")
        await bench.commit(opening, b"twice")
        counts = [await bench.commit(opening, b"text %d" % number) for number in range(8)]
        # A heartbeat may come between two of them.
        assert counts.count(0) >= 6
        Path(bench.ground.paths[2], "new").touch()
        assert await bench.commit(opening, b"more") >= 1
        os.remove(Path(bench.ground.paths[2], "new"))


async def test_a_claim_between_two_commits_fences(bench: Bench) -> None:
    async with bench.ground.open() as opening:
        for number in range(4):
            await bench.commit(opening, b"text %d" % number)
        claim = bench.claim(opening, epoch=opening.volume.opened.epoch + 1)
        for number in range(3):
            bench.place(number, opening.volume.opened.epoch + 1).write_bytes(claim)
        with pytest.raises(Fenced):
            await bench.commit(opening, b"not any more")
        with pytest.raises((Fenced, ReadOnly)):
            await bench.commit(opening, b"nor now")


async def test_a_claim_that_is_still_being_written_is_looked_at_until_it_is_there(
        bench: Bench) -> None:
    """Its maker reads the log only when it is."""
    async with bench.ground.open() as opening:
        for number in range(3):
            await bench.commit(opening, b"text %d" % number)
        epoch = opening.volume.opened.epoch + 1
        files = [bench.place(number, epoch).open("wb", buffering=0) for number in range(3)]
        assert all([await bench.commit(opening, b"more %d" % number) >= 3 for number in range(3)])
        claim = bench.claim(opening, epoch=epoch)
        for file in files:
            file.write(claim[: BLOCK_LEN // 2])
        assert await bench.commit(opening, b"half of it") >= 3
        for file in files:
            file.write(claim[BLOCK_LEN // 2 :])
            file.close()
        with pytest.raises(Fenced):
            await bench.commit(opening, b"not any more")


async def test_where_nobody_tells_targets_are_listed_for_each_commit(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_watch, "LOCAL_TYPES", set())
    async with bench.ground.open() as opening:
        assert [await bench.commit(opening, b"text %d" % number) for number in range(3)] == [6] * 3
