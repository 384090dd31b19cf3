"""The log of stripes: appending, syncing, reading, and re-creating single shards.

Lock order: `_open_lock` of a stream is held while a segment is opened, and for nothing else.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import trio

from ecfs.base.errors import AppendRefused, Fault, NoSpace, TargetError
from ecfs.base.limits import (
    COLUMN_HEADER_LEN,
    COLUMN_LEN_MAX,
    TARGET_DEADLINE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.world import Entropy
from ecfs.erasure import Code, Geometry, data_quorum, narrowed
from ecfs.formats import (
    KIND_METADATA,
    ColumnHeader,
    SegmentEntry,
    StripeHead,
    column_name,
    encode_column_header,
    record_len,
)
from ecfs.keys import MasterKey
from ecfs.observe import Event, EventKind, Journal
from ecfs.sealing import keyed_hash
from ecfs.stripes.fleet import Fleet, Member
from ecfs.stripes.layout import Unit
from ecfs.stripes.reader import (
    Examination,
    Fetch,
    Read,
    Reply,
    ShardFault,
    examine_steps,
    read_steps,
)
from ecfs.stripes.sealed import Buffer, SealedStripe, StripeOpener, StripeRef, choose_body_len
from ecfs.stripes.sealed import seal_stripe as seal
from ecfs.targets import AnyLane, run_all

OPENERS_MAX = 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """A stripe on its targets, not yet synced: extents begin at positions `starts`."""

    ref: StripeRef
    starts: tuple[int, ...]
    missed: frozenset[bytes]


@dataclass(slots=True)
class _Stream:
    """The open segment of one kind, and where its next stripe goes."""

    kind: int
    geometry: Geometry
    segment: SegmentEntry | None = None
    offset: int = 0
    lock: trio.Lock = field(default_factory=trio.Lock)


@dataclass(slots=True)
class Identity:
    """What a store is bound to: pool, keys, the writer's epoch and the liars it withstands."""

    pool_id: bytes
    master: MasterKey
    epoch: int
    liars: int


class StripeStore:
    """All segments of one pool. `worker` is a lane of its own for sealing and coding."""

    def __init__(self, identity: Identity, fleet: Fleet, worker: AnyLane, entropy: Entropy,
                 journal: Journal, *, content: Geometry, metadata: Geometry) -> None:
        self.identity = identity
        self.fleet = fleet
        self._worker = worker
        self._entropy = entropy
        self.journal = journal
        self._streams = {1: _Stream(1, content), KIND_METADATA: _Stream(KIND_METADATA, metadata)}
        self.content_geometry = content
        self._codes: dict[Geometry, Code] = {}
        self._openers: OrderedDict[tuple[int, int, int, bytes], StripeOpener] = OrderedDict()
        self._unsynced: set[tuple[bytes, str]] = set()
        self.appended_len = 0
        self.next_segment = 1
        self.next_order = 1
        self.on_segment: Callable[[SegmentEntry, int], None] = lambda segment, kind: None
        self.on_fault: Callable[[StripeRef, Sequence[ShardFault]], None] = (
            lambda ref, faults: None)
        fleet.on_change.append(self._member_changed)

    # -- appending ---------------------------------------------------------------------------

    async def append(self, kind: int, extents: Sequence[Buffer],
                     directory_of: Callable[[tuple[int, ...]], bytes]) -> Written:
        """Seal and write one stripe; not durable before `sync`.

        `directory_of` makes the stripe's directory from the extents' positions; its length must not
        depend on them by more than its encoding allows (it is laid out last). AppendRefused when
        too few targets took it; the caller tries again, by then in another segment.
        """
        directory = directory_of(tuple(0xFFFFFFFF for _ in extents))
        lengths = [len(extent) for extent in extents] + [len(directory)]
        segment, offset, body_len = await self._reserve(kind, lengths)
        starts = _starts(segment, body_len, lengths)
        order, self.next_order = self.next_order, self.next_order + 1
        sealed = await self._worker.run(
            partial(seal, keys=self.identity.master.segment(segment.id, segment.epoch),
                    pool_id=self.identity.pool_id, segment=segment, offset=offset, kind=kind,
                    extents=extents, directory=directory_of(starts), body_len=body_len,
                    order=order, fresh=self._entropy.token(32),
                    code=self.code(Geometry(segment.data, segment.parity))),
            deadline_s=TARGET_SYNC_DEADLINE_S)
        missed = await self._write_records(sealed)
        self._check_enough(sealed.ref, missed)
        return Written(sealed.ref, sealed.starts, missed)

    def _takes(self, member: Member, kind: int) -> bool:
        """Whether a target takes shards now: only metadata may use the reserve."""
        return member.online and (kind == KIND_METADATA or not member.full)

    async def _write_records(self, sealed: SealedStripe) -> frozenset[bytes]:
        segment = sealed.ref.segment
        name = column_name(segment.epoch, segment.id)
        jobs: list[tuple[AnyLane, Callable[[], None]]] = []
        writers: list[bytes] = []
        missed = set()
        for column, target_id in enumerate(segment.columns):
            member = self.fleet.get(target_id)
            if member is None or not self._takes(member, sealed.ref.kind):
                missed.add(target_id)
                continue
            assert member.target is not None and member.lane is not None
            jobs.append((member.lane, partial(
                member.target.write, name, sealed.ref.offset,
                [sealed.header, sealed.bodies[column]])))
            writers.append(target_id)
        self.appended_len += sealed.ref.body_len * segment.data
        for target_id in writers:
            self._unsynced.add((target_id, name))
        results = await run_jobs(jobs, deadline_s=TARGET_DEADLINE_S)
        for target_id, result in zip(writers, results, strict=True):
            if isinstance(result, TargetError):
                missed.add(target_id)
                self.fleet.note_write_error(target_id, result)
        return frozenset(missed)

    def _check_enough(self, ref: StripeRef, missed: frozenset[bytes]) -> None:
        for target_id in missed:
            member = self.fleet.get(target_id)
            if member is not None:
                member.behind = True
        acknowledged = len(ref.segment.columns) - len(missed)
        if acknowledged < self._needed(ref.segment, ref.kind):
            self._close_segment(ref.segment.id)
            raise AppendRefused(f"only {acknowledged} targets took a stripe")

    def _needed(self, segment: SegmentEntry, kind: int) -> int:
        """W_data: k + f shards; at k = 1 as many as there are, but never fewer than k."""
        needed = data_quorum(Geometry(segment.data, segment.parity), self.identity.liars)
        if segment.data == 1:
            there = sum(1 for member in self.fleet if self._takes(member, kind))
            return max(1, min(needed, there))
        return needed

    async def sync(self, stripes: Sequence[Written]) -> list[Written | AppendRefused]:
        """Make stripes durable on all their targets; for each the final state, or a failure."""
        pending, self._unsynced = self._unsynced, set()
        jobs = []
        files = sorted(pending)
        kept = []
        for target_id, name in files:
            member = self.fleet.get(target_id)
            if member is not None and member.online:
                assert member.target is not None and member.lane is not None
                jobs.append((member.lane, partial(member.target.sync, name)))
                kept.append((target_id, name))
        failed = set(files) - set(kept)
        results = await run_jobs(jobs, deadline_s=TARGET_SYNC_DEADLINE_S)
        for (target_id, name), result in zip(kept, results, strict=True):
            if isinstance(result, TargetError):
                failed.add((target_id, name))
                self.fleet.note_write_error(target_id, result)
                self._abandon(name)
        outcome: list[Written | AppendRefused] = []
        for stripe in stripes:
            segment = stripe.ref.segment
            name = column_name(segment.epoch, segment.id)
            missed = stripe.missed | {target_id for target_id in segment.columns
                                      if (target_id, name) in failed}
            final = replace(stripe, missed=frozenset(missed))
            try:
                self._check_enough(stripe.ref, final.missed)
            except AppendRefused as error:
                outcome.append(error)
            else:
                outcome.append(final)
        return outcome

    def _abandon(self, name: str) -> None:
        """A sync that failed once proves nothing later: nothing more goes into that segment."""
        for stream in self._streams.values():
            segment = stream.segment
            if segment is not None and column_name(segment.epoch, segment.id) == name:
                self.journal.record(Event(
                    EventKind.COLUMN_ABANDONED, f"{name}: a sync failed, the segment is closed",
                    segment=segment.id))
                stream.segment = None

    def _close_segment(self, segment_id: int) -> None:
        for stream in self._streams.values():
            if stream.segment is not None and stream.segment.id == segment_id:
                stream.segment = None

    def close_segments(self) -> None:
        """Let go of all open segments; the next stripe opens a new one."""
        for stream in self._streams.values():
            stream.segment = None

    def open_segment_ids(self) -> set[int]:
        """Segments that may still grow."""
        return {stream.segment.id for stream in self._streams.values()
                if stream.segment is not None}

    def _member_changed(self, member: Member) -> None:
        for stream in self._streams.values():
            segment = stream.segment
            if segment is None:
                continue
            whole = len(segment.columns) == stream.geometry.shards
            takes = self._takes(member, stream.kind)
            if (member.id in segment.columns and not takes) or (takes and not whole):
                stream.segment = None

    # -- segments ----------------------------------------------------------------------------

    async def _reserve(self, kind: int, lengths: list[int]) -> tuple[SegmentEntry, int, int]:
        """A place for a stripe: (segment, offset, body length). Opens a segment when needed."""
        stream = self._streams[kind]
        async with stream.lock:
            for _ in range(len(self.fleet) + 2):
                if stream.segment is None:
                    await self._open_segment(stream)
                segment = stream.segment
                if segment is None:
                    continue
                geometry = Geometry(segment.data, segment.parity)
                body_len = choose_body_len(geometry, lengths)
                length = record_len(body_len, geometry.shards)
                if stream.offset + length <= COLUMN_LEN_MAX:
                    offset, stream.offset = stream.offset, stream.offset + length
                    return segment, offset, body_len
                stream.segment = None
        raise AppendRefused("no segment could be opened on enough targets")

    async def _open_segment(self, stream: _Stream) -> None:
        chosen = self._choose(stream)
        segment_id, self.next_segment = self.next_segment, self.next_segment + 1
        geometry, columns = chosen
        segment = SegmentEntry(segment_id, self.identity.epoch, geometry.data, geometry.parity,
                               columns, COLUMN_HEADER_LEN)
        name = column_name(segment.epoch, segment.id)
        jobs = []
        asked = []
        for column, target_id in enumerate(columns):
            member = self.fleet[target_id]
            if self._takes(member, stream.kind):
                assert member.target is not None and member.lane is not None
                jobs.append((member.lane, partial(
                    member.target.create, name, self.column_header(segment, column))))
                asked.append(target_id)
        results = await run_jobs(jobs, deadline_s=TARGET_SYNC_DEADLINE_S)
        good = 0
        for target_id, result in zip(asked, results, strict=True):
            if not isinstance(result, TargetError):
                good += 1
            elif result.fault is Fault.EXISTS:
                self.journal.record(Event(
                    EventKind.COLUMN_ABANDONED, f"{name} is occupied; the name is given up",
                    target=target_id, segment=segment_id))
            else:
                self.fleet.note_write_error(target_id, result)
        if good == len(asked) and good >= self._needed(segment, stream.kind):
            stream.segment = segment
            stream.offset = COLUMN_HEADER_LEN
            self.on_segment(segment, stream.kind)

    def _choose(self, stream: _Stream) -> tuple[Geometry, tuple[bytes, ...]]:
        """Geometry and columns of a new segment: the emptiest targets, roles rotating."""
        placeable = [member for member in self.fleet if self._takes(member, stream.kind)]
        geometry: Geometry | None = stream.geometry
        if len(placeable) < stream.geometry.shards:
            geometry = narrowed(stream.geometry, len(placeable))
        if geometry is None or len(placeable) <= stream.geometry.parity < len(self.fleet.online()):
            raise NoSpace("too few targets have room for another segment; delete something, or "
                          "add room")
        ordered = sorted(placeable, key=lambda member: (-(member.free_len >> 26), member.id))
        columns = [member.id for member in ordered[: geometry.shards]]
        if len(columns) < geometry.shards:
            spare = [member.id for member in self.fleet if member.id not in columns]
            columns += spare[: geometry.shards - len(columns)]
        turn = self.next_segment % len(columns)
        return geometry, tuple(columns[turn:] + columns[:turn])

    def column_header(self, segment: SegmentEntry, column: int) -> bytes:
        """The 4 KiB that a column file of this segment begins with."""
        keys = self.identity.master.segment(segment.id, segment.epoch)
        header = ColumnHeader(self.identity.pool_id, segment.epoch, segment.id, segment.data,
                              segment.parity, column)
        return encode_column_header(
            header, lambda fields: keyed_hash(keys.tag, purpose=b"column header", parts=[fields]))

    # -- reading -----------------------------------------------------------------------------

    def code(self, geometry: Geometry) -> Code:
        """The codec of a geometry."""
        if geometry not in self._codes:
            self._codes[geometry] = Code(geometry)
        return self._codes[geometry]

    def opener(self, ref: StripeRef) -> StripeOpener:
        """Keys of a stripe, from a bounded cache."""
        key = (ref.segment.id, ref.segment.epoch, ref.offset, ref.salt)
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

    async def read(self, ref: StripeRef, units: list[Unit]) -> Read:
        """Read units of a stripe; the damage met is part of the result."""
        geometry = ref.geometry
        result = await self._drive(ref, read_steps(
            ref, self.opener(ref), self.code(geometry), units, self.usable(ref)))
        self._note(ref, result.faults)
        return result

    async def examine(self, ref: StripeRef, *, note: bool = True) -> Examination:
        """Read and check all shards of a stripe in full."""
        result = await self._drive(ref, examine_steps(ref, self.opener(ref), self.usable(ref)))
        if note:
            self._note(ref, result.faults)
        return result

    async def read_directory(self, ref: StripeRef) -> tuple[StripeHead, bytes]:
        """The sealed head of a stripe and its directory. Damage when neither can be had."""
        examination = await self.examine(ref)
        opener = self.opener(ref)
        head = opener.head(examination.header)
        units = ref.layout.units_of(head.directory_start, head.directory_len)
        return head, (await self.read(ref, units)).data if units else b""

    def read_sync(self, ref: StripeRef, units: list[Unit]) -> Read:
        """As `read`, blocking: for a database page that SQLite wants now. Bounded by deadlines."""
        steps = read_steps(ref, self.opener(ref), self.code(ref.geometry), units, self.usable(ref))
        try:
            fetches = next(steps)
            while True:
                fetches = steps.send([self._fetch_sync(ref, fetch) for fetch in fetches])
        except StopIteration as stop:
            result: Read = stop.value
        self._note(ref, result.faults)
        return result

    def _fetch_sync(self, ref: StripeRef, fetch: Fetch) -> Reply:
        segment = ref.segment
        member = self.fleet[segment.columns[fetch.column]]
        if member.target is None or member.lane is None:
            return TargetError(Fault.AWAY, f"{member.path} is away")
        job = partial(member.target.read, column_name(segment.epoch, segment.id), fetch.offset,
                      fetch.length)
        try:
            return member.lane.run_sync(job, deadline_s=TARGET_DEADLINE_S)
        except TargetError as error:
            return error

    async def _drive(self, ref: StripeRef, steps: Generator[list[Fetch], list[Reply], T]) -> T:
        name = column_name(ref.segment.epoch, ref.segment.id)
        try:
            fetches = next(steps)
            while True:
                fetches = steps.send(await self._fetch(ref, name, fetches))
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def _fetch(self, ref: StripeRef, name: str, fetches: list[Fetch]) -> list[Reply]:
        jobs: list[tuple[AnyLane, Callable[[], bytes]]] = []
        for fetch in fetches:
            member = self.fleet[ref.segment.columns[fetch.column]]
            assert member.target is not None and member.lane is not None
            jobs.append((member.lane,
                         partial(member.target.read, name, fetch.offset, fetch.length)))
        if len(jobs) == 1:
            try:
                return [await jobs[0][0].run(jobs[0][1], deadline_s=TARGET_DEADLINE_S)]
            except TargetError as error:
                return [error]
        return await run_jobs(jobs, deadline_s=TARGET_DEADLINE_S)

    def _note(self, ref: StripeRef, faults: Iterable[ShardFault]) -> None:
        for fault in faults:
            member = self.fleet.get(ref.segment.columns[fault.column])
            if member is not None and member.behind and fault.missing:
                # It never acknowledged this shard: its absence accuses nobody.
                continue
            kind = EventKind.SHARD_MISSING if fault.missing else EventKind.SHARD_BAD
            column = fault.column
            self.journal.record(Event(
                kind, f"segment {ref.segment.id:x} offset {ref.offset:x} column {column}: "
                f"{fault.reason}", target=ref.segment.columns[column],
                segment=ref.segment.id, offset=ref.offset))


def _starts(segment: SegmentEntry, body_len: int, lengths: list[int]) -> tuple[int, ...]:
    from_layout = []
    position = 0
    layout = StripeRef(segment, 0, 0, body_len, b"", b"").layout
    for length in lengths[:-1]:
        units, after = layout.place(position, length)
        first = units[0] if units else None
        from_layout.append(position if first is None else first.shard * body_len + first.offset)
        position = after
    return tuple(from_layout)


async def run_jobs(jobs: Sequence[tuple[AnyLane, Callable[[], T]]],
                   deadline_s: float) -> list[T | TargetError]:
    """Do each job in its lane, all at once; results or errors in the order of the jobs."""
    return await run_all([lane for lane, _ in jobs], [job for _, job in jobs], deadline_s)
