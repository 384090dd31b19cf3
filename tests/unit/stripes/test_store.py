"""Appending, syncing and reading stripes while targets fail in every way."""

import itertools
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ecfs.base.errors import AppendRefused, Bug, Fault, NoSpace, TargetError, Unreadable
from ecfs.base.limits import COLUMN_HEADER_LEN
from ecfs.erasure import Geometry
from ecfs.formats import (
    KIND_CONTENT,
    KIND_METADATA,
    POSITION_MAX,
    ExtentNote,
    column_name,
    decode_directory,
    encode_directory,
    peek_column_header,
)
from ecfs.observe import EventKind
from ecfs.stripes import MemberState, Written
from tests.unit.stripes.simulated import TrioClock, World

EXTENTS = [b"first" * 3000, b"2", bytes(range(256)) * 900]


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


def directory_of(starts: tuple[int, ...]) -> bytes:
    return encode_directory([
        ExtentNote(start, len(extent), 7, 0, 0, 1, b"name", 0o100644, 5)
        for start, extent in zip(starts, EXTENTS, strict=True)])


async def append(world: World, kind: int = KIND_CONTENT) -> Written:
    return await world.store.append(kind, EXTENTS, directory_of)


async def durable(world: World, kind: int = KIND_CONTENT) -> Written:
    (outcome,) = await world.store.sync([await append(world, kind)])
    assert isinstance(outcome, Written)
    return outcome


async def read_all(world: World, stripe: Written) -> list[bytes]:
    layout = world.store.layout(stripe.ref)
    return [bytes((await world.store.read(stripe.ref, layout.units_of(start, len(extent)))).data)
            for start, extent in zip(stripe.starts, EXTENTS, strict=True)]


async def test_a_directory_longer_than_it_was_said_to_be_is_a_bug(clock: MockClock) -> None:
    world = World(Geometry(4, 2), 6)
    most = len(directory_of((POSITION_MAX,) * len(EXTENTS)))
    stripe = await world.store.append(KIND_CONTENT, EXTENTS, directory_of, most)
    assert await read_all(world, stripe) == EXTENTS
    with pytest.raises(Bug, match="were reserved"):
        await world.store.append(KIND_CONTENT, EXTENTS, directory_of, 40)


def crash(world: World) -> None:
    for memory in world.memories:
        memory.crash()


def test_geometry_of_both_streams() -> None:
    world = World(Geometry(4, 2), 6)

    async def scenario() -> None:
        content, metadata = await durable(world), await durable(world, KIND_METADATA)
        assert content.ref.geometry == Geometry(4, 2)
        assert metadata.ref.geometry == Geometry(3, 3)
        for stripe in (content, metadata):
            name = column_name(3, stripe.ref.segment.id)
            for column, target_id in enumerate(stripe.ref.segment.columns):
                memory = world.memories[world.ids.index(target_id)]
                header = peek_column_header(memory.read(name, 0, COLUMN_HEADER_LEN))
                assert (header.column, header.segment, header.epoch) == (
                    column, stripe.ref.segment.id, 3)
                assert (header.data, header.parity) == (
                    stripe.ref.geometry.data, stripe.ref.geometry.parity)
        assert await read_all(world, content) == EXTENTS

    trio.run(scenario)


async def test_the_directory_says_where_the_extents_lie() -> None:
    world = World(Geometry(2, 2), 4)
    stripe = await durable(world)
    head, directory = await world.store.read_directory(stripe.ref)
    assert head.extents_count == len(EXTENTS)
    assert [note.start for note in decode_directory(directory)] == list(stripe.starts)
    assert head.kind == KIND_CONTENT
    assert (await durable(world)).ref.offset == stripe.ref.offset + stripe.ref.record_len


async def test_what_was_synced_survives_a_crash() -> None:
    world = World(Geometry(4, 2), 6)
    stripes = [await append(world) for _ in range(3)]
    assert all(isinstance(one, Written) for one in await world.store.sync(stripes))
    crash(world)
    for stripe in stripes:
        assert await read_all(world, stripe) == EXTENTS


@pytest.mark.parametrize("fault", [Fault.IO, Fault.TIMEOUT, Fault.MISSING, "short", "after"])
async def test_a_target_that_fails_a_write_is_away_and_noted_as_missing(fault: Fault) -> None:
    world = World(Geometry(4, 2), 6)
    first = await durable(world)
    world.fail_one(2, fault, "write")
    stripe = await durable(world)
    assert stripe.missed == {world.ids[2]}
    assert world.fleet[world.ids[2]].state is MemberState.AWAY
    assert world.journal.count(EventKind.TARGET_AWAY) == 1
    assert await read_all(world, stripe) == EXTENTS
    narrow = await durable(world)
    assert narrow.ref.geometry == Geometry(3, 2) and not narrow.missed
    assert narrow.ref.segment.id != first.ref.segment.id
    crash(world)
    for one in (first, stripe, narrow):
        assert await read_all(world, one) == EXTENTS


async def test_nothing_is_written_where_something_is() -> None:
    """A column that grew by itself, or by a copy of this client: the segment is abandoned."""
    world = World(Geometry(4, 2), 6)
    first = await durable(world)
    name = column_name(3, first.ref.segment.id)
    at = first.ref.offset + first.ref.record_len
    world.memories[2].write(name, at, [b"other" * 1000])
    stripe = await durable(world)
    assert stripe.missed == {world.ids[2]}
    assert world.memories[2].read(name, at, 5000) == b"other" * 1000
    assert world.fleet[world.ids[2]].state is MemberState.ONLINE
    assert world.journal.count(EventKind.COLUMN_ABANDONED) == 1
    following = await durable(world)
    assert following.ref.segment.id != first.ref.segment.id and not following.missed
    assert await read_all(world, stripe) == EXTENTS


async def test_a_full_target_takes_no_more_but_is_read() -> None:
    world = World(Geometry(4, 2), 6)
    world.fail_one(1, Fault.FULL, "write", "create")
    await durable(world)
    member = world.fleet[world.ids[1]]
    assert member.full and member.state is MemberState.ONLINE


async def test_fewer_than_w_data_refuse_the_stripe_and_the_next_is_narrower() -> None:
    """4+2 with one liar withstood: five shards are durable, four are not."""
    world = World(Geometry(4, 2), 6, liars=1)
    await durable(world)
    world.fail_one(0, Fault.IO, "write")
    world.fail_one(1, Fault.IO, "write")
    with pytest.raises(AppendRefused):
        await append(world)
    stripe = await durable(world)
    assert stripe.ref.geometry == Geometry(2, 2)
    assert not {world.ids[0], world.ids[1]} & set(stripe.ref.segment.columns)
    assert await read_all(world, stripe) == EXTENTS


async def test_w_data_counts_syncs_too() -> None:
    world = World(Geometry(4, 2), 6, liars=1)
    await durable(world)
    stripe = await append(world)
    world.fail_one(0, Fault.IO, "sync")
    (outcome,) = await world.store.sync([stripe])
    assert isinstance(outcome, Written) and outcome.missed == {world.ids[0]}
    world.heal()
    stripe = await append(world)
    for index in (0, 1):
        world.fail_one(index, Fault.IO, "sync")
    (outcome,) = await world.store.sync([stripe])
    assert isinstance(outcome, AppendRefused)


async def test_a_segment_whose_sync_failed_is_abandoned() -> None:
    world = World(Geometry(2, 2), 4, liars=0)
    stripe = await append(world)
    world.fail_one(0, Fault.IO, "sync")
    await world.store.sync([stripe])
    assert world.journal.count(EventKind.COLUMN_ABANDONED) == 1
    assert stripe.ref.segment.id not in world.store.open_segment_ids()
    world.heal()
    assert (await durable(world)).ref.segment.id != stripe.ref.segment.id


async def test_an_occupied_name_is_given_up() -> None:
    world = World(Geometry(2, 1), 3)
    world.memories[1].create(column_name(3, 1), b"somebody was here")
    stripe = await durable(world)
    assert stripe.ref.segment.id == 2
    assert world.fleet[world.ids[1]].online
    assert world.memories[1].read(column_name(3, 1), 0, 100) == b"somebody was here"


async def test_one_data_shard_goes_on_with_targets_away() -> None:
    world = World(Geometry(1, 2), 3, liars=0)
    await durable(world)
    world.fail_one(0, Fault.IO)
    stripe = await durable(world)
    world.fail_one(1, Fault.IO)
    last = await durable(world)
    assert last.ref.geometry == Geometry(1, 2)
    for one in (stripe, last):
        assert await read_all(world, one) == EXTENTS


async def test_without_any_target_appends_are_refused() -> None:
    world = World(Geometry(2, 1), 3)
    world.fail_all(Fault.IO)
    with pytest.raises(AppendRefused):
        await append(world)
    with pytest.raises(AppendRefused):
        await append(world)
    for target_id in world.ids:
        assert world.fleet[target_id].state is MemberState.AWAY


async def test_full_targets_are_a_lack_of_space() -> None:
    world = World(Geometry(2, 1), 3)
    world.fail_all(Fault.FULL, "create", "write")
    for _ in range(3):
        with pytest.raises((AppendRefused, NoSpace)):
            await append(world)
    with pytest.raises(NoSpace):
        await append(world)


async def test_a_segment_that_is_full_is_followed_by_another(
        monkeypatch: pytest.MonkeyPatch) -> None:
    from ecfs.stripes import store as store_module

    monkeypatch.setattr(store_module, "COLUMN_LEN_MAX", 1 << 20)
    world = World(Geometry(2, 1), 3)
    stripes = [await durable(world) for _ in range(10)]
    assert len({stripe.ref.segment.id for stripe in stripes}) > 1
    for stripe in stripes:
        assert stripe.ref.offset + stripe.ref.record_len <= 1 << 20
        assert await read_all(world, stripe) == EXTENTS
    spans = sorted((one.ref.segment.id, one.ref.offset, one.ref.offset + one.ref.record_len)
                   for one in stripes)
    for before, after in itertools.pairwise(spans):
        assert before[0] != after[0] or before[2] <= after[1]


READ_FAULTS: list[Fault | str] = [Fault.IO, Fault.TIMEOUT, Fault.MISSING, Fault.UNSAFE, "short",
                                  "after"]


@pytest.mark.parametrize("fault", READ_FAULTS)
async def test_any_two_columns_may_fail_a_read(fault: Fault) -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    for first in range(6):
        for second in range(first):
            world.fail_one(first, fault, "read")
            world.fail_one(second, fault, "read")
            assert await read_all(world, stripe) == EXTENTS
            world.heal()


async def test_a_third_failure_is_unreadable_never_wrong() -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    for index in range(3):
        world.fail_one(index, Fault.IO, "read")
    with pytest.raises(Unreadable):
        await world.store.examine(stripe.ref)
    with pytest.raises(Unreadable):
        await read_all(world, stripe)


async def test_examine_names_every_fault_once() -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    name = column_name(3, stripe.ref.segment.id)
    columns = [world.ids.index(target_id) for target_id in stripe.ref.segment.columns]
    memory = world.memories[columns[1]]
    memory.write(name, stripe.ref.offset + stripe.ref.head_len + 7, [b"rot"])
    world.memories[columns[4]].remove(name)
    examination = await world.store.examine(stripe.ref)
    assert {(fault.column, fault.missing) for fault in examination.faults} == {
        (1, False), (4, True)}
    assert sorted(examination.bodies) == [0, 2, 3, 5]
    count = world.journal.count
    assert count(EventKind.SHARD_BAD) == 1 and count(EventKind.SHARD_MISSING) == 1
    assert await read_all(world, stripe) == EXTENTS


@pytest.mark.parametrize(("fault", "kind"), [
    (Fault.IO, EventKind.READ_FAILED), (Fault.TIMEOUT, EventKind.TARGET_SLOW),
    (Fault.UNSAFE, EventKind.TARGET_UNSAFE_FILE), (Fault.MISSING, EventKind.SHARD_MISSING)])
async def test_a_call_that_fails_is_no_shard_that_was_changed(
        fault: Fault, kind: EventKind) -> None:
    world = World(Geometry(4, 2), 6)
    stripe = await durable(world)
    world.fail_one(2, fault, "read")
    await world.store.examine(stripe.ref)
    assert world.journal.count(kind) == 1
    assert world.journal.count(EventKind.SHARD_BAD) == 0
    errors = world.journal.errors_of(world.ids[2])
    assert (errors.io, errors.tag) == ((0, 1) if fault is Fault.MISSING else (1, 0))


@pytest.mark.parametrize(("fault", "kind"), [
    (Fault.IO, EventKind.WRITE_FAILED), (Fault.TIMEOUT, EventKind.TARGET_SLOW),
    (Fault.UNSAFE, EventKind.TARGET_UNSAFE_FILE)])
async def test_a_write_that_fails_is_told_by_its_fault(fault: Fault, kind: EventKind) -> None:
    world = World(Geometry(4, 2), 6)
    world.fleet.note_write_error(world.ids[1], TargetError(fault, "x"))
    assert world.journal.count(kind) == 1 and world.journal.count(EventKind.TARGET_AWAY) == 1


async def test_a_rotten_header_is_a_fault_though_the_body_is_good() -> None:
    world = World(Geometry(2, 2), 4)
    stripe = await durable(world)
    name = column_name(3, stripe.ref.segment.id)
    for column, target_id in enumerate(stripe.ref.segment.columns[:3]):
        world.memories[world.ids.index(target_id)].write(
            name, stripe.ref.offset + column * 50, [b"\xff\xfe\xfd"])
    examination = await world.store.examine(stripe.ref)
    assert [fault.column for fault in examination.faults] == [0, 1, 2]
    assert len(examination.bodies) == 4


async def test_read_sync_is_the_same_reader() -> None:
    world = World(Geometry(2, 1), 3)
    stripe = await durable(world, KIND_METADATA)
    units = world.store.layout(stripe.ref).units_of(stripe.starts[2], len(EXTENTS[2]))
    assert world.store.read_sync(stripe.ref, units).data == EXTENTS[2]
    world.fail_one(1, Fault.IO, "read")
    assert world.store.read_sync(stripe.ref, units).data == EXTENTS[2]


# -- concurrency ---------------------------------------------------------------------------------

async def with_slow_lanes(seed: int, scenario: Callable[[World], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        world = World(Geometry(2, 1), 3, liars=0, seed=seed, nursery=nursery, clock=TrioClock())
        await scenario(world)
        nursery.cancel_scope.cancel()


async def test_a_stripe_is_durable_once_its_own_sync_returned(clock: MockClock) -> None:
    """Another sync that runs beside it may not take its work away."""
    for seed in range(8):
        async def scenario(world: World) -> None:
            async def one() -> None:
                for _ in range(4):
                    stripe = await durable(world)
                    images = [memory.read(column_name(3, stripe.ref.segment.id), 0, 1 << 26)
                              for memory in world.memories]
                    end = stripe.ref.offset + stripe.ref.record_len
                    for memory in world.memories:
                        assert not [entry for entry in memory.unsynced()
                                    if entry[0] == "write" and entry[2] < end
                                    and entry[1] == column_name(3, stripe.ref.segment.id)
                                    and entry[2] >= stripe.ref.offset]
                    assert images

            async def other() -> None:
                for _ in range(30):
                    await world.store.sync([])
                    await durable(world, KIND_METADATA)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                nursery.start_soon(other)

        await with_slow_lanes(seed, scenario)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_sync_that_is_cancelled_takes_nothing_from_others(
        clock: MockClock, fails: bool) -> None:
    """What they wrote is in it: neither its end nor its failure may go unnoticed."""
    for seed in range(8):
        async def scenario(world: World) -> None:
            stripe = await append(world)
            outcomes: list[object] = []
            if fails:
                world.fail_all(Fault.IO, "sync")

            async def sync_mine() -> None:
                outcomes.extend(await world.store.sync([stripe]))

            async with trio.open_nursery() as nursery, trio.open_nursery() as given_up:
                given_up.start_soon(world.store.sync, [])
                await wait_all_tasks_blocked()
                nursery.start_soon(sync_mine)
                await wait_all_tasks_blocked()
                given_up.cancel_scope.cancel()
            assert [type(one) for one in outcomes] == [AppendRefused if fails else Written]
            for memory in world.memories:
                memory.crash()
            if not fails:
                assert await read_all(world, stripe) == EXTENTS

        await with_slow_lanes(seed, scenario)


async def test_a_failed_sync_is_seen_by_whoever_wrote_the_stripe(clock: MockClock) -> None:
    for seed in range(20):
        async def scenario(world: World) -> None:
            stripe = await append(world)
            world.fail_all(Fault.IO, "sync")
            outcomes: list[object] = []

            async def sync_mine() -> None:
                outcomes.extend(await world.store.sync([stripe]))

            async def sync_nothing() -> None:
                await world.store.sync([])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(sync_nothing)
                await trio.sleep(0.001)
                nursery.start_soon(sync_mine)
            assert [type(outcome) for outcome in outcomes] == [AppendRefused]

        await with_slow_lanes(seed, scenario)


async def test_appends_at_once_never_share_a_place(clock: MockClock) -> None:
    for seed in range(5):
        async def scenario(world: World) -> None:
            stripes: list[Written] = []

            async def one() -> None:
                stripes.append(await append(world))

            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(one)
            outcomes = await world.store.sync(stripes)
            assert all(isinstance(outcome, Written) for outcome in outcomes)
            places = {(one.ref.segment.id, one.ref.offset) for one in stripes}
            assert len(places) == 6
            for stripe in stripes:
                assert await read_all(world, stripe) == EXTENTS

        await with_slow_lanes(seed, scenario)
