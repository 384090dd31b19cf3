"""Synced writes out of commit records, for salvage without metadata.

A record counts because it opens. Neither its place nor its neighbours matter, since each write has
a place in the order of writing, as stripes have. Bounded: of what was found, places are remembered,
and bytes are read again when it is their turn, from another target where that one shows others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ecfs.base.errors import Damage, TargetError
from ecfs.base.limits import TARGET_DEADLINE_S, TARGET_SYNC_DEADLINE_S
from ecfs.formats import BoxKeys, LoggedWrite, commits_name, decode_commit, record_hash
from ecfs.targets import AnyLane, Target
from ecfs.volume import scan_member


@dataclass(frozen=True, slots=True)
class WriteTurn:
    """One write: the hash of its record, and where in it; `order` is that of writing."""

    order: int
    inode: int
    record: bytes
    index: int


@dataclass(frozen=True, slots=True)
class _Place:
    target: Target
    lane: AnyLane
    name: str
    offset: int
    length: int

    def read(self) -> bytes:
        """What is there now; nothing where that cannot be read."""
        read = partial(self.target.read, self.name, self.offset, self.length)
        try:
            return self.lane.run_sync(read, deadline_s=TARGET_DEADLINE_S)
        except TargetError:
            return b""


class RecordedWrites:
    """What records of any epoch carry, on any of these targets. Blocks."""

    def __init__(self, places: Sequence[tuple[Target, AnyLane]], keys: BoxKeys) -> None:
        self._targets = places
        self._keys = keys
        self._places: dict[bytes, list[_Place]] = {}
        self._last: tuple[bytes, tuple[LoggedWrite, ...]] = (b"", ())

    def turns(self) -> Iterator[WriteTurn]:
        """All writes, each once, in the order in which they lie on the first target that has them.
        Those that do not tell their order count as older than everything."""
        for target, lane in self._targets:
            try:
                scan = lane.run_sync(scan_member, target, 0, 0, False,
                                     deadline_s=TARGET_SYNC_DEADLINE_S)
            except TargetError:
                continue
            for box in scan.boxes:
                place = _Place(target, lane, commits_name(box.epoch), box.offset, box.length)
                known = self._places.get(box.hash)
                if known is not None:
                    known.append(place)
                    continue
                writes = self._opened(box.hash, place.read())
                if writes:
                    self._places[box.hash] = [place]
                    yield from (WriteTurn(write.order, write.inode, box.hash, index)
                                for index, write in enumerate(writes))

    def write(self, turn: WriteTurn) -> LoggedWrite | None:
        """The bytes of a turn; None where no target shows them any more."""
        record, writes = self._last
        if record != turn.record:
            writes = next((found for place in self._places[turn.record]
                           if (found := self._opened(turn.record, place.read()))), ())
            self._last = turn.record, writes
        return writes[turn.index] if writes else None

    def _opened(self, record: bytes, data: bytes) -> tuple[LoggedWrite, ...]:
        """The writes of a record; none where these bytes are not it, or not authentic."""
        if record_hash(data) != record:
            return ()
        try:
            return decode_commit(data, self._keys)[1].writes
        except Damage:
            return ()
