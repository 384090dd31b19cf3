"""The log of stripes: segments, appending, syncing.

Locks: a stream's lock is held while a place in its segment is reserved, `_sync_lock` over a sync,
so that whoever returns from `sync` knows what it asked for to be durable. Neither is taken inside
the other.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from ecfs.base.errors import AppendRefused, Bug, Fault, NoSpace, TargetError
from ecfs.base.limits import (
    COLUMN_HEADER_LEN,
    COLUMN_LEN_MAX,
    TARGET_DEADLINE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.rope import Rope
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import Entropy
from ecfs.erasure import Geometry, data_quorum, narrowed
from ecfs.formats import (
    KIND_CONTENT,
    KIND_METADATA,
    POSITION_MAX,
    SegmentEntry,
    column_name,
    record_len,
)
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes.access import Identity, StripeAccess, run_jobs
from ecfs.stripes.fleet import Fleet, Member
from ecfs.stripes.sealed import Buffer, SealedStripe, StripeRef, plan_stripe
from ecfs.stripes.sealed import seal_stripe as seal
from ecfs.targets import AnyLane, Target

OCCUPIED_MAX = 3
"""Names in a row that a target alone had taken before they were made."""


@dataclass(frozen=True, slots=True)
class Written:
    """A stripe on its targets, not yet synced: extents begin at positions `starts`."""

    ref: StripeRef
    starts: tuple[int, ...]
    missed: frozenset[bytes]


@dataclass(slots=True)
class _Stream:
    """The open segment of one kind, where its next stripe goes, and on whom its columns are.
    `reserve`: what goes there may use the room that is kept on each target."""

    kind: int
    geometry: Geometry
    reserve: bool
    segment: SegmentEntry | None = None
    offset: int = 0
    holders: frozenset[bytes] = frozenset()
    lock: trio.Lock = field(default_factory=trio.Lock)


class StripeStore(StripeAccess):
    """Appends to the segments of one pool. `worker` is a lane of its own for sealing and coding."""

    def __init__(self, identity: Identity, fleet: Fleet, worker: AnyLane, entropy: Entropy,
                 journal: Journal, *, content: Geometry, metadata: Geometry) -> None:
        super().__init__(identity, fleet, journal)
        self._worker = worker
        self._entropy = entropy
        self._content = _Stream(KIND_CONTENT, content, reserve=False)
        self._moved = _Stream(KIND_CONTENT, content, reserve=True)
        self._metadata = _Stream(KIND_METADATA, metadata, reserve=True)
        self._streams = (self._content, self._moved, self._metadata)
        self.content_geometry = content
        self._unsynced: set[tuple[bytes, str]] = set()
        self.appended_len = 0
        self.next_segment = 1
        self.next_order = 1
        self.on_segment: Callable[[SegmentEntry, int], None] = lambda segment, kind: None
        self._sync_lock = trio.Lock()
        self._unsyncable: set[tuple[bytes, str]] = set()
        self._occupied: Counter[bytes] = Counter()
        fleet.on_change.append(self._member_changed)

    # -- appending ---------------------------------------------------------------------------

    def take_order(self) -> int:
        """The next place in the order of all that is written: later bytes have a higher one."""
        order, self.next_order = self.next_order, self.next_order + 1
        return order

    async def append(self, kind: int, extents: Sequence[Buffer | Rope],
                     directory_of: Callable[[tuple[int, ...]], bytes],
                     directory_len_max: int | None = None, *, reserve: bool = False) -> Written:
        """Seal and write one stripe; not durable before `sync`. `reserve`: content that moves, so
        that more room is given back than it takes, may use what metadata may.

        `directory_of` makes the stripe's directory from the extents' positions; its length must not
        depend on them by more than its encoding allows (it is laid out last). `directory_len_max`:
        the most that it takes with any positions, where the caller knows. AppendRefused when
        too few targets took it; the caller tries again, by then in another segment.
        """
        if directory_len_max is None:
            directory_len_max = len(directory_of(tuple(POSITION_MAX for _ in extents)))
        lengths = [len(extent) for extent in extents] + [directory_len_max]
        stream = self._metadata if kind == KIND_METADATA else (
            self._moved if reserve else self._content)
        segment, offset, body_len, starts = await self._reserve(stream, lengths)
        directory = directory_of(tuple(starts[:-1]))
        if len(directory) > directory_len_max:
            raise Bug(f"a directory of {len(directory)} bytes, {directory_len_max} were reserved")
        order = self.take_order()
        sealed = await self._worker.run(
            partial(seal, keys=self.identity.master.segment(segment.id, segment.epoch),
                    pool_id=self.identity.pool_id, segment=segment, offset=offset, kind=kind,
                    extents=extents, directory=directory, body_len=body_len, order=order,
                    fresh=self._entropy.token(32),
                    code=self.code(Geometry(segment.data, segment.parity))),
            deadline_s=TARGET_SYNC_DEADLINE_S)
        missed = await self._write_records(sealed, stream)
        self._check_enough(sealed.ref, missed)
        return Written(sealed.ref, sealed.starts, missed)

    def _takes(self, member: Member, *, reserve: bool) -> bool:
        """Whether a target takes shards now, those that may use the reserve or others."""
        if not member.takes_shards:
            return False
        return member.online and not (member.packed if reserve else member.full)

    async def _write_records(self, sealed: SealedStripe, stream: _Stream) -> frozenset[bytes]:
        segment = sealed.ref.segment
        name = column_name(segment.epoch, segment.id)
        jobs: list[tuple[AnyLane, Callable[[], None]]] = []
        writers: list[bytes] = []
        missed = set()
        for column, target_id in enumerate(segment.columns):
            member = self.fleet.get(target_id)
            if member is None or not self._takes(member, reserve=stream.reserve):
                missed.add(target_id)
                continue
            assert member.target is not None and member.lane is not None
            jobs.append((member.lane, partial(
                _put, member.target, name, sealed.ref.offset,
                [sealed.header, sealed.bodies[column]])))
            writers.append(target_id)
        self.appended_len += sealed.ref.body_len * segment.data
        results = await run_jobs(jobs, deadline_s=TARGET_DEADLINE_S)
        for target_id, result in zip(writers, results, strict=True):
            if isinstance(result, TargetError):
                missed.add(target_id)
                if result.fault is Fault.EXISTS:
                    self._abandon(name, "it grew by itself, or by a copy of this client")
                else:
                    self.fleet.note_write_error(target_id, result)
            else:
                # After the write: a sync that began before it does not cover it.
                self._unsynced.add((target_id, name))
                if not stream.reserve and (member := self.fleet.get(target_id)) is not None:
                    self.fleet.note_used(member, sealed.ref.record_len)
        return frozenset(missed)

    def _check_enough(self, ref: StripeRef, missed: frozenset[bytes]) -> None:
        self.fleet.note_missed(missed)
        acknowledged = len(ref.segment.columns) - len(missed)
        if acknowledged < self._needed(ref.segment, ref.kind):
            self.close_segment(ref.segment.id)
            raise AppendRefused(f"only {acknowledged} targets took a stripe")

    def _needed(self, segment: SegmentEntry, kind: int) -> int:
        """W_data: k + f shards; at k = 1 as many as there are, but never fewer than k."""
        needed = data_quorum(Geometry(segment.data, segment.parity), self.identity.liars)
        if segment.data == 1:
            there = sum(1 for member in self.fleet
                        if self._takes(member, reserve=kind == KIND_METADATA))
            return max(1, min(needed, there))
        return needed

    async def sync(self, stripes: Sequence[Written]) -> list[Written | AppendRefused]:
        """STRIPES, made durable on all their targets; for each the final state, or a failure."""
        async with self._sync_lock:
            await self._sync_files()
        return [self._outcome(stripe) for stripe in stripes]

    async def _sync_files(self) -> None:
        """Sync all files with unsynced shards; what cannot be synced is never trusted again.

        Who is cancelled waits for the end of it: others count on what was taken here, and a sync
        that fails is told of once, to whoever asked for it.
        """
        pending, self._unsynced = self._unsynced, set()
        jobs = []
        files = sorted(pending)
        kept = []
        for target_id, name in files:
            member = self.fleet.get(target_id)
            if member is not None and member.online:
                assert member.target is not None and member.lane is not None
                jobs.append((member.lane, partial(
                    _sync_timed, member.target, name, self.fleet.clock.monotonic_ns)))
                kept.append((target_id, name))
        self._unsyncable |= set(files) - set(kept)
        with trio.CancelScope(shield=True):
            results = await run_jobs(jobs, deadline_s=TARGET_SYNC_DEADLINE_S)
        took_ns: Counter[bytes] = Counter()
        for (target_id, _), result in zip(kept, results, strict=True):
            if not isinstance(result, TargetError):
                took_ns[target_id] += result
                self.fleet.note_taken(target_id)
        self.fleet.note_syncs(took_ns)
        for (target_id, name), result in zip(kept, results, strict=True):
            if isinstance(result, TargetError):
                self._unsyncable.add((target_id, name))
                self._abandon(name, "a sync failed")
                self.fleet.note_write_error(target_id, result)

    def _outcome(self, stripe: Written) -> Written | AppendRefused:
        segment = stripe.ref.segment
        name = column_name(segment.epoch, segment.id)
        missed = stripe.missed | {target_id for target_id in segment.columns
                                  if (target_id, name) in self._unsyncable}
        final = replace(stripe, missed=frozenset(missed))
        try:
            self._check_enough(stripe.ref, final.missed)
        except AppendRefused as error:
            return error
        return final

    def _abandon(self, name: str, reason: str) -> None:
        """Nothing more goes into that segment: a sync that failed once proves nothing later, and
        where others write nothing is ours."""
        for stream in self._streams:
            segment = stream.segment
            if segment is not None and column_name(segment.epoch, segment.id) == name:
                self.journal.record(Event(
                    EventKind.COLUMN_ABANDONED, f"{name}: {reason}, the segment is closed",
                    segment=segment.id))
                stream.segment = None

    def close_segment(self, segment_id: int) -> None:
        """Nothing more goes into a segment."""
        for stream in self._streams:
            if stream.segment is not None and stream.segment.id == segment_id:
                stream.segment = None

    def close_segments(self) -> None:
        """Let go of all open segments; the next stripe opens a new one."""
        for stream in self._streams:
            stream.segment = None

    def open_segment_ids(self) -> set[int]:
        """Segments that may still grow."""
        return {stream.segment.id for stream in self._streams
                if stream.segment is not None}

    def _member_changed(self, member: Member) -> None:
        for stream in self._streams:
            segment = stream.segment
            if segment is None:
                continue
            whole = len(segment.columns) == stream.geometry.shards
            takes = self._takes(member, reserve=stream.reserve)
            # One that was away when the segment was opened has no column of it to write to.
            held = member.id in stream.holders
            if (held and not takes) or (takes and not held and (
                    not whole or member.id in segment.columns)):
                stream.segment = None

    # -- segments ----------------------------------------------------------------------------

    async def _reserve(self, stream: _Stream,
                       lengths: list[int]) -> tuple[SegmentEntry, int, int, list[int]]:
        """A place for a stripe: (segment, offset, body length, where extents begin). Opens a
        segment when needed."""
        async with stream.lock:
            for _ in range(len(self.fleet) + 2):
                if stream.segment is None:
                    await self._open_segment(stream)
                segment = stream.segment
                if segment is None:
                    continue
                geometry = Geometry(segment.data, segment.parity)
                body_len, starts = plan_stripe(geometry, lengths, unit_len=self._unit_len)
                length = record_len(body_len, geometry.shards)
                if stream.offset + length <= COLUMN_LEN_MAX:
                    offset, stream.offset = stream.offset, stream.offset + length
                    return segment, offset, body_len, starts
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
            if self._takes(member, reserve=stream.reserve):
                assert member.target is not None and member.lane is not None
                jobs.append((member.lane, partial(
                    member.target.create, name, self.column_header(segment, column))))
                asked.append(target_id)
        results = await run_jobs(jobs, deadline_s=TARGET_SYNC_DEADLINE_S)
        good = [target_id for target_id, result in zip(asked, results, strict=True)
                if not isinstance(result, TargetError)]
        for target_id, result in zip(asked, results, strict=True):
            if isinstance(result, TargetError) and result.fault is Fault.EXISTS:
                self.journal.record(Event(
                    EventKind.COLUMN_ABANDONED, f"{name} is occupied; the name is given up",
                    target=target_id, segment=segment_id))
                self._occupied[target_id] += 1
                if good and self._occupied[target_id] >= OCCUPIED_MAX:
                    # No copy of this client is at work there, or the others would show its names.
                    self.fleet.mark_away(
                        target_id, f"{name} was there before it was made", Fault.EXISTS)
            elif isinstance(result, TargetError):
                self.fleet.note_write_error(target_id, result)
        for target_id in good:
            del self._occupied[target_id]
        if len(good) == len(asked) and len(good) >= self._needed(segment, stream.kind):
            stream.segment = segment
            stream.offset = COLUMN_HEADER_LEN
            stream.holders = frozenset(asked)
            self.on_segment(segment, stream.kind)
        else:
            await self._take_back(name, good)

    async def _take_back(self, name: str, holders: Sequence[bytes]) -> None:
        """Remove columns that were made in vain; one that stays is a stray of this epoch."""
        jobs = [(member.lane, partial(member.target.remove, name)) for target_id in holders
                if (member := self.fleet[target_id]).target is not None
                and member.lane is not None]
        await run_jobs(jobs, deadline_s=TARGET_SYNC_DEADLINE_S)

    def _choose(self, stream: _Stream) -> tuple[Geometry, tuple[bytes, ...]]:
        """Geometry and columns of a new segment: the emptiest targets, roles rotating."""
        placeable = [member for member in self.fleet
                     if self._takes(member, reserve=stream.reserve)]
        geometry: Geometry | None = stream.geometry
        if len(placeable) < stream.geometry.shards:
            geometry = narrowed(stream.geometry, len(placeable))
        here_count = sum(member.takes_shards for member in self.fleet.online())
        if not here_count:
            raise AppendRefused("no target can be reached")
        if geometry is None or len(placeable) <= stream.geometry.parity < here_count:
            raise NoSpace("too few targets have room for another segment; delete something, or "
                          "add room")
        ordered = sorted(placeable, key=lambda member: (-(member.free_len >> 26), member.id))
        columns = [member.id for member in ordered[: geometry.shards]]
        if len(columns) < geometry.shards:
            # Nobody asks for a column of one that leaves once it has left, nor of one that comes if
            # it does not come after all.
            spare = [one.id for one in sorted(self.fleet, key=lambda one: not one.takes_shards)
                     if one.id not in columns]
            columns += spare[: geometry.shards - len(columns)]
        turn = self.next_segment % len(columns)
        return geometry, tuple(columns[turn:] + columns[:turn])


def _sync_timed(target: Target, name: str, now_ns: Callable[[], int]) -> int:
    """Sync; how long it took. Runs in the target's lane."""
    began_ns = now_ns()
    target.sync(name)
    return now_ns() - began_ns


def _put(target: Target, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
    """Write a shard where nothing is yet; runs in the target's lane. EXISTS where something is:
    a client that was restored from a snapshot of its memory does not know what it has written."""
    try:
        occupied = target.read(name, offset, BLOCK_LEN).strip(b"\0")
    except TargetError:
        # Whether it can be written is what counts.
        occupied = b""
    if occupied:
        raise TargetError(Fault.EXISTS, f"{target.path}/{name}: not empty at {offset:x}")
    target.write(name, offset, buffers)

