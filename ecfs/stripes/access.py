"""Reading stripes: headers, units, whole examinations; awaiting or, for SQLite, blocking."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.base.memory import unwritten
from ecfs.erasure import Code, Geometry
from ecfs.formats import (
    KIND_CONTENT,
    ColumnHeader,
    SegmentEntry,
    StripeHead,
    encode_column_header,
)
from ecfs.keys import MasterKey
from ecfs.observe import Event, EventKind, Journal
from ecfs.sealing import keyed_hash
from ecfs.stripes.asking import Asking
from ecfs.stripes.fleet import FAULT_KINDS, Fleet, MemberState
from ecfs.stripes.layout import Layout, UnitRun
from ecfs.stripes.reader import (
    Examination,
    Fetch,
    Read,
    ShardFault,
    Steps,
    StripeLost,
    examine_steps,
    ranges_of,
    read_steps,
)
from ecfs.stripes.sealed import StripeOpener, StripeRef
from ecfs.targets import AnyLane, Buffer, Target, run_all

OPENERS_MAX = 1024
GIVEN_BACK_COUNT_MAX = 4096
HELD_COUNT_MAX = 1024
ZEROS_LEN = 64
"""Neither a record nor anything sealed in it begins with so many zeros."""
T = TypeVar("T")


async def run_jobs(jobs: Sequence[tuple[AnyLane, Callable[[], T]]],
                   deadline_s: float) -> list[T | TargetError]:
    """Do each job in its lane, all at once; results or errors in the order of the jobs."""
    return await run_all([lane for lane, _ in jobs], [job for _, job in jobs], deadline_s)


@dataclass(slots=True)
class Identity:
    """What a store is bound to: pool, keys, the writer's epoch and the liars it withstands."""

    pool_id: bytes
    master: MasterKey
    epoch: int
    liars: int


class StripeAccess:
    """Reads the stripes of one pool. `on_fault` is for those who read and cannot mend; `is_fenced`
    tells, in a target's lane, whether another writer has claimed it; `may_lack` whether a target
    that is behind may lack a shard of a stripe because it never acknowledged it; `is_dead` whether
    nothing names a stripe of content any more. Up to the segment `given_back_to` dead stripes may
    have been given back."""

    def __init__(self, identity: Identity, fleet: Fleet, journal: Journal) -> None:
        self.identity = identity
        self.fleet = fleet
        self.journal = journal
        self._unit_len = identity.master.unit_len
        self._codes: dict[Geometry, Code] = {}
        self._openers: OrderedDict[tuple[int, int, int, bytes, bytes], StripeOpener] = OrderedDict()
        self.on_fault: Callable[[StripeRef, Sequence[ShardFault]], None] = (
            lambda ref, faults: None)
        self.is_fenced: Callable[[Target], bool] = lambda target: False
        self.may_lack: Callable[[bytes, StripeRef], bool] = lambda target_id, ref: True
        self.is_dead: Callable[[StripeRef], bool] = lambda ref: False
        self.given_back_to = 0
        self._given_back: OrderedDict[int, None] = OrderedDict()
        self._held: dict[tuple[int, int, int], tuple[StripeRef, ShardFault]] | None = None

    def give_back(self, segments: Iterable[SegmentEntry]) -> None:
        """The columns of these segments are about to be removed: whoever reads in them now finds
        nothing, and nobody is to blame for it."""
        for segment in segments:
            self._given_back[segment.id] = None
        while len(self._given_back) > GIVEN_BACK_COUNT_MAX:
            self._given_back.popitem(last=False)

    def hold_back(self) -> None:
        """Keep shards that are missing from now on until `tell_held`: who may lack them stands in
        what is being read. The first HELD_COUNT_MAX of them; more are told at once."""
        self._held = {}

    def tell_held(self) -> None:
        """Note what was held back, each shard once, by what is known now; hold back no more."""
        held, self._held = self._held, None
        for ref, fault in (held or {}).values():
            self.note(ref, [fault])

    def is_given_back(self, segment: SegmentEntry) -> bool:
        """Whether the columns of a segment were removed a while ago, or are being removed."""
        return segment.id in self._given_back

    def keeps_dead(self, segment: SegmentEntry, kind: int) -> bool:
        """Whether dead stripes of a segment are still where they were written."""
        return kind != KIND_CONTENT or segment.id > self.given_back_to

    def is_gone(self, ref: StripeRef) -> bool:
        """Whether a stripe was given back, or may be at any moment: with its segment, or because
        it is dead."""
        return self.is_given_back(ref.segment) or (
            not self.keeps_dead(ref.segment, ref.kind) and self.is_dead(ref))

    def column_header(self, segment: SegmentEntry, column: int) -> bytes:
        """The 4 KiB that a column file of this segment begins with."""
        keys = self.identity.master.segment(segment.id, segment.epoch)
        header = ColumnHeader(self.identity.pool_id, segment.epoch, segment.id, segment.data,
                              segment.parity, column)
        return encode_column_header(
            header, lambda fields: keyed_hash(keys.tag, purpose=b"column header", parts=[fields]))

    def layout(self, ref: StripeRef) -> Layout:
        """Where the units of a stripe lie."""
        return ref.layout(self._unit_len)

    def code(self, geometry: Geometry) -> Code:
        """The codec of a geometry."""
        if geometry not in self._codes:
            self._codes[geometry] = Code(geometry)
        return self._codes[geometry]

    def opener(self, ref: StripeRef) -> StripeOpener:
        """Keys of a stripe, from a bounded cache."""
        key = (ref.segment.id, ref.segment.epoch, ref.offset, ref.salt, ref.digest)
        found = self._openers.get(key)
        if found is None:
            keys = self.identity.master.segment(ref.segment.id, ref.segment.epoch)
            found = StripeOpener(ref, keys, self.identity.pool_id)
            self._openers[key] = found
            if len(self._openers) > OPENERS_MAX:
                self._openers.popitem(last=False)
        else:
            self._openers.move_to_end(key)
        return found

    def usable(self, ref: StripeRef) -> frozenset[int]:
        """Columns whose target is there."""
        return frozenset(column for column, target_id in enumerate(ref.segment.columns)
                         if (member := self.fleet.get(target_id)) is not None and member.online)

    async def read(self, ref: StripeRef, units: list[UnitRun]) -> Read:
        """Read units of a stripe; the damage met is part of the result."""
        found = self.read_now(ref, units)
        if found is not None:
            return Read(found)
        usable = self.usable(ref)
        try:
            asking, steps = self._begin_read(ref, units, usable)
            result = await asking.drive(steps)
        except StripeLost as lost:
            self.note(ref, lost.faults)
            replaced = self._replaced(ref, lost)
            wider = self._with_away(ref) | replaced
            if wider <= usable and not replaced:
                raise
            asking, steps = self._begin_read(ref, units, wider, replaced)
            return Read((await asking.drive(steps)).data, lost.faults)
        self.note(ref, result.faults)
        return result

    def _with_away(self, ref: StripeRef) -> frozenset[int]:
        """Columns to ask before a stripe is lost: also those whose target is away, but has not
        been let go of. One that refused a write, or was late, may still show what it holds. Nothing
        is held against it: it was said to be away."""
        return self.usable(ref) | frozenset(
            column for column, target_id in enumerate(ref.segment.columns)
            if (member := self.fleet.get(target_id)) is not None
            and member.state is MemberState.AWAY and member.target is not None
            and member.lane is not None)

    def _replaced(self, ref: StripeRef, lost: StripeLost) -> frozenset[int]:
        """Columns to read from the target that was replaced, before a stripe is lost: those that
        the one in its place does not have right (yet). What is read is verified like anything else,
        and nothing is held against who is no part of the pool."""
        failed = {fault.column for fault in lost.faults}
        return frozenset(
            column for column, target_id in enumerate(ref.segment.columns)
            if (member := self.fleet.get(target_id)) is not None and member.source is not None
            and (column in failed or not member.online))

    def read_now(self, ref: StripeRef, units: list[UnitRun]) -> Buffer | None:
        """What is in memory and authentic, without a trip through the lanes; else None.

        Not from a target that is late with something: it may hang, and then so may this thread.
        What does not open is read again by whoever reports it.
        """
        opener = self.opener(ref)
        name, begin = opener.column_name, opener.body_offset
        if len(units) == 1:
            return self._read_run_now(ref, opener, units[0])
        # All of them first: what is not in memory is found out before anything is opened in vain.
        ranges = ranges_of(units)
        parts: dict[int, memoryview] = {}
        for shard, (low, high) in ranges.items():
            target = self._ready(ref, shard)
            if target is None:
                return None
            sealed = target.read_now(name, begin + low, high - low)
            if sealed is None:
                return None
            parts[shard] = memoryview(sealed)
        try:
            data, at = unwritten(sum(unit.length for unit in units)), 0
            view = memoryview(data)
            for unit in units:
                low = ranges[unit.shard][0]
                opener.open_run(unit, parts[unit.shard][unit.offset - low : unit.end - low],
                                view[at : at + unit.length])
                at += unit.length
        except Damage:
            return None
        return data

    def _ready(self, ref: StripeRef, shard: int) -> Target | None:
        """The target of a shard, unless it is away or late."""
        member = self.fleet.get(ref.segment.columns[shard])
        if (member is None or not member.online or member.target is None
                or member.lane is None or member.lane.is_late()):
            return None
        return member.target

    def _read_run_now(self, ref: StripeRef, opener: StripeOpener, run: UnitRun) -> Buffer | None:
        """As `read_now`, for most reads."""
        target = self._ready(ref, run.shard)
        if target is None:
            return None
        sealed = target.read_now(opener.column_name, opener.body_offset + run.offset,
                                 run.sealed_len)
        if sealed is None:
            return None
        try:
            if run.length <= run.unit_len:
                return opener.open_unit(run.nonce, sealed)
            data = unwritten(run.length)
            opener.open_run(run, memoryview(sealed), memoryview(data))
        except Damage:
            return None
        return data

    async def examine(self, ref: StripeRef, *, note: bool = True) -> Examination:
        """Read and check all shards of a stripe in full. StripeLost, which is noted likewise."""
        try:
            result = await self._asking(ref).drive(
                examine_steps(ref, self.opener(ref), self.usable(ref)))
        except StripeLost as lost:
            if note:
                self.note(ref, lost.faults)
            return await self._examine_replaced(ref, lost)
        if note:
            self.note(ref, result.faults)
        return result

    async def _examine_replaced(self, ref: StripeRef, lost: StripeLost) -> Examination:
        """A stripe that would be lost, with the shards of targets that were replaced; its faults
        are those of the members. StripeLost as before when that does not help."""
        replaced = self._replaced(ref, lost)
        if not replaced:
            raise lost
        steps = examine_steps(ref, self.opener(ref), self.usable(ref) | replaced)
        try:
            result = await self._asking(ref, replaced).drive(steps)
        except StripeLost:
            raise lost from None
        result.faults = list(lost.faults)
        return result

    async def read_directory(self, ref: StripeRef) -> tuple[StripeHead, bytes]:
        """The sealed head of a stripe and its directory. Damage when neither can be had."""
        examination = await self.examine(ref)
        opener = self.opener(ref)
        head = opener.head(examination.header)
        units = self.layout(ref).units_of(head.directory_start, head.directory_len)
        return head, bytes((await self.read(ref, units)).data) if units else b""

    def read_sync(self, ref: StripeRef, units: list[UnitRun]) -> Read:
        """As `read`, blocking: for a database page that SQLite wants now."""
        found = self.read_now(ref, units)
        if found is not None:
            return Read(found)
        usable = self.usable(ref)
        try:
            asking, steps = self._begin_read(ref, units, usable)
            result = asking.drive_sync(steps)
        except StripeLost as lost:
            self.note(ref, lost.faults)
            replaced = self._replaced(ref, lost)
            wider = self._with_away(ref) | replaced
            if wider <= usable and not replaced:
                raise
            asking, steps = self._begin_read(ref, units, wider, replaced)
            return Read(asking.drive_sync(steps).data, lost.faults)
        self.note(ref, result.faults)
        return result

    def _asking(self, ref: StripeRef, replaced: frozenset[int] = frozenset()) -> Asking:
        return Asking(ref, self.fleet, self._read_column, replaced)

    def _begin_read(self, ref: StripeRef, units: list[UnitRun], columns: frozenset[int],
                    replaced: frozenset[int] = frozenset()) -> tuple[Asking, Steps]:
        """A read from these columns, the late ones last, and what asks them; those `replaced` are
        read on the targets that were there."""
        asking = self._asking(ref, replaced)
        late = self.fleet.late(ref.segment.columns, ref.segment.data) & columns - replaced
        if late and len(columns - late) < ref.segment.data:
            # Some of them are needed anyhow.
            late = frozenset()
        elif late:
            begin = self.opener(ref).body_offset
            for shard, (low, high) in ranges_of(units).items():
                if shard in late:
                    asking.try_late(Fetch(shard, begin + low, high - low))
        steps = read_steps(ref, self.opener(ref), self.code(ref.geometry), units, columns, late)
        return asking, steps

    def _read_column(self, target: Target, name: str, fetch: Fetch) -> bytes:
        """Runs in the target's lane. A column that is gone, or zeros, is held against nobody where
        another writer has taken over: it may have given the segment, or the stripe, back."""
        try:
            data = target.read(name, fetch.offset, fetch.length)
            if not data or any(data[:ZEROS_LEN]) or not self.is_fenced(target):
                return data
            raise TargetError(Fault.FENCED, f"{target.path}: another writer has claimed the pool "
                              "and may have given this stripe back")
        except TargetError as error:
            if error.fault is Fault.MISSING and self.is_fenced(target):
                raise TargetError(Fault.FENCED, f"{target.path}: another writer has claimed the "
                                  "pool and has given this column back") from error
            raise

    def note(self, ref: StripeRef, faults: Iterable[ShardFault]) -> None:
        """Record the evidence of each fault against its target."""
        found = list(faults)
        if not found or self.is_gone(ref):
            return
        for fault in found:
            member = self.fleet.get(ref.segment.columns[fault.column])
            if fault.fenced or (fault.missing and member is not None and member.behind
                                and self.may_lack(member.id, ref)):
                # Given back by who took over, or never acknowledged: its absence accuses nobody.
                continue
            column = fault.column
            if fault.missing and self._hold(ref, fault):
                continue
            self.journal.record(Event(
                _kind_of(fault), f"segment {ref.segment.id:x} offset {ref.offset:x} column "
                f"{column}: {fault.reason}", target=ref.segment.columns[column],
                segment=ref.segment.id, offset=ref.offset))

    def _hold(self, ref: StripeRef, fault: ShardFault) -> bool:
        """Whether it is told later, if at all."""
        held, place = self._held, (ref.segment.id, ref.offset, fault.column)
        if held is None or (len(held) >= HELD_COUNT_MAX and place not in held):
            return False
        held[place] = (ref, fault)
        return True


def _kind_of(fault: ShardFault) -> EventKind:
    if fault.missing:
        return EventKind.SHARD_MISSING
    if fault.fault is None:
        return EventKind.SHARD_BAD
    return FAULT_KINDS.get(fault.fault, EventKind.READ_FAILED)
