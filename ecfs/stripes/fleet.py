"""The targets of a pool as the client sees them now: which are there, on which thread, how full."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import RESERVE_LEN_MIN
from ecfs.base.units import MIB, NS_PER_S
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes.departures import Departures
from ecfs.stripes.pace import Pace
from ecfs.stripes.syncpace import SyncPace
from ecfs.targets import AnyLane, Target, Together

PACKED_LEN = RESERVE_LEN_MIN // 4
FULL_SLACK_LEN = 1 * MIB
"""Beyond the reserve: who was full takes content again once so much is free, so that one that says
it has next to nothing does not end a segment each second."""
REFUSALS_MAX = 3
REFUSAL_PAUSE_S = 30.0
"""Who refuses for want of room so many times, though each measuring between tells of enough, is
believed to be full for a while: it has no inodes left, or its owner a quota. It would end a segment
each second else, and the advice to make room there would come and go."""
_HUNG = (Fault.TIMEOUT, Fault.EXISTS)
"""Faults for which the pause is long: no answer, or games with names."""
FAULT_KINDS = {Fault.UNSAFE: EventKind.TARGET_UNSAFE_FILE, Fault.TIMEOUT: EventKind.TARGET_SLOW}
"""What some faults of a target are told as, whether it was read or written."""


class MemberState(StrEnum):
    """Whether a target takes part."""

    ONLINE = "online"
    AWAY = "away"
    MISSING = "missing"
    FOREIGN = "foreign"
    CLONE = "clone"


@dataclass(frozen=True, slots=True)
class Source:
    """A target that was replaced and is still here. It takes nothing any more; what is not yet on
    the one in its place, and would be lost otherwise, is read from its columns. `is_copy`: it is
    another copy of that very target, and of use as long as it is here."""

    path: str
    target: Target
    lane: AnyLane
    is_copy: bool = False


@dataclass(slots=True)
class Member:
    """One target of the pool. `target` and `lane` are None while it is not there.

    `free_len`: bytes beyond the reserve, as last measured; `full`: none are, so it takes no new
    content; `packed`: it refused even what may use the reserve. `refusals_count`: how often it
    did so since it took anything, or said that it had no room; the last time at `refused_ns`.
    `filling`: somebody is rebuilding it now.
    `reason`: why it is not there, `remedy`: what brings it back, where that is not plain.
    `leaving`: another target takes its place: it takes commit records until that is done,
    no labels, and is not taken in again. `takes_shards`: those of new stripes may lie there; not on
    that other target before columns are handed over to it, nor on this one after. `behind`: it may
    lack shards that it never acknowledged, until it has caught up; `missed_count` grows with each.
    `unnamed`: some are of stripes that no checkpoint names yet, so who catches up cannot find them.
    `source`: the target in whose place it came, as long as that is here and needed.
    """

    id: bytes
    name: str
    path: str
    target: Target | None = None
    lane: AnyLane | None = None
    state: MemberState = MemberState.MISSING
    full: bool = False
    packed: bool = False
    free_len: int = 0
    behind: bool = False
    filling: bool = False
    leaving: bool = False
    takes_shards: bool = True
    missed_count: int = 0
    unnamed: bool = False
    generation: tuple[int, int] = (0, 0)
    refusals_count: int = 0
    refused_ns: int = 0
    reason: str = ""
    remedy: str = ""
    source: Source | None = None
    pace: Pace = field(default_factory=Pace)
    departures: Departures = field(default_factory=Departures)

    @property
    def online(self) -> bool:
        """Whether it may be read and written."""
        return self.state is MemberState.ONLINE and self.target is not None

    def as_source(self) -> Source | None:
        """What is left of it for the target that takes its place: also where it is away, for one
        that refused a write may still show what it holds."""
        if self.target is None or self.lane is None:
            return None
        return Source(self.path, self.target, self.lane)


class Fleet:
    """All members of a pool by id. Changed by the event loop only. `together`: a thread for what is
    short and done on all of them, if there is one."""

    def __init__(self, members: Iterable[Member], journal: Journal,
                 together: Together | None = None) -> None:
        self._members = {member.id: member for member in members}
        self._journal = journal
        self.clock = journal.clock
        self.together = together
        self._sync_pace = SyncPace()
        self.on_change: list[Callable[[Member], None]] = []

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, target_id: bytes) -> Member:
        return self._members[target_id]

    def get(self, target_id: bytes) -> Member | None:
        """The member with this id, if the pool has one."""
        return self._members.get(target_id)

    def id_of(self, target: Target) -> bytes | None:
        """The id of the member that this target is. Also from a lane's thread."""
        members = list(self._members.values())
        return next((member.id for member in members if member.target is target), None)

    def add(self, member: Member) -> None:
        """Take in a new member."""
        self._members[member.id] = member

    def drop(self, target_id: bytes) -> None:
        """Forget one that did not become a member."""
        self._members.pop(target_id, None)

    def exchange(self, old_id: bytes, new: Member) -> None:
        """Forget a member; the one that replaces it takes its place in the order."""
        self._members = {(new if member.id == old_id else member).id:
                         new if member.id == old_id else member
                         for member in self._members.values() if member is not new}

    def hand_over(self, old: Member, new: Member) -> None:
        """What is placed from now on lies on one target where it used to lie on another."""
        old.takes_shards, new.takes_shards = False, True
        self._tell(old)
        self._tell(new)

    def let_go_source(self, member: Member) -> None:
        """Close what a member was filled from, unless that is a member (still) itself."""
        source, member.source = member.source, None
        if source is not None and self.id_of(source.target) is None:
            source.lane.close(timeout=0.0)
            source.target.close()

    def online(self) -> list[Member]:
        """Members that may be read and written."""
        return [member for member in self._members.values() if member.online]

    def placeable(self) -> list[Member]:
        """Members that may take new columns."""
        return [member for member in self.online() if not member.full and member.takes_shards]

    def mark_away(self, target_id: bytes, reason: str, fault: Fault | None = None) -> None:
        """Take a target out until it is seen again; says so loudly, once. `fault`: how it failed,
        for one that fails again and again is not taken in again at once."""
        member = self._members.get(target_id)
        if member is None or member.state is not MemberState.ONLINE:
            return
        pause_s = 0.0 if fault is None else member.departures.note(
            self.clock.monotonic_ns(), hung=fault in _HUNG)
        if pause_s:
            reason += f"; as it was so before, it is not taken in again for {pause_s:g} s"
        member.state = MemberState.AWAY
        member.reason = reason
        self._journal.record(Event(
            EventKind.TARGET_AWAY, f"target {member.name} ({member.path}) is away: {reason}",
            target=target_id))
        self._tell(member)

    def usual_ns(self, columns: Sequence[bytes], count: int) -> int:
        """How long a read takes at most on the quickest `count` of the targets of these columns; 0
        where that is not known. So many are enough to read a stripe: the others may say what they
        like."""
        usual = sorted(member.pace.usual_ns for target_id in columns
                       if (member := self._members.get(target_id)) is not None
                       and member.pace.usual_ns)
        return usual[count - 1] if len(usual) >= count else 0

    def late(self, columns: Sequence[bytes], count: int) -> frozenset[int]:
        """Columns to ask last, since their targets were late; `count` as for `usual_ns`."""
        now_ns, usual_ns = self.clock.monotonic_ns(), partial(self.usual_ns, columns, count)
        late = []
        for column, target_id in enumerate(columns):
            member = self._members.get(target_id)
            if member is not None and member.pace.is_late(now_ns, usual_ns):
                late.append(column)
                self._tell_late(member)
        return frozenset(late)

    def note_late(self, target_id: bytes) -> None:
        """A target has not answered in time, though it may within its deadline."""
        member = self._members.get(target_id)
        if member is not None:
            member.pace.note_late(self.clock.monotonic_ns())
            self._tell_late(member)

    def _tell_late(self, member: Member) -> None:
        if member.pace.take_telling():
            self._journal.record(Event(
                EventKind.TARGET_SLOW, f"target {member.name} ({member.path}) answers late again "
                "and again: others are read in its place", target=member.id))

    def note_syncs(self, took_ns: Mapping[bytes, int]) -> None:
        """How long syncs took that were begun at once; tells who is slow again and again."""
        for target_id in self._sync_pace.note(took_ns, self.clock.monotonic_ns()):
            member = self._members.get(target_id)
            if member is not None:
                self._journal.record(Event(
                    EventKind.TARGET_SLOW, f"target {member.name} ({member.path}) takes "
                    f"{took_ns[target_id] / NS_PER_S:.1f} s for a sync, far longer than the "
                    "others, again and again: all that is made durable waits for it; replace it "
                    "if that is too long", target=member.id))

    def note_missed(self, target_ids: Iterable[bytes], *, named: bool = True) -> None:
        """These lack a shard from now on: of a stripe that was written, or whose row was entered,
        so that who looks for what they lack finds it. Not so if it is not `named`: such a one
        stays behind until `name_missed`, whatever it is compared with."""
        for target_id in target_ids:
            member = self._members.get(target_id)
            if member is not None:
                member.behind = True
                member.missed_count += 1
                member.unnamed = member.unnamed or not named

    def name_missed(self) -> None:
        """All stripes that count are named by now: who looks from now on finds what they lack."""
        for member in self._members.values():
            if member.unnamed:
                member.unnamed = False
                member.missed_count += 1

    def mark_online(self, member: Member) -> None:
        """Take a target in again."""
        member.state = MemberState.ONLINE
        member.reason = member.remedy = ""
        self._tell(member)

    def note_write_error(self, target_id: bytes, error: TargetError) -> None:
        """A write or a sync failed: a full target takes no new columns, any other is away."""
        member = self._members.get(target_id)
        if member is None:
            return
        if error.fault is Fault.FULL:
            member.refusals_count += 1
            member.refused_ns = self.clock.monotonic_ns()
            member.packed, member.full = member.full, True
            self._tell(member)
            return
        kind = FAULT_KINDS.get(error.fault, EventKind.WRITE_FAILED)
        self._journal.record(Event(kind, str(error), target=target_id))
        self.mark_away(target_id, str(error), error.fault)

    def note_space(self, member: Member, free_len: int) -> None:
        """What a target has free was measured: `free_len` counts everything, the reserve too."""
        member.free_len = max(0, free_len - RESERVE_LEN_MIN)
        full = member.free_len < (FULL_SLACK_LEN if member.full else 1)
        packed = member.packed and free_len < PACKED_LEN
        if full:
            member.refusals_count = 0
        elif (member.refusals_count >= REFUSALS_MAX and self.clock.monotonic_ns()
                < member.refused_ns + int(REFUSAL_PAUSE_S * NS_PER_S)):
            full, packed = member.full, member.packed
        if (full, packed) != (member.full, member.packed):
            member.full, member.packed = full, packed
            self._tell(member)

    def note_taken(self, target_id: bytes) -> None:
        """What was written to a target is durable there."""
        member = self._members.get(target_id)
        if member is not None:
            member.refusals_count = 0

    def note_used(self, member: Member, length: int) -> None:
        """So much content was written since its room was measured: it is full once that is used up.
        Else what is kept for commits would go until the next measuring."""
        if 0 < member.free_len <= length and not member.full:
            member.full = True
            self._tell(member)
        member.free_len = max(0, member.free_len - length)

    def _tell(self, member: Member) -> None:
        for callback in self.on_change:
            callback(member)
