"""Who is blamed for what a read meets, and what a read does while targets come and go."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest
import trio

from ecfs.base.errors import AppendRefused, Fault, NoSpace, TargetError, Unreadable
from ecfs.erasure import Geometry
from ecfs.formats import KIND_CONTENT, KIND_METADATA, column_name, encode_directory
from ecfs.observe import EventKind
from ecfs.sealing import UnitSealer
from ecfs.stripes import Written, access
from ecfs.stripes import sealed as sealed_module
from ecfs.targets import InlineLane, Job, MemoryTarget
from tests.unit.stripes.simulated import World

T = TypeVar("T")
EXTENTS = [b"first" * 3000, bytes(range(256)) * 900]
ACCUSATIONS = (EventKind.SHARD_BAD, EventKind.SHARD_MISSING)


async def durable(world: World, kind: int = KIND_CONTENT,
                  extents: Sequence[bytes] = EXTENTS) -> Written:
    (outcome,) = await world.store.sync([await world.store.append(
        kind, extents, lambda starts: encode_directory([]))])
    assert isinstance(outcome, Written)
    return outcome


async def read_all(world: World, stripe: Written) -> list[bytes]:
    layout = world.store.layout(stripe.ref)
    return [bytes((await world.store.read(stripe.ref, layout.units_of(start, len(extent)))).data)
            for start, extent in zip(stripe.starts, EXTENTS, strict=True)]


def accused(world: World) -> int:
    return sum(world.journal.count(kind) for kind in ACCUSATIONS)


def test_a_code_word_of_our_own_making_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealed wrongly, then coded and tagged as it is: every shard is good, no unit opens."""
    class WrongSealer(UnitSealer):
        def seal_run(self, index: int, aad: bytes, plaintext: memoryview, out: memoryview, *,
                     unit_len: int) -> None:
            super().seal_run(index, aad, plaintext, out, unit_len=unit_len)
            out[-1] ^= 1

    async def scenario() -> None:
        world = World(Geometry(4, 2), 6)
        good = await durable(world)
        with monkeypatch.context() as patch:
            patch.setattr(sealed_module, "UnitSealer", WrongSealer)
            wrong = await durable(world)
        world.store._openers.clear()
        with pytest.raises(Unreadable, match="no target is to blame"):
            await read_all(world, wrong)
        assert accused(world) == 0
        assert not (await world.store.examine(wrong.ref)).faults
        assert await read_all(world, good) == EXTENTS

    trio.run(scenario)


class Warm:
    """Lets every target have its bytes in memory; counts what is read so, and otherwise."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_count = self.waited_count = 0
        for memory in world.memories:
            monkeypatch.setattr(memory, "read", partial(self._read, memory.read))
        for target, memory in zip(world.targets, world.memories, strict=True):
            monkeypatch.setattr(target, "read_now", partial(self._now, memory))

    def _read(self, read: Callable[[str, int, int], bytes], name: str, offset: int,
              length: int) -> bytes:
        self.waited_count += 1
        return read(name, offset, length)

    def _now(self, memory: MemoryTarget, name: str, offset: int, length: int) -> bytes:
        self.now_count += 1
        data = memory.read(name, offset, length)
        self.waited_count -= 1
        return data


async def test_what_is_in_memory_is_read_without_the_lanes(
        monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    warm = Warm(world, monkeypatch)
    assert await read_all(world, stripe) == EXTENTS
    assert (warm.now_count, warm.waited_count) == (5, 0)
    units = world.store.layout(stripe.ref).units_of(stripe.starts[0], len(EXTENTS[0]))
    assert bytes(world.store.read_sync(stripe.ref, units).data) == EXTENTS[0]
    assert (warm.now_count, warm.waited_count) == (6, 0)
    # A late target may hang; who only looks into its memory could hang with it.
    lane = world.fleet[stripe.ref.segment.columns[units[0].shard]].lane
    assert lane is not None
    monkeypatch.setattr(lane, "is_late", lambda: True)
    assert bytes(world.store.read_sync(stripe.ref, units).data) == EXTENTS[0]
    assert warm.waited_count == 1


async def test_what_is_in_memory_and_wrong_is_told_and_decoded_as_ever(
        monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    unit = world.store.layout(stripe.ref).units_of(stripe.starts[0], len(EXTENTS[0]))[0]
    index = world.ids.index(stripe.ref.segment.columns[unit.shard])
    world.memories[index].write(
        column_name(3, stripe.ref.segment.id), stripe.ref.offset + stripe.ref.head_len,
        [bytes(stripe.ref.body_len)])
    Warm(world, monkeypatch)
    assert await read_all(world, stripe) == EXTENTS
    assert accused(world) > 0


async def test_what_a_target_never_acknowledged_it_is_not_blamed_for() -> None:
    world = World(Geometry(4, 2), 6)
    await durable(world)
    world.fail_one(2, Fault.IO, "write")
    stripe = await durable(world)
    member = world.fleet[world.ids[2]]
    assert stripe.missed == {member.id} and member.behind
    world.heal()
    examination = await world.store.examine(stripe.ref)
    assert [fault.missing for fault in examination.faults] == [True]
    assert accused(world) == 0
    # A shard that it does hold and that is wrong is another matter.
    memory = world.memories[2]
    memory.write(column_name(3, stripe.ref.segment.id), stripe.ref.offset,
                 [b"x" * stripe.ref.record_len])
    await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_BAD) == 1


def overwrite(world: World, stripe: Written, column: int, data: bytes) -> None:
    """Put other bytes where the shard of a column lies."""
    memory = world.memories[world.ids.index(stripe.ref.segment.columns[column])]
    memory.write(column_name(3, stripe.ref.segment.id), stripe.ref.offset, [data])


async def test_a_hole_is_a_shard_that_never_came_though_its_body_is_right() -> None:
    """A little stripe fills the body of one shard; the others get zeros, and so has a hole."""
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world, extents=[b"little"])
    overwrite(world, stripe, 3, bytes(stripe.ref.record_len))
    world.fleet[stripe.ref.segment.columns[3]].behind = True
    examination = await world.store.examine(stripe.ref)
    assert sorted(examination.bodies) == list(range(6))
    assert [(fault.column, fault.missing) for fault in examination.faults] == [(3, True)]
    assert accused(world) == 0
    # Bytes of another header are no hole.
    overwrite(world, stripe, 3, b"x")
    await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_BAD) == 1


async def test_holes_accuse_nobody_though_no_header_is_there_to_hold_them_against() -> None:
    """Who has the stripe is away; of those that are there, behind, none ever got it."""
    world = World(Geometry(2, 1), 3)
    stripe = await durable(world)
    columns = stripe.ref.segment.columns
    for column in (0, 1):
        overwrite(world, stripe, column, bytes(stripe.ref.record_len))
        world.fleet[columns[column]].behind = True
    world.fleet.mark_away(columns[2], "pulled")
    with pytest.raises(Unreadable, match="0 good shards of 3"):
        await world.store.examine(stripe.ref)
    assert accused(world) == 0
    # What is there and of another stripe is held against its target.
    overwrite(world, stripe, 1, b"x")
    with pytest.raises(Unreadable, match="0 good shards of 3"):
        await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_BAD) == accused(world) == 1


async def test_whoever_has_caught_up_is_blamed_again() -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    world.memories[2].remove(column_name(3, stripe.ref.segment.id))
    await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_MISSING) == 1


async def test_being_behind_excuses_only_what_may_have_been_missed() -> None:
    """What it acknowledged before is missing from it like from any other."""
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    world.memories[2].remove(column_name(3, stripe.ref.segment.id))
    world.fleet[world.ids[2]].behind = True
    await world.store.examine(stripe.ref)
    assert accused(world) == 0
    world.store.may_lack = lambda target_id, ref: False
    await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_MISSING) == 1


async def test_a_fenced_writer_does_not_blame_a_target_for_what_its_successor_removed() -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    world.memories[2].remove(column_name(3, stripe.ref.segment.id))
    world.store.is_fenced = lambda target: target is world.targets[2]
    examination = await world.store.examine(stripe.ref)
    assert [(fault.missing, fault.fenced) for fault in examination.faults] == [(True, True)]
    assert accused(world) == 0 and await read_all(world, stripe) == EXTENTS
    # One that is not claimed by another is.
    world.memories[3].remove(column_name(3, stripe.ref.segment.id))
    await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_MISSING) == 1


async def test_what_was_given_back_is_missed_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes late finds nothing, and accuses no target."""
    monkeypatch.setattr(access, "GIVEN_BACK_COUNT_MAX", 2)
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    segment = stripe.ref.segment
    for number in (1, 2, 3):
        world.memories[number].remove(column_name(3, segment.id))
    world.store.give_back([segment])
    with pytest.raises(Unreadable):
        await world.store.examine(stripe.ref)
    assert accused(world) == 0 and world.store.is_given_back(segment)
    # What was given back long ago is forgotten.
    world.store.give_back([replace(segment, id=1001), replace(segment, id=1002)])
    assert not world.store.is_given_back(segment)
    with pytest.raises(Unreadable):
        await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_MISSING) == 3


async def test_what_is_held_back_accuses_only_who_is_not_behind_in_the_end() -> None:
    """Each shard once, however often it was missed; what is there and wrong is told at once."""
    world = World(Geometry(3, 3), 6)
    stripe = await durable(world)
    name = column_name(3, stripe.ref.segment.id)
    for number in (1, 2):
        world.memories[number].remove(name)
    world.memories[3].write(name, stripe.ref.offset, [b"x" * stripe.ref.record_len])
    world.store.hold_back()
    for _ in range(3):
        await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_MISSING) == 0
    assert world.journal.count(EventKind.SHARD_BAD) == 3
    world.fleet[world.ids[2]].behind = True
    world.store.tell_held()
    told = [event for event in world.journal.recent(9) if event.kind is EventKind.SHARD_MISSING]
    assert [event.target for event in told] == [world.ids[1]]
    # From now on nothing is held back, and nothing is told twice.
    world.store.tell_held()
    assert world.journal.count(EventKind.SHARD_MISSING) == 1
    await world.store.examine(stripe.ref)
    assert world.journal.count(EventKind.SHARD_MISSING) == 2


async def test_what_is_held_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is past the bound is told at once; nothing is lost."""
    monkeypatch.setattr(access, "HELD_COUNT_MAX", 1)
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    for number in (1, 2):
        world.memories[number].remove(column_name(3, stripe.ref.segment.id))
    world.store.hold_back()
    for count in (1, 2):
        await world.store.examine(stripe.ref)
        assert world.journal.count(EventKind.SHARD_MISSING) == count
    world.store.tell_held()
    assert world.journal.count(EventKind.SHARD_MISSING) == 3
    assert {event.target for event in world.journal.recent(9)} == {world.ids[1], world.ids[2]}


async def test_past_the_parity_there_is_evidence_too() -> None:
    """Of a page that SQLite asked for as well, once for each shard, or left to who asks."""
    world = World(Geometry(2, 1), 3)
    stripe = await durable(world, KIND_METADATA)
    units = world.store.layout(stripe.ref).units_of(stripe.starts[1], len(EXTENTS[1]))
    for memory in world.memories:
        memory.remove(column_name(3, stripe.ref.segment.id))
    with pytest.raises(Unreadable):
        await world.store.examine(stripe.ref, note=False)
    assert accused(world) == 0
    with pytest.raises(Unreadable):
        world.store.read_sync(stripe.ref, units)
    assert world.journal.count(EventKind.SHARD_MISSING) == 3


async def test_evidence_is_left_to_who_asked_for_it() -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    world.memories[1].remove(column_name(3, stripe.ref.segment.id))
    examination = await world.store.examine(stripe.ref, note=False)
    assert len(examination.faults) == 1 and accused(world) == 0
    world.store.note(stripe.ref, examination.faults)
    assert accused(world) == 1


async def test_keys_of_stripes_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "OPENERS_MAX", 3)
    world = World(Geometry(2, 1), 3)
    stripes = [await durable(world) for _ in range(6)]
    for stripe in [*stripes, *stripes]:
        assert await read_all(world, stripe) == EXTENTS
    assert len(world.store._openers) == 3
    newest = world.store.opener(stripes[-1].ref)
    assert world.store.opener(stripes[-1].ref) is newest


class Vanishing(InlineLane):
    """A lane whose target is let go of while it works."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        super().__init__(name)
        self._then = then

    def post(self, job: Job) -> None:
        self._then()
        job.fail(TargetError(Fault.IO, "gone"))


async def test_a_page_is_read_though_a_target_goes_meanwhile() -> None:
    """SQLite waits inside a callback: what is left of the targets has to do."""
    world = World(Geometry(2, 2), 5)
    stripe = await durable(world, KIND_METADATA)
    columns = stripe.ref.segment.columns
    units = world.store.layout(stripe.ref).units_of(stripe.starts[1], len(EXTENTS[1]))
    away = [world.fleet[columns[units[0].shard]], world.fleet[columns[units[0].shard - 1]]]

    def let_go() -> None:
        away[1].target = None

    away[0].lane = Vanishing("gone", let_go)
    assert world.store.read_sync(stripe.ref, units).data == EXTENTS[1]
    # And when it is let go of between being counted as there and being asked.
    usable = world.store.usable(stripe.ref)
    lost = world.fleet[columns[units[0].shard]]
    lost.target = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.store, "usable", lambda ref: usable)
        assert world.store.read_sync(stripe.ref, units).data == EXTENTS[1]


async def test_before_a_stripe_is_lost_those_that_are_away_are_asked() -> None:
    """Disks that refused a write, or were late, are away, and show what they hold all the same."""
    world = World(Geometry(2, 1), 3)
    stripe = await durable(world)
    units = world.store.layout(stripe.ref).units_of(stripe.starts[1], len(EXTENTS[1]))
    for index in range(3):
        world.fail_one(index, Fault.READ_ONLY, "write", "create")
    with pytest.raises(AppendRefused):
        await durable(world)
    assert not world.fleet.online()
    assert await read_all(world, stripe) == EXTENTS
    assert world.store.read_sync(stripe.ref, units).data == EXTENTS[1]
    told = len(world.journal.recent(1000))
    world.fail_all(Fault.IO)
    with pytest.raises(Unreadable, match="0 good shards of 3"):
        await read_all(world, stripe)
    with pytest.raises(Unreadable, match="0 good shards of 3"):
        world.store.read_sync(stripe.ref, units)
    # Who is away and does not answer was told of when it went.
    assert len(world.journal.recent(1000)) == told and not accused(world)


async def test_who_is_there_is_asked_first() -> None:
    """An away target costs its deadline, so none is asked while the others are enough."""
    world = World(Geometry(2, 1), 3)
    stripe = await durable(world)
    gone = stripe.ref.segment.columns[0]
    world.fleet.mark_away(gone, "late")
    asked: list[str] = []

    def plan(method: str, name: str, offset: int) -> None:
        asked.append(method)

    world.fail[world.ids.index(gone)] = plan
    assert await read_all(world, stripe) == EXTENTS
    assert not asked


async def test_a_target_that_was_replaced_meanwhile_has_missed_the_stripe() -> None:
    """Between append and sync its member left the fleet: nobody can sync there any more."""
    world = World(Geometry(4, 2), 6)
    stripe = await world.store.append(KIND_CONTENT, EXTENTS, lambda starts: encode_directory([]))
    gone = stripe.ref.segment.columns[3]
    world.fleet.drop(gone)
    (outcome,) = await world.store.sync([stripe])
    assert isinstance(outcome, Written) and outcome.missed == {gone}
    world.fleet.drop(stripe.ref.segment.columns[0])
    (outcome,) = await world.store.sync([stripe])
    assert isinstance(outcome, Written) and outcome.missed == {gone}


async def test_an_abandoned_segment_does_not_close_the_other_stream() -> None:
    world = World(Geometry(2, 2), 4, liars=0)
    content, metadata = await durable(world), await durable(world, KIND_METADATA)
    stripe = await world.store.append(KIND_CONTENT, EXTENTS, lambda starts: encode_directory([]))
    world.fail_one(0, Fault.FULL, "sync")
    await world.store.sync([stripe])
    assert world.store.open_segment_ids() == {metadata.ref.segment.id}
    assert stripe.ref.segment.id == content.ref.segment.id


async def test_segments_that_were_let_go_of_grow_no_more() -> None:
    world = World(Geometry(2, 1), 3)
    content, metadata = await durable(world), await durable(world, KIND_METADATA)
    world.store.close_segments()
    assert world.store.open_segment_ids() == set()
    again = [await durable(world), await durable(world, KIND_METADATA)]
    assert not {one.ref.segment.id for one in again} & {
        content.ref.segment.id, metadata.ref.segment.id}


async def test_a_segment_that_goes_grows_no_more() -> None:
    """It is given back, or its place in the stream is needed: the other stream goes on."""
    world = World(Geometry(2, 1), 3)
    content, metadata = await durable(world), await durable(world, KIND_METADATA)
    world.store.close_segment(content.ref.segment.id)
    world.store.close_segment(999)
    assert world.store.open_segment_ids() == {metadata.ref.segment.id}
    assert (await durable(world)).ref.segment.id not in (content.ref.segment.id, 999)


async def test_a_member_that_returns_widens_only_what_was_narrow() -> None:
    world = World(Geometry(4, 2), 6)
    whole = await durable(world)
    world.fleet.mark_online(world.fleet[world.ids[5]])
    assert whole.ref.segment.id in world.store.open_segment_ids()
    world.fleet.mark_away(world.ids[5], "pulled")
    narrow = await durable(world)
    assert narrow.ref.geometry == Geometry(3, 2)
    world.fleet.mark_online(world.fleet[world.ids[5]])
    assert world.store.open_segment_ids() == set()
    assert (await durable(world)).ref.geometry == Geometry(4, 2)


async def test_names_that_are_occupied_for_ever_do_not_stop_the_world() -> None:
    """A liar says that every name is taken: after some it takes no part, and the others go on."""
    world = World(Geometry(2, 1), 3)
    world.fail_one(1, Fault.EXISTS, "create")
    before = world.store.next_segment
    stripe = await durable(world)
    assert stripe.ref.geometry == Geometry(1, 1) and world.store.next_segment - before == 4
    assert not world.fleet[world.ids[1]].online
    assert await read_all(world, stripe) == EXTENTS
    # What was made in vain is gone.
    for memory in (world.memories[0], world.memories[2]):
        folders = [f"segments/{folder}" for folder in memory.list_names("segments")]
        assert [f"{folder}/{name}" for folder in folders for name in memory.list_names(folder)] == [
            column_name(3, before + 3)]


async def test_names_that_are_occupied_everywhere_are_passed_in_bounded_tries() -> None:
    """As a copy of this client leaves them, which was not restored: nobody is to blame."""
    world = World(Geometry(2, 1), 3)
    world.fail_all(Fault.EXISTS, "create")
    before = world.store.next_segment
    with pytest.raises(AppendRefused, match="no segment could be opened"):
        await world.store.append(KIND_CONTENT, EXTENTS, lambda starts: encode_directory([]))
    assert world.store.next_segment - before == len(world.ids) + 2
    assert all(world.fleet[target_id].online for target_id in world.ids)
    world.heal()
    assert await read_all(world, await durable(world)) == EXTENTS


async def test_an_occupied_name_now_and_then_leaves_a_target_in() -> None:
    world = World(Geometry(2, 1), 3)
    for _ in range(4):
        for number in (0, 1):
            world.memories[1].create(column_name(3, world.store.next_segment + number), b"there")
        await durable(world)
        world.store.close_segments()
    assert world.fleet[world.ids[1]].online


async def test_a_file_that_somebody_put_in_a_columns_place_is_left_alone() -> None:
    """Though enough others would take the segment: what lies there is not ours to write to."""
    world = World(Geometry(2, 2), 4, liars=0)
    name = column_name(3, world.store.next_segment)
    world.memories[1].create(name, b"somebody's own".ljust(200_000, b"."))
    stripe = await durable(world)
    assert column_name(3, stripe.ref.segment.id) != name and not stripe.missed
    assert world.memories[1].read(name, 0, 1 << 20) == b"somebody's own".ljust(200_000, b".")
    assert world.fleet[world.ids[1]].online
    assert world.journal.count(EventKind.COLUMN_ABANDONED) == 1


async def test_content_leaves_the_reserve_to_metadata() -> None:
    """A full target takes metadata, so that files can still be deleted (threat 24)."""
    world = World(Geometry(2, 1), 4)
    for target_id in world.ids:
        world.fleet[target_id].full = True
    assert await read_all(world, await durable(world, KIND_METADATA)) == EXTENTS
    with pytest.raises(NoSpace):
        await durable(world, KIND_CONTENT)


async def test_later_bytes_have_a_higher_order() -> None:
    world = World(Geometry(2, 1), 3)
    heads = [(await world.store.read_directory((await durable(world)).ref))[0] for _ in range(3)]
    assert [head.order for head in heads] == [1, 2, 3]


async def test_a_target_sees_nothing_that_depends_on_content() -> None:
    """No boundary is chosen by content: two files of one length look the same but for their
    random-looking bytes (threat 41)."""
    seen = []
    for filling in (b"\0", b"abc", bytes(range(256))):
        world = World(Geometry(4, 2), 6)
        places = []
        for length in (1, 700, 65_536, 65_537, 300_000):
            extent = (filling * (length // len(filling) + 1))[:length]
            stripe = await world.store.append(
                KIND_CONTENT, [extent, extent[: length // 2]],
                lambda starts: encode_directory([]))
            places.append((stripe.ref.segment.id, stripe.ref.offset, stripe.ref.record_len,
                           stripe.starts))
        await world.store.sync([])
        sizes = [memory.size(column_name(3, 1)) for memory in world.memories]
        seen.append((places, sizes))
        for memory in world.memories:
            column = memory.read(column_name(3, 1), 0, 1 << 24)
            assert filling * 40 not in column or filling == b"\0"
    assert seen[0] == seen[1] == seen[2]
