"""Reading stripes, without I/O of its own.

Each function here is a generator: it yields lists of `Fetch`, is sent a list of results in the same
order (bytes, or the TargetError that came instead), and returns its value. The event loop drives it
over lanes, a SQLite callback drives it synchronously; the logic is written once.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from ecfs.base.errors import Damage, Fault, TargetError, Unreadable
from ecfs.base.memory import unwritten
from ecfs.erasure import Code
from ecfs.stripes.layout import UnitRun
from ecfs.stripes.sealed import Buffer, StripeOpener, StripeRef, rebuild_bodies


@dataclass(frozen=True, slots=True)
class Fetch:
    """A wish: `length` bytes at `offset` of the column file of `column`."""

    column: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ShardFault:
    """One shard of a stripe that could not be used. `missing`: absent rather than wrong. `fault`:
    how the target failed, where it gave an error and no bytes."""

    column: int
    reason: str
    missing: bool
    fault: Fault | None = None

    @property
    def fenced(self) -> bool:
        """Absent since another writer has claimed the target, and may have given it back."""
        return self.fault is Fault.FENCED


class StripeLost(Unreadable):
    """Too few shards of a stripe are good; `faults` are what is wrong with the others."""

    def __init__(self, message: str, faults: Sequence[ShardFault]) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Read:
    """What a read returned: the right bytes, and the damage that it met on the way."""

    data: Buffer
    faults: tuple[ShardFault, ...] = ()


@dataclass(slots=True)
class Examination:
    """All shards of a stripe, checked: the common header, good bodies, and faults."""

    header: bytes
    bodies: dict[int, Buffer] = field(default_factory=dict)
    faults: list[ShardFault] = field(default_factory=list)


Reply = Buffer | TargetError
Steps = Generator[list[Fetch], list[Reply], Read]
ExamineSteps = Generator[list[Fetch], list[Reply], Examination]


def read_steps(ref: StripeRef, opener: StripeOpener, code: Code, units: list[UnitRun],
               usable: frozenset[int]) -> Steps:
    """Read units; the data is theirs, joined in order.

    `usable` are the columns whose target is there. First just the units' bytes; then, for columns
    that are away, the same range of k others; then whole records with their tags. Unreadable when
    fewer than k shards are good: then as StripeLost, with the evidence.
    """
    ranges = ranges_of(units)
    wanted = [column for column in ranges if column in usable]
    replies = yield [_fetch(ref, column, *ranges[column]) for column in wanted]
    faults: list[ShardFault] = []
    parts: dict[int, Buffer] = {}
    for column, reply in zip(wanted, replies, strict=True):
        low, high = ranges[column]
        if not isinstance(reply, TargetError) and len(reply) == high - low:
            parts[column] = reply
        else:
            faults.append(_fault_of(column, reply))
    data = unwritten(sum(unit.length for unit in units))
    complete, bad = _open_units(opener, units, parts, ranges, data)
    faults += [ShardFault(column, "unit does not open", _is_hole(parts[column]))
               for column in bad]
    if complete:
        return Read(data, tuple(faults))
    if not bad:
        made = yield from _read_ranges(ref, opener, code, units, ranges, parts, usable, faults)
        if made is not None:
            return Read(made, tuple(faults))
    return (yield from _read_whole(ref, opener, code, units, usable))


def _read_ranges(ref: StripeRef, opener: StripeOpener, code: Code, units: list[UnitRun],
                 ranges: dict[int, tuple[int, int]], parts: dict[int, Buffer],
                 usable: frozenset[int], faults: list[ShardFault],
                 ) -> Generator[list[Fetch], list[Reply], bytearray | None]:
    """Decode only the bytes asked for: the code works byte by byte. None when it did not help."""
    lacking = [column for column in ranges if column not in parts]
    low = min(ranges[column][0] for column in lacking)
    high = max(ranges[column][1] for column in lacking)
    failed = {fault.column for fault in faults}
    sources = [column for column in range(ref.geometry.shards)
               if column in usable and column not in failed and column not in lacking]
    if len(sources) < ref.geometry.data:
        return None
    good: dict[int, Buffer] = {}
    for begin in (0, ref.geometry.data):
        # Ask k of them first; the others only if one of these fails.
        batch = sources[:ref.geometry.data] if begin == 0 else sources[ref.geometry.data :]
        if len(good) >= ref.geometry.data or not batch:
            break
        replies = yield [_fetch(ref, column, low, high) for column in batch]
        for column, reply in zip(batch, replies, strict=True):
            if not isinstance(reply, TargetError) and len(reply) == high - low:
                good[column] = reply
            else:
                faults.append(_fault_of(column, reply))
    if len(good) < ref.geometry.data:
        return None
    made = rebuild_bodies(code, good, lacking, high - low)
    for column in lacking:
        first, last = ranges[column]
        parts[column] = memoryview(made[column])[first - low : last - low]
    data = unwritten(sum(unit.length for unit in units))
    complete, _ = _open_units(opener, units, parts, ranges, data)
    return data if complete else None


def _read_whole(ref: StripeRef, opener: StripeOpener, code: Code, units: list[UnitRun],
                usable: frozenset[int]) -> Steps:
    examination = yield from examine_steps(ref, opener, usable)
    wanted = sorted({unit.shard for unit in units})
    bodies = rebuild_bodies(code, examination.bodies, wanted, ref.body_len)
    spans = dict.fromkeys(wanted, (0, ref.body_len))
    data = unwritten(sum(unit.length for unit in units))
    complete, _ = _open_units(opener, units, bodies, spans, data)
    if not complete:
        raise Unreadable(
            f"stripe {ref.segment.id:x}+{ref.offset:x}: every tag is right but a unit does not "
            "open; no target is to blame")
    return Read(data, tuple(examination.faults))


def examine_steps(ref: StripeRef, opener: StripeOpener, usable: frozenset[int]) -> ExamineSteps:
    """Read and check every shard record in full. StripeLost when fewer than k are good."""
    columns = sorted(usable)
    replies = yield [Fetch(column, ref.offset, ref.record_len) for column in columns]
    records = dict(zip(columns, replies, strict=True))
    header = _agreed_header(opener, records)
    faults: list[ShardFault] = []
    bodies: dict[int, Buffer] = {}
    for column, record in records.items():
        if isinstance(record, TargetError):
            faults.append(_fault_of(column, record))
        elif len(record) != ref.record_len:
            faults.append(ShardFault(column, "column ends before this shard", True))
        elif header is not None:
            try:
                bodies[column] = opener.checked_body(column, record, header)
                if record[: ref.head_len] != header:
                    # A body of zeros fits a hole: of a shard that got only what fills up a stripe.
                    faults.append(ShardFault(column, "header of the record is wrong",
                                             _is_hole(record)))
            except Damage as damage:
                faults.append(ShardFault(column, str(damage), _is_hole(record)))
        else:
            faults.append(ShardFault(column, "shard record belongs to another stripe",
                                     _is_hole(record)))
    if header is None or len(bodies) < ref.geometry.data:
        # Without a header every record that is there failed the check of its own.
        raise StripeLost(
            f"stripe {ref.segment.id:x}+{ref.offset:x}: {len(bodies)} good shards of "
            f"{ref.geometry.shards}, {ref.geometry.data} are needed", faults)
    return Examination(header, bodies, faults)


def _agreed_header(opener: StripeOpener, records: dict[int, Reply]) -> bytes | None:
    for record in records.values():
        if not isinstance(record, TargetError):
            try:
                return opener.checked_header(record)
            except Damage:
                continue
    return None


def _fetch(ref: StripeRef, column: int, low: int, high: int) -> Fetch:
    return Fetch(column, ref.offset + ref.head_len + low, high - low)


def ranges_of(units: list[UnitRun]) -> dict[int, tuple[int, int]]:
    """For each shard the range of its body that holds its units."""
    spans: dict[int, tuple[int, int]] = {}
    for unit in units:
        low, high = spans.get(unit.shard, (unit.offset, unit.end))
        spans[unit.shard] = (min(low, unit.offset), max(high, unit.end))
    return spans


def _open_units(opener: StripeOpener, units: list[UnitRun], parts: dict[int, Buffer],
                ranges: dict[int, tuple[int, int]], out: bytearray) -> tuple[bool, list[int]]:
    """Open the units, one after the other, into `out`.

    (whether all of them are there, columns of those that did not open). Where one is not, `out`
    must not be used.
    """
    bad: set[int] = set()
    complete = True
    at = 0
    view = memoryview(out)
    for unit in units:
        part = parts.get(unit.shard)
        if part is None or unit.shard in bad:
            complete = False
        else:
            low = ranges[unit.shard][0]
            try:
                opener.open_run(unit, memoryview(part)[unit.offset - low : unit.end - low],
                                view[at : at + unit.length])
            except Damage:
                bad.add(unit.shard)
                complete = False
        at += unit.length
    return complete, sorted(bad)


def _is_hole(data: Buffer) -> bool:
    """Whether nothing was ever written there, though the column goes on behind it."""
    return data == bytes(len(data))


def _fault_of(column: int, reply: Reply) -> ShardFault:
    """What is wrong with a reply that is no error but too short, or an error."""
    if isinstance(reply, TargetError):
        return ShardFault(column, str(reply), reply.fault in (Fault.MISSING, Fault.FENCED),
                          reply.fault)
    return ShardFault(column, "column ends before this shard", True)
