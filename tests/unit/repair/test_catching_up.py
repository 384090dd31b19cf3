"""Catching up past dead stripes that cannot be read now, and when it is tried again."""

from collections.abc import Callable
from contextlib import aclosing
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from ecfs.base.errors import Fault, TargetError
from ecfs.base.ids import ROOT_INODE
from ecfs.formats import KIND_CONTENT, column_name
from ecfs.observe import EventKind
from ecfs.repair import MendingQueue, scrub
from ecfs.repair import mending as mending_module
from ecfs.repair.mending import catch_up
from ecfs.repair.walking import segments_of, walk
from ecfs.stripes import Member, StripeRef
from ecfs.volume import Volume
from tests.unit.repair.conftest import BIG, Pool, put


async def dead_stripe(volume: Volume) -> StripeRef:
    """A stripe of what a file held before it was written anew, in a segment that stays."""
    inode = await put(volume, ROOT_INODE, b"passing", BIG)
    await put(volume, ROOT_INODE, b"staying", BIG)
    await volume.files.write(inode, 0, bytes(reversed(BIG)))
    await volume.fsync(inode)
    await volume.checkpoint()
    for entry, kind, live in segments_of(volume):
        if kind == KIND_CONTENT and live:
            async with aclosing(walk(volume.store, entry, kind, live)) as stripes:
                async for ref, is_live in stripes:
                    if not is_live:
                        return ref
    raise AssertionError("no stripe is dead")


def spoil(pool: Pool, volume: Volume, ref: StripeRef, column: int, at: int) -> None:
    """Junk in a shard: at 0 in its header, at `ref.head_len` in its body."""
    where = ref.offset + at
    pool.edit(volume.fleet[ref.segment.columns[column]].path,
              column_name(ref.segment.epoch, ref.segment.id),
              lambda image: image.__setitem__(slice(where, where + 32), b"\xa5" * 32))


def part(pool: Pool, volume: Volume, ref: StripeRef, columns: list[int]) -> Callable[[], None]:
    """Take the targets of these columns away; what brings them back, as they were."""
    members = [volume.fleet[ref.segment.columns[column]] for column in columns]
    kept = [member.target for member in members]
    directories = [pool.targets.pop(member.path) for member in members]
    for member in members:
        volume.fleet.mark_away(member.id, "unplugged")

    def back() -> None:
        for member, target, directory in zip(members, kept, directories, strict=True):
            pool.targets[member.path] = directory
            member.target = target
            volume.fleet.mark_online(member)

    return back


def behind(volume: Volume) -> list[bytes]:
    """Who has to catch up."""
    return [member.id for member in volume.fleet if member.behind]


def late_one(volume: Volume, ref: StripeRef) -> Member:
    """The target of column 0, which has to catch up."""
    member = volume.fleet[ref.segment.columns[0]]
    volume.fleet.note_missed([member.id])
    return member


async def lost_for_now(pool: Pool, volume: Volume) -> tuple[Member, Callable[[], None]]:
    """A dead stripe without two shards, and a third away: who has to catch up, and what brings the
    third one back."""
    ref = await dead_stripe(volume)
    member = late_one(volume, ref)
    spoil(pool, volume, ref, 0, ref.head_len)
    spoil(pool, volume, ref, 1, ref.head_len)
    return member, part(pool, volume, ref, [5])


async def test_a_dead_stripe_that_is_lost_only_while_others_are_away_is_waited_for(
        pool: Pool) -> None:
    async with pool.open() as volume:
        member, back = await lost_for_now(pool, volume)
        await catch_up(volume, member)
        assert behind(volume) == [member.id] and volume.journal.count(EventKind.RESILVERED) == 0
        back()
        assert await catch_up(volume, member) >= 1
        assert behind(volume) == []
        assert (await scrub(volume)).bad_count == 0


async def test_a_stripe_that_nobody_there_knows_is_waited_for_and_not_for_ever(
        pool: Pool) -> None:
    """No header of it is left on those that are there; on those that come back too few shards."""
    async with pool.open() as volume:
        ref = await dead_stripe(volume)
        member = late_one(volume, ref)
        for column in range(4):
            spoil(pool, volume, ref, column, 0)
            spoil(pool, volume, ref, column, ref.head_len)
        back = part(pool, volume, ref, [4, 5])
        await catch_up(volume, member)
        assert behind(volume) == [member.id]
        back()
        await catch_up(volume, member)
        assert behind(volume) == []


async def test_trying_in_vain_pauses_until_another_target_is_back(
        pool: Pool, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock) -> None:
    tries: list[float] = []
    honest = mending_module.catch_up

    async def counted(volume: Volume, member: Member) -> int:
        tries.append(trio.current_time())
        return await honest(volume, member)

    monkeypatch.setattr(mending_module, "catch_up", counted)
    monkeypatch.setattr(mending_module._log, "warning", lambda *words: None)
    mock_clock.autojump_threshold = 0
    async with pool.open() as volume:
        member, back = await lost_for_now(pool, volume)
        queue = MendingQueue()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.run, volume)
            await trio.sleep(600)
            assert behind(volume) == [member.id]
            pauses = [later - sooner for sooner, later in pairwise(tries)]
            assert len(tries) < 20
            assert pauses == sorted(pauses) and 60 <= pauses[-1] <= 62
            back()
            await trio.sleep(2.5)
            assert behind(volume) == []
            nursery.cancel_scope.cancel()


async def test_what_a_late_write_left_in_memory_is_durable_before_it_counts(pool: Pool) -> None:
    """A write that was given up on is done after all, a moment before its target is back."""
    async with pool.open() as volume:
        await put(volume, ROOT_INODE, b"file", BIG)
        entry, ref = next((entry, ref) for entry, kind, live in segments_of(volume)
                          if kind == KIND_CONTENT for ref in live.values())
        name = column_name(entry.epoch, entry.id)
        member = volume.fleet[entry.columns[2]]
        target = pool.targets[member.path]
        record = target.read(name, ref.offset, ref.record_len)
        target.write(name, ref.offset, [bytes(len(record))])
        target.sync(name)
        target.write(name, ref.offset, [record])
        member.behind = True
        assert await catch_up(volume, member) == 0
        assert not member.behind
        target.crash()
        assert target.read(name, ref.offset, ref.record_len) == record


async def test_who_cannot_make_it_durable_has_not_caught_up(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.open() as volume:
        await put(volume, ROOT_INODE, b"file", BIG)
        member = next(iter(volume.fleet))
        target = pool.targets[member.path]
        dropped = []

        def refuse(name: str) -> None:
            raise TargetError(Fault.IO, "the disk takes nothing")

        member.behind = True
        with monkeypatch.context() as patch:
            patch.setattr(target, "sync", refuse)
            patch.setattr(target, "drop_cache", lambda name, low, length: dropped.append(name))
            await catch_up(volume, member)
        assert member.behind
        assert set(dropped) == {column_name(entry.epoch, entry.id)
                                for entry, _, _ in segments_of(volume)
                                if member.id in entry.columns}
        await catch_up(volume, member)
        assert not member.behind
