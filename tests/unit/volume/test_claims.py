"""Claims: of several that race at most one is held; a lost one is noticed at the next record."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Damage, Fault, Fenced, InUse, ReadOnly
from ecfs.erasure import Geometry
from ecfs.formats import Commit, claim_name, commits_name, decode_claim, encode_commit
from ecfs.observe import EventKind
from ecfs.volume import Host
from ecfs.volume.appending import RecordWriter
from ecfs.volume.claiming import Claimer, Heart, box_keys
from tests.unit.stripes.simulated import POOL_ID, CountedEntropy, SlowLane, TrioClock, World

QUORUM = 4


def claimer_of(world: World, host: str) -> Claimer:
    return Claimer(world.fleet, box_keys(world.master, POOL_ID, "claim"),
                   box_keys(world.master, POOL_ID, "heartbeat"), CountedEntropy(host.encode()),
                   world.journal, Host(host, "boot", 1), tuple(world.ids), QUORUM)


async def try_claim(claimer: Claimer, epoch: int, writer: bytes,
                    won: dict[bytes, bytes]) -> None:
    try:
        won[writer] = (await claimer.claim(epoch, writer)).data
    except (InUse, ReadOnly):
        pass


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3),
       st.lists(st.floats(0, 0.02), min_size=3, max_size=3))
def test_at_most_one_of_several_claimants_of_an_epoch_wins(
        seed: int, count: int, delays: list[float]) -> None:
    async def scenario() -> None:
        won: dict[bytes, bytes] = {}
        async with trio.open_nursery() as lanes:
            worlds: list[World] = []
            for number in range(count):
                world = World(Geometry(4, 2), 6, nursery=lanes, seed=seed + number,
                              clock=TrioClock())
                if worlds:
                    for mine, first in zip(world.targets, worlds[0].memories, strict=True):
                        mine.inner = first
                worlds.append(world)

            async def run(number: int) -> None:
                await trio.sleep(delays[number])
                claimer = claimer_of(worlds[number], f"host{number}")
                await try_claim(claimer, 7, bytes([number]) * 16, won)

            async with trio.open_nursery() as racers:
                for number in range(count):
                    racers.start_soon(run, number)
            assert len(won) <= 1
            for writer, data in won.items():
                holders = [memory for memory in worlds[0].memories
                           if memory.read(claim_name(7), 0, 4096) == data]
                assert len(holders) >= QUORUM
                assert decode_claim(data, box_keys(worlds[0].master, POOL_ID, "claim"),
                                    7).writer == writer
            assert isinstance(worlds[0].lanes[0], SlowLane)
            lanes.cancel_scope.cancel()

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_junk_under_a_claims_name_fences_nobody_and_a_real_claim_does() -> None:
    world = World(Geometry(4, 2), 6)
    keys = box_keys(world.master, POOL_ID, "claim")
    claim = (await claimer_of(world, "a").claim(3, b"a" * 16)).data
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, 3, claim, keys, world.journal,
                          keys=box_keys(world.master, POOL_ID, "commit"))
    await writer.create_files()
    await writer.append(bytes(4096))
    for number, memory in enumerate(world.memories):
        memory.create(claim_name(9 + number), b"junk" * number)
    await writer.append(bytes(4096))
    assert writer.offset == 8192
    await claimer_of(world, "b").claim(40, b"b" * 16)
    try:
        await writer.append(bytes(4096))
    except Fenced as error:
        assert "b has claimed" in str(error)
    else:
        raise AssertionError("a fenced writer acknowledged")
    assert writer.offset == 8192


async def test_a_client_that_was_set_back_finds_its_own_later_records_and_stops() -> None:
    """Two writers with one claim: a snapshot of a mounted client was restored."""
    world = World(Geometry(4, 2), 6)
    claim_keys, keys = (box_keys(world.master, POOL_ID, purpose) for purpose in ("claim", "commit"))
    claim = (await claimer_of(world, "a").claim(3, b"a" * 16)).data
    first, again = (RecordWriter(world.fleet, tuple(world.ids), QUORUM, 3, claim, claim_keys,
                                 world.journal, keys=keys) for _ in range(2))
    await first.create_files()

    def record(seq: int, text: bytes) -> bytes:
        commit = Commit(epoch=3, seq=seq, parent=bytes(32), writer=text, time_ns=0, generation=0,
                        page_count=1)
        return encode_commit(commit, keys, text * 2)

    ours = record(1, b"o" * 16)
    await first.append(ours)
    await again.append(ours)
    assert again.offset == first.offset
    await first.append(record(2, b"1" * 16))
    held = [memory.read(commits_name(3), 0, 8192) for memory in world.memories]
    with pytest.raises(Fenced):
        await again.append(record(2, b"2" * 16))
    assert [memory.read(commits_name(3), 0, 8192) for memory in world.memories] == held
    await first.append(record(3, b"3" * 16))


async def test_a_claim_that_a_crash_cut_off_blames_nobody() -> None:
    world = World(Geometry(4, 2), 6)
    claimer = claimer_of(world, "a")
    claim = (await claimer.claim(3, b"a" * 16)).data
    world.memories[1].create(claim_name(4), claim[:511])
    await claimer.look()
    count = world.journal.count
    assert (count(EventKind.CLAIM_BAD), count(EventKind.RECORD_TORN)) == (0, 1)
    world.memories[2].create(claim_name(4), b"!" + claim[1:])
    await claimer.look()
    assert (count(EventKind.CLAIM_BAD), count(EventKind.RECORD_TORN)) == (1, 2)


async def test_junk_where_a_record_is_to_go_stops_nobody() -> None:
    world = World(Geometry(4, 2), 6)
    claim = (await claimer_of(world, "a").claim(3, b"a" * 16)).data
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, 3, claim,
                          box_keys(world.master, POOL_ID, "claim"), world.journal,
                          keys=box_keys(world.master, POOL_ID, "commit"))
    await writer.create_files()
    for memory in world.memories:
        memory.write(commits_name(3), 0, [b"junk" * 1024])
    await writer.append(b"1" * 4096)
    assert all(memory.read(commits_name(3), 0, 4096) == b"1" * 4096 for memory in world.memories)


async def test_an_older_claim_fences_nobody() -> None:
    world = World(Geometry(4, 2), 6)
    await claimer_of(world, "old").claim(2, b"o" * 16)
    claim = (await claimer_of(world, "a").claim(3, b"a" * 16)).data
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, 3, claim,
                          box_keys(world.master, POOL_ID, "claim"), world.journal,
                          keys=box_keys(world.master, POOL_ID, "commit"))
    await writer.create_files()
    await writer.append(bytes(4096))
    assert writer.missed == ()


async def test_records_need_a_quorum_and_say_who_missed_them() -> None:
    world = World(Geometry(4, 2), 6)
    claim = (await claimer_of(world, "a").claim(3, b"a" * 16)).data
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, 3, claim,
                          box_keys(world.master, POOL_ID, "claim"), world.journal,
                          keys=box_keys(world.master, POOL_ID, "commit"))
    await writer.create_files()
    for index in (1, 4):
        world.fail_one(index, "after", "write")
    await writer.append(b"1" * 4096)
    assert set(writer.missed) == {world.ids[1], world.ids[4]}
    world.fail_one(0, "after", "sync")
    try:
        await writer.append(b"2" * 4096)
    except ReadOnly:
        assert writer.offset == 4096
    else:
        raise AssertionError("acknowledged without a quorum")
    world.heal()
    await writer.append(b"2" * 4096)
    for memory in world.memories:
        assert memory.read(commits_name(3), 4096, 4096) == b"2" * 4096


async def test_a_quorum_of_claims_is_needed() -> None:
    world = World(Geometry(4, 2), 6)
    for index in (0, 1, 2):
        world.fail_one(index, "short", "create")
    with pytest.raises(ReadOnly):
        await claimer_of(world, "a").claim(3, b"a" * 16)


async def beating(world: World) -> tuple[Claimer, Heart]:
    """Who has claimed epoch 3 and beaten once."""
    claimer = claimer_of(world, "a")
    await claimer.claim(3, b"a" * 16)
    heart = Heart(world.fleet, claimer.heartbeat_keys, world.entropy, 3)
    await heart.beat()
    return claimer, heart


async def test_heartbeats_grow() -> None:
    world = World(Geometry(4, 2), 6)
    claimer, heart = await beating(world)
    first = await claimer.look()
    await heart.beat()
    second = await claimer.look()
    assert all(second.beats[one] > first.beats[one] for one in world.ids)
    assert first.newest is not None and first.newest.host == "a" and first.next_epoch(0, 2) == 4


async def test_who_cannot_take_a_heartbeat_is_away_unless_it_is_only_full() -> None:
    world = World(Geometry(4, 2), 6)
    _, heart = await beating(world)
    world.fail_one(1, Fault.IO, "write")
    world.fail_one(2, Fault.FULL, "write")
    await heart.beat()
    assert [one for one in world.ids if not world.fleet[one].online] == [world.ids[1]]


async def test_a_rotten_claim_is_passed_over() -> None:
    world = World(Geometry(4, 2), 6)
    claimer = claimer_of(world, "a")
    await claimer.claim(3, b"a" * 16)
    world.memories[0].write(claim_name(3), 100, [b"rot"])
    view = await claimer.look()
    assert view.newest is not None and view.newest.writer == b"a" * 16
    try:
        decode_claim(world.memories[0].read(claim_name(3), 0, 4096), claimer.keys, 3)
    except Damage:
        return
    raise AssertionError("rot went unnoticed")
