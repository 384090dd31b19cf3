"""What of columns is dead, and giving it back: cut off, punched out. Run in targets' lanes."""

from collections.abc import Iterator
from dataclasses import dataclass

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import COLUMN_HEADER_LEN
from ecfs.formats import SegmentEntry, column_name, record_len
from ecfs.metadata import Stored
from ecfs.targets import Target

RANGES_PER_JOB = 256
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DeadColumn:
    """What is given back of each column of a segment; `cut`: what lies past its end, too."""

    entry: SegmentEntry
    holes: tuple[Range, ...]
    cut: bool


def dead_len_of(entry: SegmentEntry, stored: Stored) -> int:
    """How much of each column of a segment is dead stripes."""
    heads_len = stored.stripes_count * record_len(0, len(entry.columns))
    return entry.length - COLUMN_HEADER_LEN - stored.bodies_len - heads_len


def holes_of(entry: SegmentEntry, places: list[Range]) -> list[Range]:
    """(begin, end) of what is dead in a segment's columns, between stripes at these `places`
    (offset, body length), which are in order."""
    holes = []
    at = COLUMN_HEADER_LEN
    for offset, body_len in [*places, (entry.length, 0)]:
        if offset > at:
            holes.append((at, offset))
        at = max(at, offset + record_len(body_len, len(entry.columns)))
    return holes


def parts_of(work: list[DeadColumn]) -> Iterator[list[DeadColumn]]:
    """Work of one target in jobs that do not take long."""
    part: list[DeadColumn] = []
    count = 0
    for one in work:
        part.append(one)
        count += 1 + len(one.holes)
        if count >= RANGES_PER_JOB:
            yield part
            part, count = [], 0
    if part:
        yield part


def give_back(target: Target, work: list[DeadColumn]) -> bool:
    """Cut and punch; False where something could not be punched. Runs in the target's lane."""
    can = True
    for one in work:
        name = column_name(one.entry.epoch, one.entry.id)
        try:
            if one.cut and target.size(name) > one.entry.length:
                target.truncate(name, one.entry.length)
                # What moves next counts on the room; and a column that is long again stays so.
                target.sync(name)
            can = all([target.punch(name, low, high - low) for low, high in one.holes]) and can
        except TargetError as error:
            if error.fault is not Fault.MISSING:
                raise
    return can
