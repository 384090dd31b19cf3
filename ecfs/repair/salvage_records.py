"""Synced writes out of commit records, for salvage without metadata.

A record counts because it opens. Neither its place nor its neighbours matter, since each write has
a place in the order of writing, as stripes have. Bounded: of what was found, places are remembered,
and bytes are read again when it is their turn, from another target where that one shows others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecfs.base.errors import Damage, TargetError
from ecfs.base.limits import TARGET_SYNC_DEADLINE_S
from ecfs.formats import BoxKeys, LoggedWrite, commits_name, decode_commit, record_hash
from ecfs.repair.salvage_asking import Asked
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
    asked: Asked
    name: str
    offset: int
    length: int

    def read(self, *, is_known: bool) -> bytes:
        """What is there now; nothing where that cannot be read."""
        ask = self.asked.get if is_known else self.asked.guess
        try:
            return ask(lambda target: target.read(self.name, self.offset, self.length))
        except TargetError:
            return b""


class RecordedWrites:
    """What records of any epoch carry, on any of these targets. Blocks."""

    def __init__(self, targets: Sequence[Asked], keys: BoxKeys) -> None:
        self._targets = targets
        self._keys = keys
        self._places: dict[bytes, list[_Place]] = {}
        self._last: tuple[bytes, tuple[LoggedWrite, ...]] = (b"", ())

    def turns(self) -> Iterator[WriteTurn]:
        """All writes, each once, in the order in which they lie on the first target that has them.
        Those that do not tell their order count as older than everything."""
        for asked in self._targets:
            try:
                scan = asked.guess(lambda target: scan_member(target, 0, 0, False),
                                   TARGET_SYNC_DEADLINE_S)
            except TargetError:
                continue
            for box in scan.boxes:
                place = _Place(asked, commits_name(box.epoch), box.offset, box.length)
                known = self._places.get(box.hash)
                if known is not None:
                    known.append(place)
                    continue
                writes = self._opened(box.hash, place.read(is_known=False))
                if writes:
                    self._places[box.hash] = [place]
                    yield from (WriteTurn(write.order, write.inode, box.hash, index)
                                for index, write in enumerate(writes))

    def write(self, turn: WriteTurn) -> LoggedWrite | None:
        """The bytes of a turn; None where no target shows them any more."""
        record, writes = self._last
        if record != turn.record:
            places = sorted(self._places[turn.record], key=lambda place: place.asked.is_slow)
            writes = next((found for place in places if (
                found := self._opened(turn.record, place.read(is_known=True)))), ())
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
