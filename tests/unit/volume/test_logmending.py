"""The log as members hold it: what is read of damaged files, and how they are put right."""

import pytest

from ecfs.base.errors import Fault, Fenced, ReadOnly, TargetError
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    Claim,
    Commit,
    Root,
    claim_name,
    commits_name,
    encode_claim,
    encode_commit,
    record_hash,
)
from ecfs.observe import EventKind
from ecfs.targets import FaultyTarget, Outcome
from ecfs.volume.recordsource import RecordSource
from ecfs.volume.recovery import adopt
from tests.unit.volume.log_members import CLAIM, EPOCH, QUORUM, START, Members


@pytest.fixture
def members() -> Members:
    return Members()


@pytest.mark.parametrize("bad", [0, 1, 3, 4])
async def test_what_lies_behind_a_bad_record_is_read(members: Members, bad: int) -> None:
    """On every member the same one is rotten but on one: nothing is lost."""
    for number in range(5):
        members.write(number, bad * BLOCK_LEN, b"rot")
    view = await members.view()
    assert sorted(seq for _, seq in view.records) == [1, 2, 3, 4, 5]
    assert view.holders[EPOCH, bad + 1] == {members.world.ids[5]}
    assert {at for _, _, at in view.bad} == {bad * BLOCK_LEN}
    assert await members.mend() == (5, 5)
    assert all(members.file(number) == b"".join(members.records) for number in range(6))


async def test_bad_bodies_are_known_by_what_opens(members: Members) -> None:
    """A head that looks right, and rot behind it."""
    members.write(2, BLOCK_LEN + 2000, b"rot")
    view = await members.view()
    assert view.bad == [(members.world.ids[2], EPOCH, BLOCK_LEN)]
    assert len(view.holders[EPOCH, 2]) == 5


@pytest.mark.parametrize("blocks", [2, 3, 4])
async def test_a_wrong_length_hides_nothing_behind_its_record(members: Members,
                                                              blocks: int) -> None:
    """The header of the second leads past the third and more. Nobody else has those."""
    for number in range(1, 6):
        members.world.memories[number].truncate(commits_name(EPOCH), 2 * BLOCK_LEN)
    members.write(0, BLOCK_LEN + 12, (blocks * BLOCK_LEN).to_bytes(4, "big"))
    view = await members.view()
    assert sorted(seq for _, seq in view.records) == [1, 2, 3, 4, 5]
    assert view.holders[EPOCH, 2] == set(members.world.ids[1:])
    assert view.bad == [(members.world.ids[0], EPOCH, BLOCK_LEN)]
    assert adopt(view, drop_tail=False) is not None
    await members.mend()
    assert all(members.file(number) == b"".join(members.records) for number in range(6))


async def test_wrong_lengths_one_in_the_other(members: Members) -> None:
    """Of all members the same three reach over the next ones, and past the end of the file."""
    for number in range(6):
        for bad, blocks in ((0, 4), (1, 4), (3, 4)):
            members.write(number, bad * BLOCK_LEN + 12, (blocks * BLOCK_LEN).to_bytes(4, "big"))
    view = await members.view()
    assert sorted(seq for _, seq in view.records) == [3, 5]
    assert sorted(view.bad) == sorted(
        (member, EPOCH, at * BLOCK_LEN) for member in members.world.ids for at in (0, 1, 3))


@pytest.mark.parametrize("fault", [Fault.IO, Fault.TIMEOUT])
async def test_a_bad_sector_in_a_long_record_hides_nothing_behind_it(members: Members,
                                                                     fault: Fault) -> None:
    """A target that does not answer is another matter."""
    members.make(6, record_hash(members.records[-1]), padding=300_000)
    members.make(7, record_hash(members.records[-1]))
    whole = b"".join(members.records)
    for number in range(6):
        members.write(number, 0, whole)
    bad, long = 6 * BLOCK_LEN, len(members.records[5])

    class BadSector(FaultyTarget):
        def read(self, name: str, offset: int, length: int) -> bytes:
            if name == commits_name(EPOCH) and offset <= bad < offset + length:
                raise TargetError(fault if length == long else Fault.IO, "a bad sector")
            return super().read(name, offset, length)

    member = members.world.fleet[members.world.ids[2]]
    assert member.target is not None
    member.target = BadSector(member.target)
    view = await members.view()
    here = fault is Fault.IO
    assert (member.id in view.read, member.id in view.holders[EPOCH, 7]) == (here, here)
    assert member.id not in view.holders[EPOCH, 6]


async def test_a_record_under_the_name_of_another_epoch_is_none(members: Members) -> None:
    """Spliced in from the epoch before: it would seem to lie where another record lies."""
    for memory in members.world.memories:
        memory.create(commits_name(EPOCH + 1), members.records[1])
    members.write(0, BLOCK_LEN, bytes(BLOCK_LEN))
    view = await members.view()
    assert {(epoch, at) for _, epoch, at in view.bad} == {(EPOCH + 1, 0)}
    assert {key: found.offset // BLOCK_LEN for key, found in view.records.items()} == {
        (EPOCH, seq): seq - 1 for seq in range(1, 6)}
    assert view.holders[EPOCH, 2] == set(members.world.ids[1:])


async def test_one_liar_cannot_move_the_only_copy_of_the_newest_record(members: Members) -> None:
    """A copy of it in another file, at a lower place: the record stays where it was written."""
    members.drop_last(1, 2, 3, 4, 5)
    members.world.memories[5].create(commits_name(EPOCH + 1), members.records[4])
    view = await members.view()
    assert view.records[EPOCH, 5].offset == 4 * BLOCK_LEN
    await members.secure()
    assert len((await members.view()).holders[EPOCH, 5]) >= QUORUM


async def test_records_that_moved_are_where_most_have_them(members: Members) -> None:
    whole = members.file(0)
    for number in (0, 1):
        members.world.memories[number].write(commits_name(EPOCH), 0, [bytes(BLOCK_LEN) + whole])
    view = await members.view()
    for seq in range(1, 6):
        assert view.records[EPOCH, seq].offset == (seq - 1) * BLOCK_LEN
        assert view.holders[EPOCH, seq] == set(members.world.ids[2:])
    assert view.ends[EPOCH] == len(whole)
    bad, mended = await members.mend()
    assert bad == mended > 0
    assert {members.file(number).rstrip(b"\0") for number in range(6)} == {whole.rstrip(b"\0")}


async def test_a_record_whose_first_copy_cannot_be_read_again_counts_on_others(
        members: Members) -> None:
    """Only the first member's bytes are kept: what it lacks is read once more from another."""
    members.drop_last(0)

    def plan(method: str, name: str, offset: int) -> Fault | None:
        return Fault.IO if method == "read" and offset == 4 * BLOCK_LEN else None

    for number in (1, 2):
        members.world.fail[number] = plan
    view = await members.view()
    assert view.holders[EPOCH, 5] == set(members.world.ids[3:])


async def test_a_member_that_does_not_answer_is_away(members: Members) -> None:
    members.world.fail_one(4, Fault.TIMEOUT, "list_names")
    view = await members.view()
    assert view.read == set(members.world.ids) - {members.world.ids[4]}
    assert not members.world.fleet[members.world.ids[4]].online


async def test_files_that_cannot_be_read_are_bad_and_no_more(members: Members) -> None:
    members.world.fail_one(1, Fault.IO, "read")
    members.world.fail_one(2, Fault.UNSAFE, "read")
    view = await members.view()
    assert view.read == set(members.world.ids)
    assert {member for member, _, _ in view.bad} == {members.world.ids[1], members.world.ids[2]}
    members.world.heal()
    members.world.fail_one(3, Fault.TIMEOUT, "read")
    assert members.world.ids[3] not in (await members.view()).read


async def test_a_record_cut_off_at_the_end_is_bad(members: Members) -> None:
    members.make(6, record_hash(members.records[-1]), padding=10_000)
    for number in range(6):
        members.write(number, 5 * BLOCK_LEN, members.records[-1][: 3 * BLOCK_LEN + 7])
    view = await members.view()
    assert (EPOCH, 6) not in view.records
    assert len(view.bad) >= 6
    await members.mend()
    assert all(members.file(number).rstrip(b"\0") == b"".join(members.records[:5]).rstrip(b"\0")
               for number in range(6))


async def test_long_records_across_windows(members: Members,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecfs.volume.recordscan.SCAN_CHUNK_LEN", 2 * BLOCK_LEN)
    members.make(6, record_hash(members.records[-1]), padding=300_000)
    parent = record_hash(members.records[-1])
    at = 5 * BLOCK_LEN
    members.make(7, parent)
    for number in range(6):
        members.write(number, at, members.records[5])
        members.write(number, at + len(members.records[5]), members.records[6])
    view = await members.view()
    assert sorted(seq for _, seq in view.records) == [1, 2, 3, 4, 5, 6, 7]
    assert not view.bad


async def test_what_is_read_of_one_member_is_bounded(
        members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecfs.volume.recordscan.LOG_READ_LEN_MAX", 3 * BLOCK_LEN)
    view = await members.view()
    assert not view.records and not view.read and len(view.cut) == 6


async def test_mended_records_are_durable(members: Members) -> None:
    for memory in members.world.memories:
        memory.crash(keep=lambda number: True)
    members.write(3, 0, bytes(2 * BLOCK_LEN))
    members.world.memories[5].remove(commits_name(EPOCH))
    assert (await members.mend())[0] > 0
    for memory in members.world.memories:
        memory.crash()
    whole = b"".join(members.records)
    assert all(members.file(number) == whole for number in range(6))
    assert members.world.journal.count(EventKind.REPAIRED) == 2


class TwoFaced(FaultyTarget):
    """Gives the right record while the log is read, and other bytes to whoever mends from it."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = super().read(name, offset, length)
        if length == BLOCK_LEN and name.startswith("commits"):
            return data[:100] + b"lie" + data[103:]
        return data


async def test_no_record_is_copied_from_a_liar(members: Members) -> None:
    """What a holder says is compared with the hash of the record that was opened."""
    for number in (2, 3, 4):
        members.write(number, 2 * BLOCK_LEN, bytes(BLOCK_LEN))
    for number in (0, 1):
        member = members.world.fleet[members.world.ids[number]]
        member.target = TwoFaced(members.world.memories[number])
    await members.mend()
    for number in (2, 3, 4):
        found = members.file(number)[2 * BLOCK_LEN : 3 * BLOCK_LEN]
        assert found in (members.records[2], bytes(BLOCK_LEN))
    assert members.file(4) == b"".join(members.records)


async def test_without_an_honest_holder_nothing_is_copied(members: Members) -> None:
    members.write(2, 2 * BLOCK_LEN, bytes(BLOCK_LEN))
    for number in (0, 1, 3, 4, 5):
        member = members.world.fleet[members.world.ids[number]]
        member.target = TwoFaced(members.world.memories[number])
    await members.mend()
    assert members.file(2)[2 * BLOCK_LEN : 3 * BLOCK_LEN] == bytes(BLOCK_LEN)


async def test_who_holds_each_record_that_is_needed(members: Members) -> None:
    members.drop_last(0, 3)
    members.write(1, BLOCK_LEN, b"rot")
    ids = members.world.ids
    found = await members.mender().holders(tuple(ids[:5]), START)
    everybody = set(ids[:5])
    assert found == [everybody, everybody - {ids[1]}, everybody, everybody,
                     everybody - {ids[0], ids[3]}]


async def test_holders_that_fail_or_left_are_passed_over(members: Members) -> None:
    members.write(5, 2 * BLOCK_LEN, bytes(BLOCK_LEN))
    found, fleet = (await members.view()).records[EPOCH, 3], members.world.fleet
    fleet.drop(members.world.ids[0])
    fleet[members.world.ids[1]].target = None
    members.world.fail_one(2, Fault.IO, "read")
    assert await RecordSource(fleet).bytes_of(found, members.world.ids) == members.records[2]


async def test_a_member_whose_file_is_no_file_gets_one(members: Members) -> None:
    """As a directory or a link that somebody planted under the name."""
    members.write(1, 0, bytes(BLOCK_LEN))
    memory = members.world.memories[1]
    removed: list[str] = []

    class Planted(FaultyTarget):
        def size(self, name: str) -> int:
            if not removed:
                raise self._error(Fault.UNSAFE, "size", name)
            return super().size(name)

        def remove(self, name: str) -> None:
            removed.append(name)
            super().remove(name)

    members.world.fleet[members.world.ids[1]].target = Planted(memory)
    assert (await members.mend())[1] == 1
    assert removed == [commits_name(EPOCH)]
    assert members.file(1)[:BLOCK_LEN] == members.records[0]


async def test_a_file_that_cannot_be_looked_at_is_not_mended(members: Members) -> None:
    members.write(1, 0, bytes(BLOCK_LEN))
    members.world.fail_one(1, Fault.IO, "size")
    before = members.file(1)
    assert await members.mend() == (1, 0)
    assert members.file(1) == before


async def test_only_members_that_were_named_are_mended(members: Members) -> None:
    for number in (4, 5):
        members.write(number, 0, b"rot")
    assert await members.mender().mend(tuple(members.world.ids[:5]), START) == (1, 1)
    assert members.file(4)[:BLOCK_LEN] == members.records[0]
    assert members.file(5)[:3] == b"rot"


async def test_what_is_named_like_an_earlier_claim_and_is_none_goes(members: Members) -> None:
    """It would be looked at, and told of, for ever. Claims stay: they tell the epoch."""
    authentic = encode_claim(Claim(1, bytes(16), "there", "boot", 1), members.keys, bytes(32))
    for epoch, data in ((1, authentic), (2, b"junk"), (EPOCH + 1, b"junk")):
        members.world.memories[2].create(claim_name(epoch), data)
    assert await members.mend() == (0, 0)
    names = members.world.memories[2].list_names()
    assert [claim_name(epoch) in names for epoch in range(1, EPOCH + 2)] == [
        True, False, True, True]


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.IO])
async def test_what_could_not_be_mended_is_counted_as_bad(members: Members, fault: Fault) -> None:
    members.write(3, 0, bytes(BLOCK_LEN))
    members.world.fail_one(3, fault, "create", "write")
    assert await members.mend() == (1, 0)
    assert members.world.journal.count(EventKind.WRITE_FAILED) == 1


async def test_the_claim_is_put_back_byte_for_byte(members: Members) -> None:
    claims = [memory.read(claim_name(EPOCH), 0, BLOCK_LEN + 9)
              for memory in members.world.memories]
    members.world.memories[0].write(claim_name(EPOCH), 50, [b"rot"])
    members.world.memories[1].write(claim_name(EPOCH), BLOCK_LEN, [b"longer"])
    members.world.memories[2].remove(claim_name(EPOCH))
    members.world.fail_one(3, Fault.IO, "replace")
    assert await members.mend() == (3, 3)
    assert claims == [memory.read(claim_name(EPOCH), 0, BLOCK_LEN + 9)
                      for memory in members.world.memories]


async def test_a_claim_that_is_no_file_is_replaced(members: Members) -> None:
    removed: list[str] = []

    class Planted(FaultyTarget):
        def read(self, name: str, offset: int, length: int) -> bytes:
            if name.startswith("claim") and not removed:
                raise self._error(Fault.UNSAFE, "read", name)
            return super().read(name, offset, length)

        def remove(self, name: str) -> None:
            removed.append(name)
            super().remove(name)

    members.world.fleet[members.world.ids[4]].target = Planted(members.world.memories[4])
    assert await members.mend() == (1, 1)
    assert removed == [claim_name(EPOCH)]
    assert members.world.memories[4].read(claim_name(EPOCH), 0, BLOCK_LEN) == CLAIM


async def test_a_claim_that_cannot_be_put_back_is_left(members: Members) -> None:
    members.world.memories[2].remove(claim_name(EPOCH))
    members.world.fail_one(2, Fault.FULL, "replace")
    assert await members.mend() == (0, 0)


async def test_targets_of_another_writer_are_left_alone(members: Members) -> None:
    fenced = members.world.targets[1]
    members.fences[fenced] = Fenced("another host has claimed the pool")
    members.write(1, 0, b"rot")
    members.world.memories[1].remove(claim_name(EPOCH))
    before = members.file(1)
    await members.mend()
    assert members.file(1) == before
    assert claim_name(EPOCH) not in members.world.memories[1].list_names()


async def test_files_of_later_epochs_are_left_alone(members: Members) -> None:
    """Another writer's: what looks torn there may be a record on its way."""
    members.make(6, record_hash(members.records[-1]), epoch=EPOCH + 1)
    for number in range(3):
        members.world.memories[number].create(
            commits_name(EPOCH + 1), members.records[-1] + b"half a record")
    before = [members.file(number, EPOCH + 1) for number in range(3)]
    await members.mend()
    assert [members.file(number, EPOCH + 1) for number in range(3)] == before
    assert all(commits_name(EPOCH + 1) not in memory.list_names()
               for memory in members.world.memories[3:])


@pytest.mark.parametrize("more", [3, 4])
async def test_two_records_at_one_place_get_their_own(members: Members, more: int) -> None:
    """Both are needed, and each has one that says where it lies, however many show it elsewhere."""
    for number in range(6):
        members.world.memories[number].truncate(commits_name(EPOCH), 3 * BLOCK_LEN)
        members.write(number, 3 * BLOCK_LEN, members.records[more if number > 1 else 7 - more])
    await members.mend()
    assert {members.file(number) for number in range(6)} == {b"".join(members.records)}


@pytest.mark.parametrize("more", [0, 1])
async def test_the_record_that_more_members_have_keeps_its_place(members: Members,
                                                                 more: int) -> None:
    """Two that both are needed, the second a checkpoint behind a gap, of which nothing tells where
    it lies: the lesser one does not spread."""
    root = Root(2, bytes(31) + b"2", 1, (), (), (), 1, 1, 1, 1, 0, 0, 4, 2, 1, (), (), 1)
    both = [members.records[0], encode_commit(
        Commit(EPOCH, 3, root.base_hash, bytes(16), 0, 1, 1, (), root=root), members.keys,
        bytes(32))]
    for number in range(6):
        members.world.memories[number].truncate(commits_name(EPOCH), 0)
        members.write(number, 0, both[more if number > 1 else 1 - more])
    await members.mend()
    assert {members.file(number) for number in range(6)} == {both[more]}


async def test_before_an_epoch_a_quorum_holds_what_was_adopted(members: Members) -> None:
    members.drop_last(0, 1, 2, 3, 4)
    await members.secure()
    view = await members.view()
    assert len(view.holders[EPOCH, 5]) >= QUORUM


async def test_also_where_the_last_writer_let_go_cleanly() -> None:
    members = Members(4)
    members.make(5, record_hash(members.records[-1]), clean=True)
    members.write(5, 4 * BLOCK_LEN, members.records[-1])
    await members.secure()
    assert len((await members.view()).holders[EPOCH, 5]) >= QUORUM


async def test_a_clean_and_whole_log_is_synced_and_not_touched() -> None:
    members = Members(4)
    members.make(5, record_hash(members.records[-1]), clean=True)
    for number in range(6):
        members.write(number, 4 * BLOCK_LEN, members.records[-1])
    calls: list[str] = []

    def plan(method: str, name: str, offset: int) -> None:
        calls.append(method)

    members.world.fail[:] = [plan] * 6
    await members.secure()
    assert not {"write", "replace", "create"} & set(calls)


async def test_a_tail_that_nobody_else_can_take_is_no_ground_for_an_epoch(
        members: Members) -> None:
    members.drop_last(0, 1, 2, 3)
    for number in range(3):
        members.world.fail_one(number, Fault.FULL, "create", "write")
    with pytest.raises(ReadOnly, match="too few targets"):
        await members.secure()


async def test_records_that_only_a_page_cache_holds_are_made_durable(members: Members) -> None:
    """Their writer was killed before its sync; the power fails after we have built on them."""
    for memory in members.world.memories:
        memory.crash(keep=lambda number: True)
    parent = record_hash(members.records[-1])
    members.make(6, parent)
    for number in range(6):
        members.write(number, 5 * BLOCK_LEN, members.records[-1])
    await members.secure()
    for memory in members.world.memories:
        memory.crash()
    assert len((await members.view()).holders[EPOCH, 6]) >= QUORUM


async def test_where_a_record_cannot_be_made_durable_it_does_not_count(members: Members) -> None:
    for number in range(3):
        members.world.fail_one(number, Fault.IO, "sync")
    with pytest.raises(ReadOnly, match="too few targets"):
        await members.secure()


async def test_a_member_without_a_file_of_the_epoch_is_no_failure(members: Members) -> None:
    members.world.memories[3].remove(commits_name(EPOCH))
    await members.secure()
    assert members.file(3).rstrip(b"\0") == b"".join(members.records).rstrip(b"\0")


async def test_a_torn_tail_goes_before_an_epoch(members: Members) -> None:
    for number in (1, 2):
        members.write(number, 5 * BLOCK_LEN, b"half of a record that nobody acknowledged")
    await members.secure()
    assert not (await members.view()).bad




async def test_one_member_whose_records_moved_moves_no_others(members: Members) -> None:
    """What is read begins at the third record; there it alone shows the second, and behind that,
    where the second ends, the third."""
    whole = b"".join(members.records)
    members.write(0, 0, bytes(BLOCK_LEN) + whole)
    view = await members.view(2 * BLOCK_LEN)
    for seq in (3, 4, 5):
        assert view.records[EPOCH, seq].offset == (seq - 1) * BLOCK_LEN
        assert view.holders[EPOCH, seq] == set(members.world.ids[1:])
    await members.mend()
    assert all(members.file(number)[: len(whole)] == whole for number in range(6))


async def test_a_record_lies_where_the_one_before_it_ends(members: Members) -> None:
    """A misdirected write on one member does not make the good copy on another the bad one."""
    members.drop_last(*range(1, 6))
    members.write(1, 0, members.records[-1])
    view = await members.view()
    assert view.records[EPOCH, 5].offset == 4 * BLOCK_LEN
    assert view.holders[EPOCH, 5] == {members.world.ids[0]}
    await members.secure()
    for number in range(6):
        assert members.file(number)[: 5 * BLOCK_LEN] == b"".join(members.records)


async def test_a_copy_in_the_place_of_a_record_that_nobody_has_is_bad(members: Members) -> None:
    """Also on a member that has that record where it belongs; for two copies on the only one that
    has it nobody can tell which place is the right one."""
    for number in range(6):
        members.write(number, BLOCK_LEN, bytes(BLOCK_LEN))
    members.write(2, BLOCK_LEN, members.records[3])
    assert (await members.view()).bad == [(members.world.ids[2], EPOCH, BLOCK_LEN)]
    for number in (0, 1, 3, 4, 5):
        members.world.memories[number].truncate(commits_name(EPOCH), BLOCK_LEN)
    view = await members.view()
    assert view.holders[EPOCH, 4] == {members.world.ids[2]} and not view.bad


async def test_a_record_that_cannot_be_read_again_is_not_taken_for_a_bad_one(
        members: Members) -> None:
    """Its only holder is slow: it does not count as read, and its record stays as it is."""
    members.drop_last(*range(5))
    before = members.file(5)

    def slow(method: str, name: str, offset: int) -> Outcome:
        return Fault.TIMEOUT if method == "read" and offset == 4 * BLOCK_LEN else None

    members.world.fail[5] = slow
    view = await members.view()
    assert members.world.ids[5] not in view.read
    assert not [at for member, _, at in view.bad if member == members.world.ids[5]]
    await members.mend()
    assert members.file(5) == before
