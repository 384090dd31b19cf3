"""Reading stripes, without I/O of its own.

Each function here is a generator: it yields a `Wish`, is sent all replies so far by their `Fetch`
(bytes, or the TargetError that came instead), and returns its value. The event loop drives it over
lanes, a SQLite callback drives it synchronously; the logic is written once.

What was not there when it was looked for is late. That is no fault: it is asked for no more where
others are enough, and waited for to its deadline where they are not.
"""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from ecfs.base.errors import Bug, Damage, Fault, TargetError, Unreadable
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
class Wish:
    """Fetches to begin, if they were not begun before, and to look at when `lacking` is 0: how many
    more replies it takes at least, given those so far. Or when patience has come to its end, which
    is with the deadlines for a `patient` wish: then every fetch has its reply."""

    fetches: Sequence[Fetch]
    lacking: "Callable[[Replies], int]"
    patient: bool = False


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
Replies = Mapping[Fetch, Reply]
Steps = Generator[Wish, Replies, Read]
ExamineSteps = Generator[Wish, Replies, Examination]


def read_steps(ref: StripeRef, opener: StripeOpener, code: Code, units: list[UnitRun],
               usable: frozenset[int], late: frozenset[int] = frozenset()) -> Steps:
    """Read units; the data is theirs, joined in order.

    `usable` are the columns whose target is there; `late` those of them to ask last. First just the
    units' bytes; then, for columns that are away or late, the same range of k others; then whole
    records with their tags. Unreadable when fewer than k shards are good: then as StripeLost, with
    the evidence.
    """
    ranges = ranges_of(units)
    asked = {column: _fetch(ref, column, *ranges[column])
             for column in ranges if column in usable - late}
    replies: Replies = {}
    if asked:
        replies = yield Wish(tuple(asked.values()), _all_of(asked.values()))
    faults: list[ShardFault] = []
    parts: dict[int, Buffer] = {}
    for column, fetch in asked.items():
        reply = replies.get(fetch)
        if _is_whole(reply, fetch):
            parts[column] = reply
        elif reply is not None:
            faults.append(_fault_of(column, reply))
    data = unwritten(sum(unit.length for unit in units))
    complete, bad = _open_units(opener, units, parts, ranges, data)
    faults += [ShardFault(column, "unit does not open", _is_hole(parts[column]))
               for column in bad]
    if complete:
        return Read(data, tuple(faults))
    if not bad:
        pending = {column: fetch for column, fetch in asked.items() if fetch not in replies}
        made = yield from _read_ranges(ref, opener, code, units, ranges, parts, usable, late,
                                       pending, faults)
        if made is not None:
            return Read(made, tuple(faults))
    return (yield from _read_whole(ref, opener, code, units, usable))


def _read_ranges(ref: StripeRef, opener: StripeOpener, code: Code, units: list[UnitRun],
                 ranges: dict[int, tuple[int, int]], parts: dict[int, Buffer],
                 usable: frozenset[int], late: frozenset[int], pending: dict[int, Fetch],
                 faults: list[ShardFault],
                 ) -> Generator[Wish, Replies, bytearray | None]:
    """Decode only the bytes asked for: the code works byte by byte. `pending` may still come, and
    then are as good. None when it did not help."""
    lacking = [column for column in ranges if column not in parts]
    low = min(ranges[column][0] for column in lacking)
    high = max(ranges[column][1] for column in lacking)
    failed = {fault.column for fault in faults}
    sources = [column for column in range(ref.geometry.shards)
               if column in usable and column not in failed]
    sources.sort(key=lambda column: column in late or column in pending)
    fetches = [_fetch(ref, column, low, high) for column in sources]
    # All that is lacking may come after all, if none of it failed or was not even asked for.
    awaited = list(pending.values()) if len(pending) == len(lacking) else []
    if len(sources) < ref.geometry.data and not awaited:
        return None
    replies: Replies = {}
    # Ask k of them first; the others only if one of these fails, or is late.
    for begun, patient in ((ref.geometry.data, False), (len(fetches), False),
                           (len(fetches), True)):
        batch = fetches[:begun]
        replies = yield Wish(batch, _enough_of(batch, ref.geometry.data, awaited, patient),
                             patient)
        good = {fetch.column: reply for fetch in batch
                if _is_whole(reply := replies.get(fetch), fetch)}
        if len(good) >= ref.geometry.data or _are_whole(awaited, replies):
            break
    wrong = {fetch.column: reply for fetch in (*fetches, *pending.values())
             if (reply := replies.get(fetch)) is not None and not _is_whole(reply, fetch)}
    faults += [_fault_of(column, reply) for column, reply in wrong.items()]
    for column, fetch in pending.items():
        if _is_whole(reply := replies.get(fetch), fetch):
            parts[column] = reply
    lacking = [column for column in lacking if column not in parts]
    if lacking and len(good) < ref.geometry.data:
        return None
    made = rebuild_bodies(code, good, lacking, high - low) if lacking else {}
    for column in lacking:
        first, last = ranges[column]
        parts[column] = memoryview(made[column])[first - low : last - low]
    data = unwritten(sum(unit.length for unit in units))
    complete, _ = _open_units(opener, units, parts, ranges, data)
    return data if complete else None


def _read_whole(ref: StripeRef, opener: StripeOpener, code: Code, units: list[UnitRun],
                usable: frozenset[int]) -> Steps:
    examination = yield from examine_steps(ref, opener, usable, hurried=True)
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


def examine_steps(ref: StripeRef, opener: StripeOpener, usable: frozenset[int], *,
                  hurried: bool = False) -> ExamineSteps:
    """Read and check every shard record in full; where it is `hurried`, none that is late if the
    others are enough. StripeLost when fewer than k are good."""
    fetches = [Fetch(column, ref.offset, ref.record_len) for column in sorted(usable)]
    for patient in (False, True) if hurried else (True,):
        replies = yield Wish(fetches, _all_of(fetches), patient)
        records = {fetch.column: replies[fetch] for fetch in fetches if fetch in replies}
        try:
            return _examined(ref, opener, records)
        except StripeLost:
            if len(records) == len(fetches):
                raise
    raise Bug("a patient wish was not granted")


def _examined(ref: StripeRef, opener: StripeOpener, records: dict[int, Reply]) -> Examination:
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


def _all_of(fetches: Collection[Fetch]) -> Callable[[Replies], int]:
    return lambda replies: sum(1 for fetch in fetches if fetch not in replies)


def _enough_of(fetches: Collection[Fetch], count: int, awaited: Collection[Fetch],
               patient: bool) -> Callable[[Replies], int]:
    """`count` good ones, or all that is `awaited` instead; or no more to come, of what is `awaited`
    too only for a `patient` wish."""
    def lacking(replies: Replies) -> int:
        good_count = sum(1 for fetch in fetches if _is_whole(replies.get(fetch), fetch))
        if good_count >= count or _are_whole(awaited, replies):
            return 0
        begun_count = sum(1 for fetch in fetches if fetch not in replies)
        if begun_count == 0 and not patient:
            return 0
        open_count = begun_count + sum(
            1 for fetch in awaited if fetch not in replies and fetch not in fetches)
        # Any of them may be the last that it takes, where one is awaited.
        return min(open_count, 1 if awaited else count - good_count)

    return lacking


def _is_whole(reply: Reply | None, fetch: Fetch) -> TypeGuard[Buffer]:
    return (reply is not None and not isinstance(reply, TargetError)
            and len(reply) == fetch.length)


def _are_whole(awaited: Collection[Fetch], replies: Replies) -> bool:
    """Whether all have come; not where none is awaited."""
    return bool(awaited) and all(_is_whole(replies.get(fetch), fetch) for fetch in awaited)


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
