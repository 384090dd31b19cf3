"""A target catches up while things are deleted: what is gone lacks nowhere."""

import pytest

from ecfs.base.errors import Damage
from ecfs.base.ids import ROOT_INODE
from ecfs.formats import column_name
from ecfs.observe import EventKind
from ecfs.repair import mending
from ecfs.repair.mending import GONE, Mended, catch_up, mend_column, mend_stripe
from ecfs.stripes import Member, StripeRef, StripeStore
from ecfs.volume import Volume
from tests.unit.repair.conftest import BIG, Pool, put

NAMES = [b"f%d" % number for number in range(6)]


async def filled(pool: Pool, volume: Volume) -> tuple[Member, int]:
    """Files with a stripe each in one segment; a target that has lost its column of it, and the
    segment."""
    for name in NAMES:
        await put(volume, ROOT_INODE, name, BIG[:200_000])
    (segment_id,) = volume.store.open_segment_ids() & set(volume.files.index.segments)
    entry = volume.files.index.segments[segment_id]
    volume.store.close_segments()
    await volume.checkpoint()
    member = volume.fleet[entry.columns[0]]
    assert member.target is not None
    member.target.remove(column_name(entry.epoch, entry.id))
    member.behind = True
    return member, segment_id


async def delete(volume: Volume, *names: bytes) -> None:
    for name in names:
        inode = volume.tree.lookup(ROOT_INODE, name).inode
        volume.tree.unlink(ROOT_INODE, name)
        volume.files.discard([inode])
    await volume.commit()


@pytest.mark.parametrize("all_go", [False, True])
async def test_what_is_given_back_meanwhile_is_not_lacking(
        pool: Pool, all_go: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last file's stripe is punched, or the whole segment is removed, when the first stripe of
    it is about to be looked at."""
    async with pool.open() as volume:
        member, segment_id = await filled(pool, volume)
        begun: list[StripeRef] = []

        async def looked_at(store: StripeStore, ref: StripeRef, who: Member) -> str:
            if ref.segment.id == segment_id and not begun:
                begun.append(ref)
                await delete(volume, *(NAMES if all_go else NAMES[-1:]))
                await volume.background.tidy()
                await volume.background.reclaim()
            return await mend_column(store, ref, who)

        monkeypatch.setattr(mending, "mend_column", looked_at)
        assert await catch_up(volume, member)
        assert begun and volume.store.is_given_back(begun[0].segment) is all_go
        assert not member.behind
        assert volume.journal.count(EventKind.RESILVERED) == 1
        assert volume.files.tables.behind() == set()


@pytest.mark.parametrize("dies", [False, True])
async def test_what_died_and_cannot_be_read_is_not_lacking(
        pool: Pool, dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes were not given back (yet), but nobody asks for them any more."""
    async with pool.open() as volume:
        member, segment_id = await filled(pool, volume)
        lost: list[StripeRef] = []

        async def loses_one(store: StripeStore, ref: StripeRef) -> Mended:
            if ref.segment.id == segment_id and not lost:
                lost.append(ref)
                if dies:
                    await delete(volume, *NAMES)
                raise Damage("too few are good")
            return await mend_stripe(store, ref)

        monkeypatch.setattr(mending, "mend_stripe", loses_one)
        await catch_up(volume, member)
        assert lost and member.behind is not dies


async def test_a_stripe_that_is_gone_is_neither_good_nor_bad(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.open() as volume:
        member, segment_id = await filled(pool, volume)
        ref = volume.files.index.ref_of(volume.files.tables.stripes_of(segment_id)[0])
        monkeypatch.setattr(volume.store, "is_gone", lambda ref: True)
        assert await mend_column(volume.store, ref, member) == GONE
