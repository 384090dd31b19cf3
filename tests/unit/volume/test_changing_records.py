"""Record files that another writer changes while they are read: it gives back the room of records
that no label needs any more, deletes files, or is about to write."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import TARGET_SYNC_DEADLINE_S
from ecfs.base.units import BLOCK_LEN, NS_PER_S
from ecfs.formats import commits_name, record_hash
from ecfs.targets import Outcome
from ecfs.volume.records import _Rereading
from ecfs.volume.recordscan import Box
from ecfs.volume.recovery import adopt, bad_records
from tests.unit.stripes.simulated import MovedClock
from tests.unit.volume.log_members import EPOCH, Members

NAME = commits_name(EPOCH)
LONG = 4
"""Which record is longer than a block."""

Change = Callable[[], object]


@pytest.fixture
def members() -> Members:
    """The last of five records is of several blocks."""
    made = Members(LONG)
    made.make(LONG + 1, record_hash(made.records[-1]), padding=10_000)
    for memory in made.world.memories:
        memory.write(NAME, LONG * BLOCK_LEN, [made.records[LONG]])
    return made


def before_read(members: Members, number: int, offset: int, *changes: Change) -> None:
    """One member's file changes before the first and later readings of what lies at `offset`."""
    ahead: Iterator[Change] = iter(changes)

    def plan(method: str, name: str, at: int) -> Outcome:
        if (method, name, at) == ("read", NAME, offset):
            next(ahead, lambda: None)()
        return None

    members.world.fail[number] = plan


def write(members: Members, number: int, offset: int, data: bytes) -> Change:
    return lambda: members.write(number, offset, data)


def nothing() -> None:
    """No change."""


async def holds_whole_log(members: Members, *without: int) -> None:
    """All records are read as they were written, the first from all members but `without`; nobody
    is told of."""
    view = await members.view()
    assert [view.records[EPOCH, seq].hash for seq in range(1, 6)] == [
        record_hash(record) for record in members.records]
    assert view.read == set(members.world.ids)
    assert view.holders[EPOCH, 1] == {
        members.world.ids[number] for number in range(6) if number not in without}
    assert not view.bad and not bad_records(view)
    chain = adopt(view, drop_tail=False)
    assert chain is not None and chain.tip.commit.seq == 5


async def test_room_that_is_given_back_while_a_log_is_read_accuses_nobody(
        members: Members) -> None:
    """The first record went from one member before it was looked through, from the next one after
    that; one that was away has it still. Who is asked first has its bytes kept, so the other is
    read once more."""
    gone = bytes(BLOCK_LEN)
    members.write(0, 0, gone)
    before_read(members, 1, 0, nothing, write(members, 1, 0, gone))
    await holds_whole_log(members, 0, 1)


async def test_room_that_is_given_back_within_a_reading_accuses_nobody(members: Members) -> None:
    """Of the only member whose bytes are kept: the header was read before, the rest after it."""
    at, length = LONG * BLOCK_LEN, len(members.records[LONG])
    torn = members.records[LONG][:BLOCK_LEN].ljust(length, b"\0")
    members.write(0, at, torn)
    before_read(members, 0, at, write(members, 0, at, bytes(length)))
    view = await members.view()
    assert view.holders[EPOCH, 5] == set(members.world.ids[1:])
    assert not view.bad


async def test_files_that_are_deleted_while_a_log_is_read_accuse_nobody(members: Members) -> None:
    """One after its names were listed, one after it was looked through."""
    memories = members.world.memories
    memories[0].remove(NAME)
    before_read(members, 1, 0, lambda: memories[1].remove(NAME))
    before_read(members, 2, 0, nothing, lambda: memories[2].remove(NAME))
    await holds_whole_log(members, 0, 1, 2)


@pytest.mark.parametrize("number", [0, 1])
async def test_a_record_that_was_read_while_it_was_written_counts(members: Members,
                                                                  number: int) -> None:
    """Whether its bytes were kept or not."""
    at, whole = LONG * BLOCK_LEN, members.records[LONG]
    members.write(number, at, whole[:BLOCK_LEN].ljust(len(whole), b"\0"))
    if number:
        members.drop_last(0)
    before_read(members, number, at, write(members, number, at, whole))
    view = await members.view()
    assert view.records[EPOCH, 5].hash == record_hash(whole)
    assert view.holders[EPOCH, 5] == set(members.world.ids[number:])
    assert not view.bad


async def test_what_a_member_shows_first_and_then_otherwise_hides_no_record(
        members: Members) -> None:
    """It shows rot, then the record: nobody else's copy is the bad one for that."""
    members.write(0, 2 * BLOCK_LEN, bytes(BLOCK_LEN))
    members.write(1, 2 * BLOCK_LEN + 2000, b"rot")
    before_read(members, 1, 2 * BLOCK_LEN, write(members, 1, 2 * BLOCK_LEN, members.records[2]))
    await holds_whole_log(members)


async def test_a_record_is_as_long_as_it_says_itself(members: Members) -> None:
    """A member shows a header that says more, then the record, with the next one behind it."""
    at = 2 * BLOCK_LEN
    members.write(0, at, bytes(BLOCK_LEN))
    members.write(1, at + 12, (2 * BLOCK_LEN).to_bytes(4, "big"))
    before_read(members, 1, at, write(members, 1, at, members.records[2]))
    view = await members.view()
    found = view.records[EPOCH, 3]
    assert (found.hash, found.length) == (record_hash(members.records[2]), BLOCK_LEN)
    assert view.holders[EPOCH, 3] == set(members.world.ids[2:])
    assert view.bad == [(members.world.ids[1], EPOCH, at)]


@pytest.mark.parametrize("spoiled", [b"rot", b"\0" * 100])
async def test_what_stays_bad_is_told_of(members: Members, spoiled: bytes) -> None:
    """Of a member whose bytes are kept, and of one that is read once more."""
    for number in (0, 1):
        members.write(number, 2000, spoiled)
    view = await members.view()
    assert {(bad.member, bad.offset, bad.acknowledged) for bad in bad_records(view)} == {
        (members.world.ids[number], 0, True) for number in (0, 1)}


async def test_a_member_that_fails_when_it_is_read_once_more_does_not_count(
        members: Members) -> None:
    members.write(0, 2000, b"rot")

    def fail() -> None:
        raise TargetError(Fault.TIMEOUT, "late")

    before_read(members, 0, 0, nothing, fail)
    view = await members.view()
    assert view.read == set(members.world.ids[1:])
    assert not view.bad


async def test_a_member_is_read_once_more_for_a_bounded_time(members: Members) -> None:
    """All that does not open there together: else one that answers late holds up the mount."""
    clock, data = MovedClock(), members.records[1]
    reading = _Rereading(members.world.fleet[members.world.ids[0]], clock)

    def late() -> None:
        clock.now_ns += int(TARGET_SYNC_DEADLINE_S * NS_PER_S)

    before_read(members, 0, BLOCK_LEN, late)
    box = Box(EPOCH, BLOCK_LEN, BLOCK_LEN, bytes(32), None)
    assert await reading.read(box) == replace(box, hash=record_hash(data), data=data)
    with pytest.raises(TargetError, match="not read once more") as failed:
        await reading.read(box)
    assert failed.value.fault is Fault.TIMEOUT
