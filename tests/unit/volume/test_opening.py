"""Opening a pool where little is there: no record, no claim, no answer, no two equal answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecfs.base.errors import (
    Fault,
    FsError,
    NotAPool,
    ReadOnly,
    TargetError,
    TooFewReachable,
    Unreadable,
)
from ecfs.base.units import KIB
from ecfs.formats import CLAIM_PATTERN, COMMITS_PATTERN, epochs_among
from ecfs.observe import EventKind
from ecfs.repair import replace_target
from ecfs.stripes import Member
from ecfs.targets import FaultyTarget, Outcome, Target
from ecfs.testing.quick import remember_keys
from ecfs.volume import OpenOptions, PoolOrder, Volume, membership, opening
from ecfs.volume.appending import RecordWriter
from ecfs.volume.background import Idle
from ecfs.volume.creating import lay_out
from ecfs.volume.opened import Opened
from ecfs.volume.records import LogView
from tests.crash.world import MemoryDisks, memory_ground
from tests.unit.volume.simulated import FOUR_AND_TWO, KDF, SECRET, Pool, get, put

LOOK = OpenOptions(read_only=True)
Settle = Callable[[Volume, RecordWriter, Member, Member], object]


class Bench:
    """A 4+2 pool with one file. `refused`: (number of a target, method, what a name begins with)
    of calls that fail with `fault`; `fatal`: likewise, those with which a target goes for good;
    `new` is a seventh target; `pulled` ones are not there."""

    def __init__(self, base: Path) -> None:
        self.disks = MemoryDisks()
        self.ground = memory_ground(base, self.disks, open_target=self._open)
        self.new = str(base / "new")
        self.places = (*self.ground.paths, self.new)
        self.refused: set[tuple[int, str, str]] = set()
        self.fatal: set[tuple[int, str, str]] = set()
        self.fault = Fault.FULL
        self.pulled: set[str] = set()

    def _open(self, path: str) -> Target:
        if path in self.pulled:
            raise TargetError(Fault.MISSING, f"{path} is not there")

        def meets(calls: set[tuple[int, str, str]], method: str, name: str) -> bool:
            return any(path == self.places[index] and method == called and name.startswith(begin)
                       for index, called, begin in calls)

        def plan(number: int, method: str, name: str, offset: int) -> Outcome:
            if meets(self.fatal, method, name):
                self.pulled.add(path)
            if path in self.pulled:
                return Fault.IO
            return self.fault if meets(self.refused, method, name) else None

        return FaultyTarget(self.disks.open(path), plan)

    async def make(self) -> None:
        await self.ground.create()
        async with self.ground.open() as opened:
            await opened.shell.write(b"file", b"content" * 900)

    async def cut_short(self, monkeypatch: pytest.MonkeyPatch, settle: Settle) -> None:
        """The machine dies while the third target is exchanged for the new one: in the place of
        its last step there is `settle`."""
        with monkeypatch.context() as patch:
            patch.setattr(membership, "_settle", settle)
            async with self.ground.open_and_crash() as opened:
                with pytest.raises(Died):
                    await replace_target(opened.volume, self.ground.paths[2], self.new)
        self.disks.crash()


class Died(Exception):
    """The machine."""


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    remember_keys(monkeypatch)
    monkeypatch.setattr("ecfs.volume.appending.COMMIT_PREALLOCATE_LEN", 64 * KIB)
    made = Bench(tmp_path / "pool")
    await made.make()
    return made


async def test_a_pool_that_mkfs_never_finished_is_none_yet(tmp_path: Path) -> None:
    """Its targets have labels, and there was no first checkpoint."""
    pool = Pool(tmp_path)
    lay_out(PoolOrder(pool.paths, FOUR_AND_TWO, SECRET, KDF), pool.environment(), b"p" * 16)
    for options in (LOOK, OpenOptions()):
        with pytest.raises(NotAPool, match="never finished by mkfs"):
            async with pool.mounted(options):
                raise AssertionError("opened")


async def test_a_pool_whose_records_are_all_gone_is_never_said_to_be_unfinished(pool: Pool) -> None:
    """Whoever made it anew would lose what can be salvaged."""
    async with pool.mounted() as volume:
        await put(volume, b"file", b"content")
    for memory in pool.memories.values():
        for name in memory.list_names():
            if COMMITS_PATTERN.fullmatch(name):
                memory.remove(name)
    with pytest.raises(Unreadable, match=r"no commit record can be read.*salvage"):
        async with pool.mounted(LOOK):
            raise AssertionError("opened")
    pool.absent = {pool.paths[3]}
    with pytest.raises(TooFewReachable):
        async with pool.mounted(LOOK):
            raise AssertionError("opened")


@pytest.mark.parametrize(("fault", "count"), [
    (Fault.FULL, 3), (Fault.READ_ONLY, 3), (Fault.READ_ONLY, 6)])
async def test_where_too_few_take_the_claim_the_pool_is_only_read(
        pool: Pool, fault: Fault, count: int) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"file", b"content" * 900)
    pool.fail_on(*range(count), methods=("create",))
    pool.fail = dict.fromkeys(pool.fail, fault)
    async with pool.mounted() as volume:
        assert f"only {6 - count} targets took the claim" in volume.read_only
        assert "claim.00" in volume.read_only, "the first reason is told"
        assert await get(volume, b"file") == b"content" * 900
    pool.heal()
    async with pool.mounted() as volume:
        assert not volume.read_only
        assert await get(volume, b"file") == b"content" * 900


async def test_records_that_no_member_shows_are_waited_for(bench: Bench) -> None:
    """Their labels were read; then all of them hang."""
    bench.fault = Fault.TIMEOUT
    bench.refused = {(number, "read", "commits") for number in range(6)}
    for options in (LOOK, OpenOptions()):
        with pytest.raises(TooFewReachable, match="0 of 6"):
            async with bench.ground.open(options):
                raise AssertionError("opened")
    bench.refused = set()
    async with bench.ground.open() as opened:
        assert await opened.shell.read(b"file") == b"content" * 900


async def test_a_gap_that_was_a_record_on_its_way_is_looked_at_once_more(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.crashing() as volume:
        await put(volume, b"a", b"1" * 900)
        await put(volume, b"b", b"2" * 900)
    real, views = opening._read_view, 0

    async def view_of(opened: Opened) -> LogView:
        nonlocal views
        view, views = await real(opened), views + 1
        if views <= late:
            del view.records[sorted(view.records)[-2]]
        return view

    monkeypatch.setattr(opening, "_read_view", view_of)
    late = 2
    with pytest.raises(TooFewReachable):
        async with pool.mounted(LOOK):
            raise AssertionError("opened")
    assert views == 2
    late, views = 1, 0
    async with pool.mounted(LOOK) as volume:
        assert await get(volume, b"b") == b"2" * 900
    assert views == 2


async def test_what_lies_after_a_gap_is_given_up_only_when_asked_and_said(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.crashing() as volume:
        await put(volume, b"a", b"1" * 900)
        await put(volume, b"b", b"2" * 900)
        await put(volume, b"c", b"3" * 900)
    real = opening._read_view

    async def view_of(opened: Opened) -> LogView:
        view = await real(opened)
        del view.records[sorted(view.records)[-2]]
        return view

    with monkeypatch.context() as patch:
        patch.setattr(opening, "_read_view", view_of)
        with pytest.raises(TooFewReachable, match="to give up what came after"):
            async with pool.mounted(LOOK):
                raise AssertionError("opened")
        # The anchor has seen what is given up.
        giving_up = replace(LOOK, drop_tail=True, accept_rollback=True)
        async with pool.mounted(giving_up) as volume:
            assert volume.journal.count(EventKind.TAIL_DROPPED) == 1
            assert await get(volume, b"a") == b"1" * 900
            with pytest.raises(FsError, match="ENOENT"):
                await get(volume, b"c")
    async with pool.mounted(LOOK) as volume:
        assert volume.journal.count(EventKind.TAIL_DROPPED) == 0
        assert await get(volume, b"c") == b"3" * 900


async def test_checkpoints_that_each_name_other_members_are_not_followed_for_ever(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pool that one writer after another wrote looks so; the reading is bounded."""
    real, looks = opening._read, 0

    async def read(opened: Opened, options: OpenOptions) -> None:
        nonlocal looks
        await real(opened, options)
        chain, looks = opened.chain, looks + 1
        assert chain is not None and chain.checkpoint.commit.root is not None
        root = replace(chain.root, members=(*chain.root.members[1:], bytes([looks]) * 16))
        commit = replace(chain.checkpoint.commit, root=root)
        opened.chain = replace(chain, checkpoint=replace(chain.checkpoint, commit=commit))

    monkeypatch.setattr(opening, "_read", read)
    with pytest.raises(TooFewReachable, match="each checkpoint that is found names other members"):
        async with pool.mounted(LOOK):
            raise AssertionError("opened")
    assert looks == opening.MEMBERSHIPS_FOLLOWED_MAX + 1


async def test_both_sets_of_members_need_the_claim_until_one_is_known_to_count(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest checkpoint names the new member, and labels do not."""
    real = membership._settle

    async def without_labels(volume: Volume, writer: RecordWriter, old: Member,
                             new: Member) -> None:
        async def write(pointer: object) -> set[bytes]:
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(volume.labeller, "write", write)
            await real(volume, writer, old, new)

    await bench.cut_short(monkeypatch, without_labels)
    # Four of the old members take the claim, and three of the new ones.
    bench.refused = {(number, "create", "claim") for number in (0, 1, 6)}
    async with bench.ground.open(paths=bench.places) as opened:
        assert "that the newest checkpoint names" in opened.volume.read_only
        assert await opened.shell.read(b"file") == b"content" * 900
    bench.refused = set()
    async with bench.ground.open(paths=bench.places) as opened:
        assert not opened.volume.read_only
        assert {member.path for member in opened.volume.fleet} == set(bench.places) - {
            bench.ground.paths[2]}
        assert await opened.shell.read(b"file") == b"content" * 900


async def test_an_exchange_that_cannot_go_on_leaves_the_pool_to_be_read(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its columns have moved; with two more away the records would be on too few new members."""
    async def only_columns(volume: Volume, writer: RecordWriter, old: Member, new: Member) -> None:
        await volume.commit()
        raise Died

    await bench.cut_short(monkeypatch, only_columns)
    bench.refused, bench.pulled = {(6, "write", "commits")}, set(bench.places[:2])
    async with bench.ground.open(paths=bench.places) as opened:
        assert "the commit records are on too few targets" in opened.volume.read_only
        assert isinstance(opened.volume.background, Idle)
    bench.refused, bench.pulled = set(), set()
    async with bench.ground.open(paths=bench.places) as opened:
        assert not opened.volume.read_only
        assert {member.path for member in opened.volume.fleet} == set(bench.places) - {
            bench.ground.paths[2]}
        assert await opened.shell.read(b"file") == b"content" * 900


async def crash_with_a_record_on(bench: Bench, holder: int) -> None:
    """The last writer got its newest record to one member only."""
    async with bench.ground.open_and_crash() as opened:
        await opened.shell.write(b"file", b"acknowledged")
        await opened.shell.fsync(b"file")
        bench.refused = {(number, "write", "commits") for number in range(6) if number != holder}
        await opened.shell.write(b"file", b"never known ")
        with pytest.raises(ReadOnly):
            await opened.shell.fsync(b"file")
    bench.refused = set()


def epochs_claimed(bench: Bench) -> list[int]:
    names = bench.disks.targets[bench.ground.paths[0]].list_names()
    return epochs_among(names, CLAIM_PATTERN)


@pytest.mark.parametrize("call", [("create", "commits"), ("sync", "commits")])
async def test_the_only_holder_of_the_newest_record_may_go_while_the_pool_is_opened(
        bench: Bench, call: tuple[str, str]) -> None:
    """It was adopted, so the others get it: what a mount shows stays."""
    await crash_with_a_record_on(bench, 5)
    before = epochs_claimed(bench)[0]
    bench.fatal = {(5, *call)}
    async with bench.ground.open() as opened:
        assert opened.volume.read_only == ""
        assert epochs_claimed(bench)[0] == before + 1
        assert (await opened.shell.read(b"file")).startswith(b"never known ")
        await opened.shell.write(b"file", b"and more")
        await opened.shell.fsync(b"file")
    bench.fatal, bench.pulled = set(), set()
    async with bench.ground.open() as opened:
        assert opened.volume.read_only == ""
        assert (await opened.shell.read(b"file")).startswith(b"and more")


async def test_where_the_others_are_too_few_to_know_the_pool_is_only_read(bench: Bench) -> None:
    """It may have been acknowledged by those that are away."""
    await crash_with_a_record_on(bench, 5)
    before = epochs_claimed(bench)[0]
    bench.fatal, bench.pulled = {(5, "sync", "commits")}, set(bench.places[1:3])
    async with bench.ground.open() as opened:
        assert "too few targets" in opened.volume.read_only
        assert epochs_claimed(bench)[0] == before + 1


async def test_where_nobody_else_can_take_an_adopted_record_the_pool_is_only_read(
        bench: Bench) -> None:
    await crash_with_a_record_on(bench, 5)
    before = epochs_claimed(bench)[0]
    bench.refused = {(number, "write", "commits") for number in range(4)}
    async with bench.ground.open() as opened:
        assert "too few targets" in opened.volume.read_only
        assert epochs_claimed(bench)[0] == before + 1
