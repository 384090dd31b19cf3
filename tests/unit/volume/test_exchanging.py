"""While a member is exchanged: who counts, from the first record that names the new one on."""

from pathlib import Path

import pytest

from ecfs.base.errors import ReadOnly, Refusal
from ecfs.base.units import KIB
from ecfs.metadata import Database
from ecfs.repair import replace_target
from ecfs.stripes import Member
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions, adopting, exchange_member, membership
from ecfs.volume.appending import RecordWriter
from tests.crash.world import MemoryDisks, memory_ground
from tests.unit.volume.test_opening import Bench, Died


@pytest.fixture
async def exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A pool with one file, and a place for a seventh target."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Bench(tmp_path / "pool")
    await made.make()
    return made


async def test_old_and_new_members_both_count_until_the_checkpoint_says_who(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before it leaves the old ones, after it the new ones: both must find every record."""
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    ground = memory_ground(tmp_path / "pool", MemoryDisks())
    await ground.create()
    groups: list[int] = []
    async with ground.open() as opening:
        await opening.shell.write(b"file", b"content" * 900)
        await opening.volume.fsync(None)
        writer = opening.volume.writer
        assert isinstance(writer, RecordWriter)
        real = adopting.note_exchange

        def spy(database: Database, old: Member, new: Member, next_segment: int) -> None:
            groups.append(len(writer._groups))
            real(database, old, new, next_segment)

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


@pytest.mark.parametrize(("refused", "reason"), [
    (("create", "claim"), "does not take files"), (("create", "commits"), "does not take files"),
    (("write", "commits"), "does not take the commit records")])
async def test_a_new_target_that_takes_too_little_changes_nothing(
        exchanged: Bench, refused: tuple[str, str], reason: str) -> None:
    """It has no record that a later mount could ask it for."""
    exchanged.refused = {(6, *refused)}
    async with exchanged.ground.open() as opening:
        volume = opening.volume
        label = volume.labeller.label
        with pytest.raises(Refusal, match=reason):
            await replace_target(volume, exchanged.ground.paths[2], exchanged.new)
        after = volume.labeller.label
        assert (after.members, after.targets) == (label.members, label.targets)
        assert {member.path for member in volume.fleet} == set(exchanged.ground.paths)
        assert volume.writer is not None and volume.writer._groups == (label.members,)
        await opening.shell.write(b"later", b"l" * 900)
        await volume.fsync(None)
    async with exchanged.ground.open() as opening:
        assert not opening.volume.read_only
        assert await opening.shell.read(b"later") == b"l" * 900


async def test_a_member_that_never_came_is_exchanged_too(exchanged: Bench) -> None:
    exchanged.pulled = {exchanged.ground.paths[2]}
    async with exchanged.ground.open() as opening:
        report = await replace_target(opening.volume, exchanged.ground.paths[2], exchanged.new)
        assert report.complete
    exchanged.pulled = set()
    async with exchanged.ground.open() as opening:
        assert {member.path for member in opening.volume.fleet} == set(exchanged.places) - {
            exchanged.ground.paths[2]}
        assert await opening.shell.read(b"file") == b"content" * 900


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_new_target_of_an_exchange_that_did_not_begin_is_let_go(
        exchanged: Bench, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """Labels name it beside the old one, and no column is its own."""
    async def dies(*_: object) -> bool:
        raise Died

    monkeypatch.setattr(membership, "_join", dies)
    async with exchanged.ground.open_and_crash() as opening:
        with pytest.raises(Died):
            await replace_target(opening.volume, exchanged.ground.paths[2], exchanged.new)
    exchanged.disks.crash()
    exchanged.pulled = set() if is_there else {exchanged.new}
    async with exchanged.ground.open(paths=exchanged.places) as opening:
        assert any("its exchange was cut short" in message
                   for message in opening.volume.opened.located.messages)
        assert {member.path for member in opening.volume.fleet} == set(exchanged.ground.paths)
        assert not opening.volume.read_only
        assert await opening.shell.read(b"file") == b"content" * 900


@pytest.mark.parametrize("fails", [True, False])
async def test_the_old_target_stays_until_labels_leave_it_out(
        exchanged: Bench, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """Or the next writer, who counts by labels, could miss what it was not asked to keep."""
    async with exchanged.ground.open() as opening:
        volume = opening.volume
        old = list(volume.fleet)[2]
        old.leaving = True

        async def refused(**_: object) -> None:
            raise ReadOnly("too few")

        with monkeypatch.context() as patch:
            if fails:
                patch.setattr(volume, "checkpoint", refused)
            await membership.resume_exchange(volume)
        assert (old in list(volume.fleet)) is fails
        old.leaving = False
