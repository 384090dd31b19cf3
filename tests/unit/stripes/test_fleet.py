"""The fleet: who takes part, how full a target is, and who is told of it."""

from dataclasses import replace

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import RESERVE_LEN_MIN
from ecfs.base.units import NS_PER_S
from ecfs.observe import EventKind, Journal
from ecfs.stripes import Fleet, Member, MemberState
from ecfs.stripes.fleet import FULL_SLACK_LEN, REFUSAL_PAUSE_S, REFUSALS_MAX
from ecfs.targets import InlineLane, MemoryTarget
from tests.unit.stripes.simulated import MovedClock, StillClock


def fleet_of(count: int, clock: StillClock | MovedClock | None = None,
             ) -> tuple[Fleet, Journal, list[bytes]]:
    """A fleet whose members are all there, its journal, and ids of which it told something."""
    journal = Journal(clock or StillClock())
    fleet = Fleet([Member(bytes([number]) * 16, f"t{number}", f"/t{number}",
                          MemoryTarget(f"/t{number}"), InlineLane(f"t{number}"),
                          MemberState.ONLINE) for number in range(count)], journal)
    told: list[bytes] = []
    fleet.on_change.append(lambda member: told.append(member.id))
    return fleet, journal, told


def ids(fleet: Fleet) -> list[int]:
    return [member.id[0] for member in fleet]


def test_a_replacement_takes_the_place_of_the_old_one() -> None:
    fleet, _, _ = fleet_of(3)
    new = replace(fleet[bytes([1]) * 16], id=bytes([9]) * 16)
    fleet.add(new)
    assert ids(fleet) == [0, 1, 2, 9]
    fleet.exchange(bytes([1]) * 16, new)
    assert ids(fleet) == [0, 9, 2] and len(fleet) == 3
    assert fleet.get(bytes([1]) * 16) is None
    fleet.drop(new.id)
    fleet.drop(new.id)
    assert ids(fleet) == [0, 2]


def test_a_target_is_known_as_a_member() -> None:
    fleet, _, _ = fleet_of(3)
    for member in fleet:
        assert member.target is not None and fleet.id_of(member.target) == member.id
    assert fleet.id_of(MemoryTarget("/elsewhere")) is None


def test_away_is_said_once_and_ends() -> None:
    fleet, journal, told = fleet_of(2)
    member = fleet[bytes([1]) * 16]
    for _ in range(3):
        fleet.mark_away(member.id, "the disk is gone")
    fleet.mark_away(b"nobody", "x")
    assert (member.state, member.reason, member.online) == (
        MemberState.AWAY, "the disk is gone", False)
    assert journal.count(EventKind.TARGET_AWAY) == 1 and told == [member.id]
    fleet.mark_online(member)
    assert member.online and not member.reason and told == [member.id] * 2


def test_a_full_target_stays_until_its_reserve_is_used_too() -> None:
    """Only what may use the reserve is still written; it is not called away (threat 24)."""
    fleet, journal, told = fleet_of(2)
    member = fleet[bytes([0]) * 16]
    full = TargetError(Fault.FULL, "no space left")
    fleet.note_write_error(member.id, full)
    assert (member.full, member.packed, member.online) == (True, False, True)
    assert [one.id for one in fleet.placeable()] == [bytes([1]) * 16]
    fleet.note_write_error(member.id, full)
    assert member.packed and len(told) == 2
    fleet.note_write_error(b"nobody", full)
    assert journal.count(EventKind.TARGET_AWAY) == journal.count(EventKind.WRITE_FAILED) == 0


def test_room_that_comes_back_is_noticed() -> None:
    fleet, _, told = fleet_of(1)
    member = fleet[bytes(16)]
    member.full = member.packed = True
    fleet.note_space(member, RESERVE_LEN_MIN // 4 - 1)
    assert (member.free_len, member.full, member.packed, told) == (0, True, True, [])
    fleet.note_space(member, RESERVE_LEN_MIN)
    assert (member.free_len, member.full, member.packed) == (0, True, False)
    fleet.note_space(member, RESERVE_LEN_MIN + FULL_SLACK_LEN - 1)
    assert (member.full, len(told)) == (True, 1)
    fleet.note_space(member, RESERVE_LEN_MIN + FULL_SLACK_LEN)
    assert (member.free_len, member.full) == (FULL_SLACK_LEN, False)
    fleet.note_space(member, RESERVE_LEN_MIN + 6)
    assert (member.free_len, member.full, len(told)) == (6, False, 2)
    fleet.note_space(member, RESERVE_LEN_MIN // 8)
    assert member.full and not member.packed


def test_one_that_refuses_and_says_that_it_has_room_is_full_for_a_while() -> None:
    """No inodes are left, or its owner has used up a quota, of which statvfs(2) tells nothing."""
    clock = MovedClock()
    fleet, _, _ = fleet_of(1, clock)
    member = fleet[bytes(16)]
    refused = TargetError(Fault.FULL, "quota exceeded")
    plenty = RESERVE_LEN_MIN + 100 * FULL_SLACK_LEN
    for _ in range(REFUSALS_MAX - 1):
        fleet.note_write_error(member.id, refused)
        fleet.note_space(member, plenty)
        assert not member.full
    for _ in range(2):
        fleet.note_write_error(member.id, refused)
        clock.now_ns += int(REFUSAL_PAUSE_S * NS_PER_S) - 1
        fleet.note_space(member, plenty)
        assert member.full
        clock.now_ns += 1
        fleet.note_space(member, plenty)
        assert not member.full
    # It has taken something; or it says what is so.
    for takes in (True, False):
        if takes:
            fleet.note_taken(member.id)
        else:
            fleet.note_space(member, RESERVE_LEN_MIN)
        for _ in range(REFUSALS_MAX - 1):
            fleet.note_write_error(member.id, refused)
            fleet.note_space(member, plenty)
            assert not member.full
    fleet.note_taken(b"nobody")


def test_what_is_written_counts_before_the_next_measuring() -> None:
    fleet, _, told = fleet_of(1)
    member = fleet[bytes(16)]
    fleet.note_used(member, 5)
    assert (member.free_len, member.full) == (0, False), "nothing was measured yet"
    fleet.note_space(member, RESERVE_LEN_MIN + 10)
    fleet.note_used(member, 4)
    assert (member.free_len, member.full, len(told)) == (6, False, 0)
    for _ in range(2):
        fleet.note_used(member, 6)
        assert (member.free_len, member.full, len(told)) == (0, True, 1)
