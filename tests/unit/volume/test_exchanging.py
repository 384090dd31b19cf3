"""While a member is exchanged: who counts, from the first record that names the new one on."""

from pathlib import Path

import pytest

from ecfs.base.errors import ReadOnly
from ecfs.base.units import KIB
from ecfs.metadata import Database
from ecfs.repair import replace_target
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions, adopting, exchange_member, membership
from ecfs.volume.records import RecordWriter
from tests.crash.world import MemoryDisks, memory_ground


async def test_old_and_new_members_both_count_until_the_checkpoint_says_who(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before it leaves the old ones, after it the new ones: both must find every record."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.records.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    ground = memory_ground(tmp_path / "pool", MemoryDisks())
    await ground.create()
    groups: list[int] = []
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"content" * 900)
        await opening.volume.fsync(None)
        writer = opening.volume.writer
        assert isinstance(writer, RecordWriter)
        real = adopting.note_exchange

        def spy(database: Database, old: bytes, new: bytes) -> None:
            groups.append(len(writer._groups))
            real(database, old, new)

        monkeypatch.setattr(membership, "note_exchange", spy)
        await replace_target(opening.volume, ground.paths[2], str(ground.base / "t9"))
        assert groups == [2] and len(writer._groups) == 1
        assert await opening.shell.read(b"file") == b"content" * 900


async def test_a_pool_that_is_only_read_exchanges_nobody(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_keys(monkeypatch)
    ground = memory_ground(tmp_path / "pool", MemoryDisks())
    await ground.create()
    async with ground.open(OpenOptions(read_only=True)) as opening:
        one, other = list(opening.volume.fleet)[:2]
        with pytest.raises(ReadOnly):
            await exchange_member(opening.volume, one, other)
