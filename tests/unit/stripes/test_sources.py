"""What a target that was replaced is still good for: stripes that would be lost without it."""

import pytest

from ecfs.base.errors import Fault, Unreadable
from ecfs.erasure import Geometry
from ecfs.formats import KIND_CONTENT, KIND_METADATA, column_name
from ecfs.stripes import Member, MemberState, Source, StripeLost, Written
from ecfs.targets import InlineLane, MemoryTarget
from tests.unit.stripes.simulated import World
from tests.unit.stripes.test_access import EXTENTS, accused, durable, read_all

NEW = b"n" * 16


class CountedTarget(MemoryTarget):
    """Counts how often it is closed."""

    closed_count = 0

    def close(self) -> None:
        self.closed_count += 1


async def replaced(world: World, column: int = 0) -> tuple[Written, Member]:
    """A stripe one of whose columns is that of a new, empty target."""
    stripe = await durable(world)
    old = world.fleet[stripe.ref.segment.columns[column]]
    new = Member(NEW, old.name, "memory:new", CountedTarget("memory:new"), InlineLane("new"),
                 MemberState.ONLINE, behind=True)
    new.source = old.as_source()
    world.fleet.exchange(old.id, new)
    columns = tuple(NEW if one == old.id else one for one in stripe.ref.segment.columns)
    object.__setattr__(stripe.ref.segment, "columns", columns)
    return stripe, new


async def test_the_old_target_is_asked_before_a_stripe_is_lost() -> None:
    world = World(Geometry(2, 1), 3)
    stripe, new = await replaced(world)
    assert await read_all(world, stripe) == EXTENTS
    world.fleet.mark_away(stripe.ref.segment.columns[1], "pulled")
    world.fleet[stripe.ref.segment.columns[1]].target = None
    assert await read_all(world, stripe) == EXTENTS
    units = world.store.layout(stripe.ref).units_of(stripe.starts[0], len(EXTENTS[0]))
    found = world.store.read_sync(stripe.ref, units)
    assert bytes(found.data) == EXTENTS[0] and found.faults
    examination = await world.store.examine(stripe.ref)
    assert set(examination.bodies) == {0, 2}
    assert [fault.column for fault in examination.faults] == [0]
    # It is what the new target lacks, and no fault of anybody.
    assert not accused(world)
    new.source = None
    with pytest.raises(Unreadable):
        await read_all(world, stripe)


async def test_the_old_target_is_asked_for_one_that_went_too() -> None:
    world = World(Geometry(2, 1), 3)
    stripe, new = await replaced(world)
    for target_id in (new.id, stripe.ref.segment.columns[1]):
        world.fleet.mark_away(target_id, "pulled")
        world.fleet[target_id].target = None
    assert await read_all(world, stripe) == EXTENTS
    assert set((await world.store.examine(stripe.ref)).bodies) == {0, 2}


async def test_what_rotted_on_the_old_target_is_not_believed_nor_told() -> None:
    world = World(Geometry(2, 1), 3)
    stripe, new = await replaced(world)
    world.fleet.mark_away(stripe.ref.segment.columns[1], "pulled")
    world.fleet[stripe.ref.segment.columns[1]].target = None
    assert new.source is not None
    name = column_name(stripe.ref.segment.epoch, stripe.ref.segment.id)
    new.source.target.write(name, stripe.ref.offset + stripe.ref.head_len, [b"\xa5" * 64])
    units = world.store.layout(stripe.ref).units_of(stripe.starts[0], len(EXTENTS[0]))
    for read in (world.store.read(stripe.ref, units), world.store.examine(stripe.ref)):
        with pytest.raises(StripeLost):
            await read
    with pytest.raises(StripeLost):
        world.store.read_sync(stripe.ref, units)
    assert not accused(world)


async def test_who_leaves_takes_no_shards() -> None:
    """Also where columns without a target have to be on somebody's list."""
    world = World(Geometry(2, 1), 3)
    leaving = world.fleet[world.ids[0]]
    before = await durable(world)
    world.fleet.mark_leaving(leaving)
    assert world.store.open_segment_ids() == set()
    stripe = await durable(world)
    assert leaving.online and leaving not in world.fleet.placeable()
    assert before.ref.segment.id != stripe.ref.segment.id
    assert leaving.id not in stripe.ref.segment.columns and stripe.ref.geometry == Geometry(1, 1)
    assert await read_all(world, before) == EXTENTS
    spare = await durable(world, KIND_METADATA)
    # On the list, for want of others, but no column was made there.
    assert leaving.id in spare.ref.segment.columns and spare.missed == {leaving.id}
    assert leaving.online
    world.store.close_segments()
    world.fleet.add(Member(NEW, "new", "memory:new"))
    metadata = await durable(world, KIND_METADATA)
    assert metadata.ref.segment.columns.count(NEW) == 1
    assert leaving.id not in metadata.ref.segment.columns
    world.fleet.drop(NEW)
    world.fleet.mark_leaving(leaving, leaving=False)
    assert (await durable(world)).ref.geometry == Geometry(2, 1)


@pytest.mark.parametrize("kind", [KIND_CONTENT, KIND_METADATA])
async def test_what_has_its_place_already_goes_to_who_leaves_too(
        kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is being sealed when the exchange begins, and no new target has a column of it yet."""
    world = World(Geometry(2, 1), 3)
    leaving = world.fleet[world.ids[0]]
    token = world.entropy.token

    def begins(length: int) -> bytes:
        world.fleet.mark_leaving(leaving)
        return token(length)

    with monkeypatch.context() as patch:
        patch.setattr(world.entropy, "token", begins)
        stripe = await durable(world, kind)
    assert leaving.leaving and not stripe.missed and not leaving.behind
    world.fleet.mark_away(world.ids[1], "pulled")
    world.fleet[world.ids[1]].target = None
    assert await read_all(world, stripe) == EXTENTS
    assert not world.store.open_segment_ids()


async def test_the_old_target_is_let_go_of_once_and_not_while_it_is_a_member() -> None:
    world = World(Geometry(2, 1), 3)
    old, new = CountedTarget("memory:old"), world.fleet[world.ids[0]]
    new.source = Source("memory:old", old, InlineLane("old"))
    world.fleet.let_go_source(new)
    world.fleet.let_go_source(new)
    assert old.closed_count == 1
    member = Member(NEW, "m", "memory:m", old, InlineLane("m"), MemberState.ONLINE)
    world.fleet.add(member)
    new.source = member.as_source()
    world.fleet.let_go_source(new)
    assert old.closed_count == 1
    assert Member(NEW, "m", "m").as_source() is None


async def test_the_old_target_that_is_late_is_left_for_lost() -> None:
    world = World(Geometry(2, 1), 3)
    stripe, new = await replaced(world)
    world.fleet.mark_away(stripe.ref.segment.columns[1], "pulled")
    world.fleet[stripe.ref.segment.columns[1]].target = None
    number = next(index for index, target in enumerate(world.targets)
                  if new.source is not None and target is new.source.target)
    world.fail_one(number, Fault.TIMEOUT)
    with pytest.raises(StripeLost):
        await read_all(world, stripe)
    assert not accused(world)
