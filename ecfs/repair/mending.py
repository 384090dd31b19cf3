"""Mending: re-creating single shards, from a queue that reads fill, and catching up.

A shard is rewritten only when the stripe was decoded, the new body has the tag that the verified
header names, and the target gives back what was written.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import trio

from ecfs.base.errors import Damage, EcfsError, Fault, TargetError, Unreadable
from ecfs.base.limits import COLUMN_HEADER_LEN, MENDING_QUEUE_LEN_MAX, TARGET_SYNC_DEADLINE_S
from ecfs.formats import SegmentEntry, column_name
from ecfs.observe import Event, EventKind
from ecfs.repair.patience import CATCH_UP_INTERVAL_S, Patience
from ecfs.repair.walking import segments_of, walk
from ecfs.stripes import Member, ShardFault, StripeLost, StripeRef, StripeStore
from ecfs.targets import Target
from ecfs.volume import Volume, note_filled

_log = logging.getLogger("ecfs.repair")


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of one stripe: columns that were bad, and those of them that are good again."""

    bad: tuple[int, ...]
    mended: tuple[int, ...]


async def mend_stripe(store: StripeStore, ref: StripeRef, *,
                      known: Collection[int] = ()) -> Mended:
    """Check all shards of a stripe whose targets are there and rewrite the bad ones.

    Each fault is recorded, but those of columns that are `known`, for who found them has done so.
    Unreadable when too few are good. A target that does not take its shard is not an error here.
    Of what was given back meanwhile nothing is bad.
    """
    try:
        examination = await store.examine(ref, note=False)
    except StripeLost as lost:
        store.note(ref, [fault for fault in lost.faults if fault.column not in known])
        raise
    if store.is_gone(ref):
        return Mended((), ())
    store.note(ref, [fault for fault in examination.faults if fault.column not in known])
    bad = tuple(sorted({fault.column for fault in examination.faults}))
    if not bad:
        return Mended((), ())
    lacking = [column for column in bad if column not in examination.bodies]
    made = store.code(ref.geometry).reconstruct(examination.bodies, lacking, ref.body_len) if (
        lacking) else {}
    opener = store.opener(ref)
    mended = []
    for column in bad:
        body = examination.bodies.get(column, made.get(column))
        record = examination.header + bytes(body if body is not None else b"")
        opener.checked_body(column, record, examination.header)
        if await _write_record(store, ref, column, record):
            mended.append(column)
    return Mended(bad, tuple(mended))


async def _write_record(store: StripeStore, ref: StripeRef, column: int, record: bytes) -> bool:
    segment = ref.segment
    member = store.fleet.get(segment.columns[column])
    if member is None or member.target is None or member.lane is None:
        return False
    header = store.column_header(segment, column)
    name = column_name(segment.epoch, segment.id)
    try:
        await member.lane.run(
            partial(rewrite, member.target, name, header, ref.offset, record),
            deadline_s=TARGET_SYNC_DEADLINE_S)
    except TargetError as error:
        _log.warning("shard %s+%x on %s could not be mended: %s", name, ref.offset, member.path,
                     error)
        return False
    store.journal.record(Event(
        EventKind.SHARD_MENDED, f"{name} offset {ref.offset:x} on {member.path} was mended",
        target=member.id, segment=segment.id, offset=ref.offset))
    return True


def rewrite(target: Target, name: str, header: bytes, offset: int, record: bytes) -> None:
    """Put a column's header and one record in place; runs in the target's lane.

    What is no regular file of its own is replaced. TargetError when it does not read back.
    """
    target.forget(name)
    ensure_column(target, name, header)
    target.write(name, offset, [record])
    target.sync(name)
    target.drop_cache(name, offset, len(record))
    if target.read(name, offset, len(record)) != record:
        raise TargetError(Fault.IO, f"{name} does not hold what was just written")


def ensure_column(target: Target, name: str, header: bytes) -> bool:
    """Make sure that a column file exists and begins with its header; whether it was wrong."""
    try:
        found = target.read(name, 0, len(header))
    except TargetError as error:
        if error.fault is Fault.UNSAFE:
            _make_way(target, name)
        elif error.fault is not Fault.MISSING:
            # A header that cannot be read may still be written.
            target.write(name, 0, [header])
            return True
        target.create(name, header)
        return True
    if found == header:
        return False
    target.write(name, 0, [header])
    target.sync(name)
    return True


def is_column_bad(target: Target, name: str, header: bytes) -> bool:
    """Whether what is there does not begin with the column's header. One that is not there is
    missing with every shard in it, which the shards tell."""
    try:
        return target.read(name, 0, len(header)) != header
    except TargetError as error:
        if error.fault not in (Fault.MISSING, Fault.UNSAFE, Fault.IO):
            raise
        return error.fault is not Fault.MISSING


def _make_way(target: Target, name: str) -> None:
    """Free a name for a file: what lies in its place goes, or in the place of a folder above it."""
    folder = ""
    for part in name.split("/")[:-1]:
        folder = f"{folder}/{part}" if folder else part
        try:
            target.list_names(folder)
        except TargetError as error:
            if error.fault is not Fault.UNSAFE:
                raise
            target.remove(folder)
            return
    target.remove(name)


class MendingQueue:
    """Stripes that reads found damaged, each once, in order; and targets that catch up."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[int, int, int], tuple[StripeRef, set[int]]] = (
            OrderedDict())
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._patience: dict[bytes, Patience] = {}
        self.mended_count = 0
        self.dropped_count = 0

    def report(self, ref: StripeRef, faults: Sequence[ShardFault]) -> None:
        """A read met damage. Past the queue's bound it is left to the next scrub."""
        key = (ref.segment.id, ref.segment.epoch, ref.offset)
        columns = {fault.column for fault in faults}
        if key in self._waiting:
            self._waiting[key][1].update(columns)
            return
        if len(self._waiting) >= MENDING_QUEUE_LEN_MAX:
            self.dropped_count += 1
            return
        self._waiting[key] = ref, columns
        self._idle = trio.Event()
        self._wake.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def drained(self) -> None:
        """Return when nothing waits."""
        while self._waiting:
            await self._idle.wait()

    async def run(self, volume: Volume) -> None:
        """Mend until cancelled."""
        while True:
            with trio.move_on_after(CATCH_UP_INTERVAL_S):
                await self._wake.wait()
            self._wake = trio.Event()
            await self._drain(volume)
            if volume.read_only:
                continue
            for member in list(volume.fleet):
                patience = self._patience.setdefault(member.id, Patience())
                if not member.behind:
                    patience.is_whole()
                    continue
                if not member.online or member.filling or not patience.is_due(
                        volume.fleet, member):
                    continue
                try:
                    await catch_up(volume, member)
                except EcfsError as error:
                    _log.warning("catching up %s: %s", member.path, error)
                patience.tried()

    async def _drain(self, volume: Volume) -> None:
        while self._waiting:
            key, (ref, known) = next(iter(self._waiting.items()))
            if not volume.read_only:
                try:
                    done = await mend_stripe(volume.store, ref, known=known)
                    self.mended_count += len(done.mended)
                except EcfsError as error:
                    _log.warning("segment %x offset %x: %s", ref.segment.id, ref.offset, error)
            self._waiting.pop(key, None)
        self._idle.set()


async def catch_up(volume: Volume, member: Member,
                   note: Callable[[int, str], None] = lambda length, outcome: None) -> int:
    """Resilver a target: check every record of its columns and re-create what it lacks.

    The count of shards that were written. The target is no longer behind afterwards, unless
    something could not be read or written, or it missed more meanwhile or of a checkpoint that is
    under way. What dies and is given back meanwhile is passed over. A dead stripe that cannot be
    read counts only while a target is away that may have more of it, and not where dead ones may
    have been given back. `note` is told of each record's length and outcome.
    """
    written = 0
    complete = True
    missed_count = member.missed_count
    store = volume.store
    for entry, kind, live in segments_of(volume):
        if member.id not in entry.columns or store.is_given_back(entry):
            continue
        written += await _check_header(store, entry, member)
        seen_to = COLUMN_HEADER_LEN
        unknown = False
        async with aclosing(walk(store, entry, kind, live)) as stripes:
            async for ref, is_live in stripes:
                unknown = unknown or ref.offset != seen_to
                seen_to = ref.offset + ref.record_len
                try:
                    done = await mend_column(store, ref, member)
                    note(ref.record_len, done)
                except (Unreadable, Damage):
                    done = UNREADABLE
                if store.is_gone(ref):
                    # It died since, and is nobody's to have.
                    continue
                written += done == MENDED
                unknown = unknown or done == UNREADABLE
                complete = complete and done != FAILED and not (done == UNREADABLE and is_live)
        synced = await _sync_column(entry, member)
        if store.is_given_back(entry):
            continue
        complete = complete and synced
        if ((unknown or seen_to < entry.length) and store.keeps_dead(entry, kind)
                and _is_any_away(volume, entry)):
            complete = False
    if (complete and member.online and member.missed_count == missed_count
            and not member.unnamed):
        with volume.database.change():
            volume.files.tables.forget_missed_by(member.id)
            volume.files.tables.set_behind(member.id, behind=False)
            note_filled(volume.database, member.id)
        member.behind = False
        volume.fleet.let_go_source(member)
        volume.journal.record(Event(
            EventKind.RESILVERED, f"{member.name} ({member.path}) has caught up: {written} shards",
            target=member.id))
    return written


def _is_any_away(volume: Volume, entry: SegmentEntry) -> bool:
    """Whether a column of a segment is on a target that is not there, but may come back."""
    return any(member is not None and not member.online
               for member in map(volume.fleet.get, entry.columns))


GOOD, MENDED, FAILED, UNREADABLE = "good", "mended", "failed", "unreadable"
LOOKS_AT_A_SHARD = 2


async def mend_column(store: StripeStore, ref: StripeRef, member: Member) -> str:
    """Check one target's shard of a stripe, reading only that; mend the stripe if it is bad.

    One that is bad at first and not when all are looked at was mended meanwhile by somebody else
    who catches the target up: that is seen by reading it again, and by nothing less."""
    if member.target is None or member.lane is None:
        return FAILED
    column = ref.segment.columns.index(member.id)
    for _ in range(LOOKS_AT_A_SHARD):
        if await _is_good(store, ref, member, column):
            return GOOD
        done = await mend_stripe(store, ref)
        if column in done.bad:
            return MENDED if column in done.mended else FAILED
    return FAILED


async def _is_good(store: StripeStore, ref: StripeRef, member: Member, column: int) -> bool:
    if member.target is None or member.lane is None:
        return False
    name = column_name(ref.segment.epoch, ref.segment.id)
    opener = store.opener(ref)
    try:
        record = await member.lane.run(
            partial(member.target.read, name, ref.offset, ref.record_len),
            deadline_s=TARGET_SYNC_DEADLINE_S)
        opener.checked_body(column, record, opener.checked_header(record))
    except (TargetError, Damage):
        return False
    return True


async def _sync_column(entry: SegmentEntry, member: Member) -> bool:
    """Make a segment's column durable on a target; False when it is not.

    What was good may be there since a moment only, from a write that was late and given up on, and
    so in the page cache alone.
    """
    if member.target is None or member.lane is None:
        return False
    name = column_name(entry.epoch, entry.id)
    try:
        await member.lane.run(_sync_or_drop, member.target, name, entry.length,
                              deadline_s=TARGET_SYNC_DEADLINE_S)
    except TargetError as error:
        _log.warning("%s on %s could not be made durable: %s", name, member.path, error)
        return False
    return True


def _sync_or_drop(target: Target, name: str, length: int) -> None:
    """Sync; after a failure nothing is to be read from memory any more. Runs in the lane."""
    try:
        target.sync(name)
    except TargetError:
        target.drop_cache(name, 0, length)
        raise


async def _check_header(store: StripeStore, entry: SegmentEntry, member: Member) -> int:
    if member.target is None or member.lane is None:
        return 0
    column = entry.columns.index(member.id)
    name = column_name(entry.epoch, entry.id)
    return int(await member.lane.run(
        _ensure_anew, member.target, name, store.column_header(entry, column),
        deadline_s=TARGET_SYNC_DEADLINE_S))


def _ensure_anew(target: Target, name: str, header: bytes) -> bool:
    """`ensure_column` by what the name leads to now. Runs in the lane."""
    target.forget(name)
    return ensure_column(target, name, header)

