"""Members that answer slowly, always within their deadline, and such as hang and come back."""

from collections.abc import Callable

import pytest
import trio

from ecfs.base.errors import ReadOnly
from ecfs.base.limits import STRAGGLER_PATIENCE_S, TARGET_DEADLINE_S, TARGET_SYNC_DEADLINE_S
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import commits_name
from ecfs.observe import EventKind
from ecfs.stripes import MemberState
from ecfs.testing.simulation.lanes import SimulatedLane, Traffic
from ecfs.volume import records as records_module
from ecfs.volume.appending import RecordWriter
from ecfs.volume.recordsource import RecordSource
from tests.unit.stripes.simulated import TrioClock
from tests.unit.volume.log_members import CLAIM, EPOCH, QUORUM, START, Members

NAME = commits_name(EPOCH)


def with_delays(members: Members, delays: list[float]) -> None:
    """Each member's lane takes so long for each job."""
    traffic = Traffic()
    members.world.fleet.clock = TrioClock()

    def of(number: int) -> Callable[[], float]:
        return lambda: delays[number]

    for number, member in enumerate(members.world.fleet):
        member.lane = SimulatedLane(f"l{number}", TrioClock(), of(number), traffic=traffic)


@pytest.mark.parametrize("slow", [0, 3])
async def test_junk_without_end_is_read_once_more_within_one_deadline(slow: int) -> None:
    """Then that member was not read; the others are. Only what it showed twice is held against it.
    """
    members = Members()
    junk = b"".join((members.records[0][:64] + bytes([1 + n % 255]) * BLOCK_LEN)[:BLOCK_LEN]
                    for n in range(400))
    members.world.memories[slow].write(NAME, len(members.records) * BLOCK_LEN, [junk])
    delays = [0.001] * 6
    delays[slow] = TARGET_DEADLINE_S - 1
    with_delays(members, delays)
    began = trio.current_time()
    view = await members.view()
    assert trio.current_time() - began <= TARGET_SYNC_DEADLINE_S + TARGET_DEADLINE_S + 1
    assert view.read == set(members.world.ids) - {members.world.ids[slow]}
    assert len(view.records) == 5
    assert {member for member, _, _ in view.bad} == {members.world.ids[slow]}
    assert len(view.bad) <= TARGET_SYNC_DEADLINE_S / (TARGET_DEADLINE_S - 1)
    assert members.world.fleet[members.world.ids[slow]].state is MemberState.AWAY


async def test_what_is_quick_is_all_read_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that counts is the member's own, not that of the others."""
    monkeypatch.setattr(records_module, "TARGET_SYNC_DEADLINE_S", 2.0)
    members = Members()
    with_delays(members, [0.1] * 6)
    for memory in members.world.memories:
        memory.write(NAME, 0, [b"\xff" + members.records[0][1:-1] + b"\xff"])
    junk = (members.records[0][:64] + b"j" * BLOCK_LEN)[:BLOCK_LEN]
    for number in range(6):
        members.world.memories[number].write(NAME, 5 * BLOCK_LEN, [junk * 15])
    view = await members.view()
    assert view.read == set(members.world.ids)


async def lacking_all(members: Members, number: int) -> None:
    members.world.memories[number].write(NAME, 0, [bytes(len(members.records) * BLOCK_LEN)])


async def test_a_slow_holder_is_asked_once_and_then_others() -> None:
    members = Members(60)
    await lacking_all(members, 5)
    delays = [0.001] * 6
    with_delays(members, delays)
    began = trio.current_time()
    delays[0] = TARGET_DEADLINE_S - 1
    assert await members.mender().mend(tuple(members.world.ids), START) == (60, 60)
    # Its part of reading the log, of its claim, and behind the one read that nobody waits for.
    assert trio.current_time() - began < 4 * TARGET_DEADLINE_S
    assert members.world.memories[5].read(NAME, 0, 60 * BLOCK_LEN) == b"".join(members.records)


async def test_a_holder_that_was_late_is_asked_last() -> None:
    """So many records cost one wait, not as many."""
    members = Members(60)
    view = await members.view()
    delays = [0.001] * 6
    with_delays(members, delays)
    delays[0] = TARGET_DEADLINE_S - 1
    source, began = RecordSource(members.world.fleet), trio.current_time()
    for key, found in sorted(view.records.items()):
        assert await source.bytes_of(found, view.holders[key]) == members.records[key[1] - 1]
    assert trio.current_time() - began < 0.2


async def test_where_all_holders_are_slow_they_have_one_deadline_for_all() -> None:
    members = Members(60)
    await lacking_all(members, 5)
    delays = [0.001] * 6
    with_delays(members, delays)
    began = trio.current_time()
    delays[:5] = [TARGET_DEADLINE_S - 1] * 5
    bad, mended = await members.mender().mend(tuple(members.world.ids), START)
    assert trio.current_time() - began < 2 * TARGET_SYNC_DEADLINE_S + 70
    assert 1 <= bad < 60 and bad == mended


async def test_a_holder_that_shows_other_bytes_is_passed_over_at_once() -> None:
    members = Members(3)
    await lacking_all(members, 5)
    with_delays(members, [0.001] * 6)
    first = members.world.ids[0]
    members.world.targets[0].corrupt = lambda name, offset, data: (
        b"\0" * len(data) if len(data) == BLOCK_LEN and name == NAME else data)
    began = trio.current_time()
    assert (await members.mender().mend(tuple(members.world.ids), START))[1] == 3
    assert trio.current_time() - began < 0.5
    assert members.world.memories[5].read(NAME, 0, 1 << 20) == b"".join(members.records)
    assert not members.world.fleet.late([first], 1)
    assert not members.world.journal.count(EventKind.TARGET_SLOW)


async def appended(members: Members, delays: list[float], hung: list[int]) -> RecordWriter:
    """A writer that has appended its first record; these members have hung before."""
    world = members.world
    with_delays(members, delays)
    writer = RecordWriter(world.fleet, tuple(world.ids), QUORUM, EPOCH + 1, CLAIM, members.keys,
                          world.journal, keys=members.keys)
    quick = list(delays)
    delays[:] = [0.001] * 6
    await writer.create_files()
    delays[:] = quick
    for number in hung:
        world.fleet[world.ids[number]].departures.note(TrioClock().monotonic_ns())
    await writer.append(members.records[0])
    return writer


async def test_who_has_hung_before_is_not_waited_for_as_others_are() -> None:
    """It has missed the record then, and is away: a quorum has it."""
    members = Members()
    delays = [0.001] * 6
    delays[1] = TARGET_SYNC_DEADLINE_S - 1
    began = trio.current_time()
    writer = await appended(members, delays, [1])
    assert STRAGGLER_PATIENCE_S <= trio.current_time() - began < STRAGGLER_PATIENCE_S + 0.1
    assert writer.missed == (members.world.ids[1],)
    assert not members.world.fleet[members.world.ids[1]].online


async def test_who_has_hung_before_and_is_slow_only_is_waited_for() -> None:
    members = Members()
    delays = [0.001] * 6
    delays[1] = STRAGGLER_PATIENCE_S - 1
    assert (await appended(members, delays, [1])).missed == ()


async def test_who_never_hung_is_waited_for_to_the_deadline() -> None:
    members = Members()
    delays = [0.001] * 6
    delays[1] = delays[2] = TARGET_SYNC_DEADLINE_S - 1
    assert (await appended(members, delays, [])).missed == ()
    members = Members()
    assert (await appended(members, delays, [1])).missed == ()


async def test_where_there_is_no_quorum_those_that_hung_are_waited_for() -> None:
    members = Members()
    delays = [0.001] * 6
    delays[:3] = [TARGET_SYNC_DEADLINE_S - 1] * 3
    assert (await appended(members, delays, [0, 1, 2])).missed == ()
    members = Members()
    delays[:3] = [TARGET_SYNC_DEADLINE_S + 1] * 3
    began = trio.current_time()
    with pytest.raises(ReadOnly):
        await appended(members, delays, [0, 1, 2])
    assert trio.current_time() - began < TARGET_SYNC_DEADLINE_S + 1
