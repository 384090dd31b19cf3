"""Mending one shard: from what, into what, and how it is known to have worked (threat 53)."""

from collections.abc import Mapping, Sequence

import pytest

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.erasure import Code, Geometry
from ecfs.formats import KIND_CONTENT, KIND_METADATA, column_name, encode_directory
from ecfs.observe import EventKind
from ecfs.repair import MendingQueue
from ecfs.repair import mending as mending_module
from ecfs.repair.mending import Mended, catch_up, mend_column, mend_stripe
from ecfs.stripes import Member, StripeRef, StripeStore, Written
from ecfs.targets import Buffer, FaultyTarget, Outcome, Target
from tests.unit.repair.conftest import Pool
from tests.unit.stripes.simulated import World

EXTENTS = [b"first" * 3000, bytes(range(256)) * 900]
GEOMETRY = Geometry(4, 2)


async def durable(world: World, kind: int = KIND_CONTENT) -> Written:
    (outcome,) = await world.store.sync([await world.store.append(
        kind, EXTENTS, lambda starts: encode_directory([]))])
    assert isinstance(outcome, Written)
    return outcome


def member_of(world: World, stripe: Written, column: int) -> Member:
    return world.fleet[stripe.ref.segment.columns[column]]


def name_of(stripe: Written) -> str:
    return column_name(stripe.ref.segment.epoch, stripe.ref.segment.id)


def images(world: World, stripe: Written) -> list[bytes]:
    """The columns of the stripe's segment, in order of columns."""
    ids = stripe.ref.segment.columns
    return [world.memories[world.ids.index(one)].read(name_of(stripe), 0, 1 << 26) for one in ids]


def rot(world: World, stripe: Written, column: int, at: int = 0) -> None:
    memory = world.memories[world.ids.index(stripe.ref.segment.columns[column])]
    memory.write(name_of(stripe), stripe.ref.offset + stripe.ref.head_len + at, [b"\xff\x00rot"])


@pytest.mark.parametrize("columns", [(0,), (3,), (4,), (5,), (1, 4), (2, 5), (4, 5)])
async def test_mended_shards_are_what_they_were_and_others_are_left_alone(
        columns: tuple[int, ...]) -> None:
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    before = images(world, stripe)
    for column in columns:
        rot(world, stripe, column)
    for memory in world.memories:
        # What rotted is on the medium; only what follows can be taken back by a crash.
        memory.crash(keep=lambda number: True)
    done = await mend_stripe(world.store, stripe.ref)
    assert done.bad == done.mended == columns
    assert images(world, stripe) == before
    assert world.journal.count(EventKind.SHARD_MENDED) == len(columns)
    # Durable: a crash now takes nothing of it back.
    for memory in world.memories:
        memory.crash()
    assert images(world, stripe) == before
    assert (await mend_stripe(world.store, stripe.ref)).bad == ()


@pytest.mark.parametrize("column", range(6))
async def test_a_column_that_is_gone_comes_back_with_its_header(column: int) -> None:
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    before = images(world, stripe)
    target_id = stripe.ref.segment.columns[column]
    world.memories[world.ids.index(target_id)].remove(name_of(stripe))
    assert (await mend_stripe(world.store, stripe.ref)).mended == (column,)
    assert images(world, stripe) == before


class WrongCode(Code):
    """Reconstructs something, but not what was lost."""

    def reconstruct(self, present: Mapping[int, Buffer], wanted: Sequence[int],
                    body_len: int) -> dict[int, bytearray]:
        made = super().reconstruct(present, wanted, body_len)
        for body in made.values():
            body[7] ^= 1
        return made


async def test_what_was_reconstructed_wrongly_is_never_written() -> None:
    """Our own bug, or bad memory: it is found before it reaches a target."""
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    world.store._codes[GEOMETRY] = WrongCode(GEOMETRY)
    rot(world, stripe, 2)
    rotten = images(world, stripe)
    with pytest.raises(Damage, match="does not match its tag"):
        await mend_stripe(world.store, stripe.ref)
    assert images(world, stripe) == rotten


class Forgetful(FaultyTarget):
    """Acknowledges writes and syncs, and keeps nothing of them."""

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        self.inner.size(name)


async def test_a_target_that_does_not_keep_what_it_took_is_not_mended() -> None:
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    rot(world, stripe, 1)
    member = member_of(world, stripe, 1)
    index = world.ids.index(member.id)
    member.target = Forgetful(world.memories[index])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mending_module._log, "warning", lambda *words: None)
        done = await mend_stripe(world.store, stripe.ref)
        assert (done.bad, done.mended) == ((1,), ())
        assert await mend_column(world.store, stripe.ref, member) == "failed"
    assert world.journal.count(EventKind.SHARD_MENDED) == 0


async def test_a_header_that_is_wrong_is_put_right_too() -> None:
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    before = images(world, stripe)
    index = world.ids.index(stripe.ref.segment.columns[3])
    world.memories[index].write(name_of(stripe), 5, [b"rot"])
    world.memories[index].write(name_of(stripe), stripe.ref.offset + 20, [b"rot"])
    assert (await mend_stripe(world.store, stripe.ref)).mended == (3,)
    assert images(world, stripe) == before


async def test_known_faults_are_not_told_twice() -> None:
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    rot(world, stripe, 0)
    rot(world, stripe, 1)
    await mend_stripe(world.store, stripe.ref, known=[0])
    assert world.journal.count(EventKind.SHARD_BAD) == 1


async def test_a_column_is_mended_only_where_it_is_bad() -> None:
    world = World(GEOMETRY, 6)
    stripe = await durable(world, KIND_METADATA)
    member = member_of(world, stripe, 2)
    assert await mend_column(world.store, stripe.ref, member) == "good"
    rot(world, stripe, 2)
    assert await mend_column(world.store, stripe.ref, member) == "mended"
    member.lane = None
    assert await mend_column(world.store, stripe.ref, member) == "failed"


@pytest.mark.parametrize(("is_done", "outcome"), [(True, "good"), (False, "failed")])
async def test_a_column_that_somebody_else_mends_meanwhile_is_good_when_it_reads_so(
        monkeypatch: pytest.MonkeyPatch, is_done: bool, outcome: str) -> None:
    """Nothing is bad any more when all shards are looked at: or was it not there to be looked at?
    """
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    rot(world, stripe, 2)
    real = mend_stripe

    async def mended_before(store: StripeStore, ref: StripeRef) -> Mended:
        if is_done:
            await real(store, ref)
        return Mended((), ())

    monkeypatch.setattr(mending_module, "mend_stripe", mended_before)
    assert await mend_column(world.store, stripe.ref, member_of(world, stripe, 2)) == outcome


async def test_the_queue_is_bounded_and_holds_each_stripe_once(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending_module, "MENDING_QUEUE_LEN_MAX", 2)
    world = World(GEOMETRY, 6)
    stripes = [await durable(world) for _ in range(3)]
    queue = MendingQueue()
    for stripe in [stripes[0], *stripes, stripes[2], stripes[1]]:
        queue.report(stripe.ref, [])
    assert len(queue) == 2 and queue.dropped_count == 2


def failing_columns(target: Target, told: list[str]) -> Target:
    """A way to a target that takes no bytes of columns."""
    def plan(number: int, method: str, name: str, offset: int) -> Outcome:
        if method == "write" and name.endswith(".col"):
            told.append(name)
            return Fault.IO
        return None

    return FaultyTarget(target, plan)


async def test_who_could_not_be_brought_up_to_date_stays_behind(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending_module._log, "warning", lambda *words: None)
    async with pool.open() as volume:
        member = next(iter(volume.fleet))
        inner = member.target
        assert inner is not None
        member.behind = True
        for name in pool.columns(member.path):
            pool.edit(member.path, name, lambda column: column.__setitem__(
                slice(4200, 4300), bytes(100)))
        told: list[str] = []
        member.target = failing_columns(inner, told)
        await catch_up(volume, member)
        assert told
        assert [one.id for one in volume.fleet if one.behind] == [member.id]
        member.target = inner
        done: list[tuple[int, str]] = []

        def note(length: int, outcome: str) -> None:
            done.append((length, outcome))

        assert await catch_up(volume, member, note) > 0
        assert {outcome for _, outcome in done} == {"good", "mended"}
        assert [one.id for one in volume.fleet if one.behind] == []
        assert volume.files.tables.behind() == set()


async def test_a_mount_that_finds_a_target_without_columns_says_so() -> None:
    """A column that cannot be made on its target leaves the stripe as it was."""
    world = World(GEOMETRY, 6)
    stripe = await durable(world)
    index = world.ids.index(stripe.ref.segment.columns[4])
    world.memories[index].remove(name_of(stripe))
    world.fail_one(index, Fault.FULL, "create", "write")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mending_module._log, "warning", lambda *words: None)
        done = await mend_stripe(world.store, stripe.ref)
    assert (done.bad, done.mended) == ((4,), ())
    with pytest.raises(TargetError):
        world.memories[index].read(name_of(stripe), 0, 1)


async def test_who_misses_more_while_it_catches_up_has_not_caught_up(pool: Pool) -> None:
    """A checkpoint may be under way whose stripes nobody finds yet."""
    async with pool.open() as volume:
        member = next(iter(volume.fleet))
        volume.fleet.note_missed([member.id])

        def note(length: int, outcome: str) -> None:
            volume.fleet.note_missed([member.id])

        await catch_up(volume, member, note)
        assert [one.id for one in volume.fleet if one.behind] == [member.id]
        assert volume.journal.count(EventKind.RESILVERED) == 0
        await catch_up(volume, member)
        assert [one.id for one in volume.fleet if one.behind] == []


async def test_who_lacks_what_no_checkpoint_names_yet_has_not_caught_up(pool: Pool) -> None:
    async with pool.open() as volume:
        member = next(iter(volume.fleet))
        volume.fleet.note_missed([member.id], named=False)
        await catch_up(volume, member)
        assert [one.id for one in volume.fleet if one.behind] == [member.id]
        await volume.checkpoint()
        assert volume.files.tables.behind() == {member.id}
        await catch_up(volume, member)
        assert [one.id for one in volume.fleet if one.behind] == []
