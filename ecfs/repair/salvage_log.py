"""Stripes out of columns alone: no metadata, any amount of rot, any garbage between.

Nothing is believed that does not open: a record counts because its sealed head does, a shard
because its tag, keyed and bound to its address, is one of those that a record of the stripe names,
a unit because it opens. Bounded: one stripe at a time, and a column ends at `COLUMN_LEN_MAX`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from ecfs.base.errors import Damage, TargetError
from ecfs.base.limits import COLUMN_HEADER_LEN, COLUMN_LEN_MAX
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.erasure import Code, Geometry
from ecfs.formats import (
    COLUMN_PATTERN,
    KIND_CONTENT,
    KIND_METADATA,
    SEGMENTS_FOLDER,
    SHARD_MAGIC,
    ColumnHeader,
    ExtentNote,
    SegmentEntry,
    StripeHead,
    decode_directory,
    encode_column_header,
    header_len,
    peek_column_header,
    split_record_header,
)
from ecfs.keys import MasterKey, SegmentKeys
from ecfs.repair.salvage_asking import Asked
from ecfs.sealing import keyed_hash
from ecfs.stripes import (
    Layout,
    StripeOpener,
    StripeRef,
    UnitRun,
    binding_of,
    check_body,
    rebuild_bodies,
)
from ecfs.targets import Target
from ecfs.volume import next_block

WINDOW_LEN = MIB
UNPROVEN_MAX = 1000
"""Segments of which one target has names and nobody a header that proves itself."""
FOLDER_PATTERN = re.compile(r"[0-9a-f]{2}")

Buffer = bytes | bytearray | memoryview


class Column:
    """A file that is named as a column, read through a window. Errors read as an early end."""

    def __init__(self, asked: Asked, name: str) -> None:
        self._asked = asked
        self._name = name
        self._window = b""
        self._window_at = 0

    @property
    def is_slow(self) -> bool:
        """Whether others are to be asked first."""
        return self._asked.is_slow

    def size(self) -> int:
        """Its length in bytes."""
        try:
            return self._asked.guess(lambda target: target.size(self._name))
        except TargetError:
            return 0

    def block(self, offset: int, length: int) -> bytes:
        """A few bytes, from the window."""
        inside = offset - self._window_at
        if inside < 0 or inside + length > len(self._window):
            self._window = self._read(self._asked.guess, offset, WINDOW_LEN)
            self._window_at = offset
            inside = 0
        return self._window[inside : inside + length]

    def next_block(self, offset: int) -> int:
        """The first block from `offset` on that is not zeros, as far as the window shows; where it
        shows nothing, the column's greatest length."""
        if not self.block(offset, BLOCK_LEN):
            return COLUMN_LEN_MAX
        return next_block(self._window, self._window_at, offset - self._window_at)

    def release(self) -> None:
        """Let go of the window."""
        self._window = b""

    def header(self) -> bytes:
        """What is in the place of a header."""
        return self._read(self._asked.guess, 0, COLUMN_HEADER_LEN)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of something that was found, fewer where the file ends."""
        return self._read(self._asked.get, offset, length)

    def _read(self, ask: Callable[[Callable[[Target], bytes]], bytes], offset: int,
              length: int) -> bytes:
        try:
            return ask(lambda target: target.read(self._name, offset, length))
        except TargetError:
            return b""


Key = tuple[int, int]
"""(segment, epoch)"""


def columns_of(targets: Sequence[Asked], master: MasterKey,
               pool_id: bytes) -> dict[Key, list[Column]]:
    """All files that are named as columns of segments of which one target has a header that proves
    itself; and of each target so many more, since all headers of a segment may be lost."""
    proven: set[Key] = set()
    others: set[Key] = set()
    for asked in targets:
        unproven_count = 0
        for key, column in _named(asked):
            if key in proven:
                continue
            if unproven_count == UNPROVEN_MAX:
                break
            header = _proven_header(column.header(), master.segment(*key))
            if header is not None and (header.segment, header.epoch, header.pool_id) == (
                    *key, pool_id):
                proven.add(key)
            else:
                unproven_count += 1
                others.add(key)
    found: dict[Key, list[Column]] = {}
    for asked in targets:
        for key, column in _named(asked):
            if key in proven or key in others:
                found.setdefault(key, []).append(column)
    return found


def _named(asked: Asked) -> Iterator[tuple[Key, Column]]:
    """All that is named as a column on a target."""
    try:
        for folder in asked.guess(lambda target: target.list_names(SEGMENTS_FOLDER)):
            if FOLDER_PATTERN.fullmatch(folder) is None:
                continue
            path = f"{SEGMENTS_FOLDER}/{folder}"
            for name in asked.guess(partial(_listed, path=path)):
                match = COLUMN_PATTERN.fullmatch(name)
                if match is not None:
                    yield ((int(match[2], 16), int(match[1], 16)),
                           Column(asked, f"{path}/{name}"))
    except TargetError:
        return


def _listed(target: Target, path: str) -> list[str]:
    return target.list_names(path)


@dataclass(slots=True)
class FoundStripe:
    """A record whose sealed head opens. `tags`: by shard, what records say that its tag is."""

    ref: StripeRef
    layout: Layout
    head: StripeHead
    opener: StripeOpener
    tags: list[set[bytes]]


@dataclass(slots=True)
class OpenedStripe:
    """Bodies of the data shards as far as they are there; each unit proves itself."""

    found: FoundStripe
    bodies: dict[int, Buffer]

    def extent(self, start: int, length: int) -> Iterator[tuple[int, bytes | None]]:
        """(offset in the extent, bytes or None where they are lost) of each unit. Damage when the
        extent cannot lie there."""
        at = 0
        for run in self.found.layout.units_of(start, length):
            for unit in run.units():
                yield at, self._unit(unit)
                at += unit.length

    def _unit(self, unit: UnitRun) -> bytes | None:
        body = self.bodies.get(unit.shard)
        if body is None:
            return None
        try:
            return self.found.opener.open_unit(unit.nonce,
                                               memoryview(body)[unit.offset : unit.end])
        except Damage:
            return None


@dataclass(slots=True)
class SegmentScan:
    """One segment: which file is which column, and the stripes in it."""

    entry: SegmentEntry
    keys: SegmentKeys
    pool_id: bytes
    columns: dict[int, Column] = field(default_factory=dict)
    strangers: list[Column] = field(default_factory=list)

    @classmethod
    def of(cls, key: tuple[int, int], files: list[Column], master: MasterKey, pool_id: bytes,
           usual: Geometry) -> "SegmentScan":
        """Sort the files of a segment by what their headers prove; `usual` where none is left."""
        segment, epoch = key
        keys = master.segment(segment, epoch)
        columns: dict[int, Column] = {}
        strangers = []
        geometry = None
        for file in files:
            header = _proven_header(file.header(), keys)
            if header is None or (header.segment, header.epoch, header.pool_id) != (
                    segment, epoch, pool_id) or header.column in columns:
                strangers.append(file)
            else:
                columns[header.column] = file
                geometry = Geometry(header.data, header.parity)
        known = geometry or usual
        # A size is believed of who proves to have a column, if anybody does.
        length = max((file.size() for file in columns.values() or files), default=0)
        entry = SegmentEntry(segment, epoch, known.data, known.parity, (b"",) * known.shards,
                             min(length, COLUMN_LEN_MAX))
        return cls(entry, keys, pool_id, columns, strangers)

    def stripes(self) -> Iterator[FoundStripe]:
        """All stripes whose head opens, in the order in which they lie."""
        at = COLUMN_HEADER_LEN
        files = [*self.columns.values(), *self.strangers]
        while at < self.entry.length:
            found = self.stripe_at(at, Column.block)
            if found is not None and found.ref.record_len % BLOCK_LEN == 0:
                yield found
                at += found.ref.record_len
            else:
                at = min((file.next_block(at + BLOCK_LEN) for file in files),
                         default=COLUMN_LEN_MAX)
        for file in files:
            file.release()

    def stripe_at(self, offset: int,
                  read: Callable[[Column, int, int], bytes]) -> FoundStripe | None:
        """The stripe at an address, believed because its sealed head opens; `read` is how a few
        bytes of a column are read."""
        shards = len(self.entry.columns)
        wanted = header_len(shards)
        headers = Counter(header for file in [*self.columns.values(), *self.strangers]
                          if (header := read(file, offset, wanted))[:8] == SHARD_MAGIC)
        groups: dict[tuple[bytes, bytes], list[set[bytes]]] = {}
        for header, _ in headers.most_common():
            try:
                sealed, salt, tags = split_record_header(header, shards)
            except Damage:
                continue
            group = groups.setdefault((sealed, salt), [set() for _ in range(shards)])
            for tag, known in zip(tags, group, strict=True):
                known.add(tag)
        for (sealed, salt), tags_by_shard in groups.items():
            for kind in (KIND_CONTENT, KIND_METADATA):
                found = self._opened_head(offset, kind, sealed, salt, tags_by_shard)
                if found is not None:
                    return found
        return None

    def _opened_head(self, offset: int, kind: int, sealed: bytes, salt: bytes,
                     tags: list[set[bytes]]) -> FoundStripe | None:
        draft = StripeRef(self.entry, kind, offset, 0, salt, b"")
        opener = StripeOpener(draft, self.keys, self.pool_id)
        header = SHARD_MAGIC + sealed + salt + bytes(32 * len(tags))
        try:
            head = opener.head(header)
        except Damage:
            return None
        if head.kind != kind or head.body_len <= 0:
            return None
        ref = StripeRef(self.entry, kind, offset, head.body_len, salt, b"")
        return FoundStripe(ref, ref.layout(self.keys.unit_len), head, opener, tags)

    # -- content -----------------------------------------------------------------------------

    def notes(self, found: FoundStripe, code: Code) -> list[ExtentNote] | None:
        """The stripe's directory, None where it is lost. Reads only its units where that does."""
        head, ref = found.head, found.ref
        try:
            runs = found.layout.units_of(head.directory_start, head.directory_len)
            units = [unit for run in runs for unit in run.units()]
        except Damage:
            return None
        bodies: dict[int, bytes] = {}
        parts = []
        for unit in units:
            file = self.columns.get(unit.shard)
            sealed = b"" if file is None or file.is_slow else file.read(
                ref.offset + ref.head_len + unit.offset, unit.end - unit.offset)
            try:
                parts.append(found.opener.open_unit(unit.nonce, sealed))
            except Damage:
                break
        if len(parts) != len(units):
            parts = []
            bodies.clear()
            for _, data in self.opened(found, code).extent(head.directory_start,
                                                           head.directory_len):
                if data is None:
                    return None
                parts.append(data)
        try:
            return decode_directory(b"".join(parts))
        except Damage:
            return None

    def opened(self, found: FoundStripe, code: Code) -> OpenedStripe:
        """The data bodies: those with a right tag, the others decoded; with too few of them,
        whatever is there."""
        ref = found.ref
        good: dict[int, Buffer] = {}
        raw: dict[int, Buffer] = {}
        for index, file in sorted(self.columns.items(), key=lambda one: one[1].is_slow):
            if file.is_slow and len(good) >= ref.geometry.data:
                break
            body = file.read(ref.offset + ref.head_len, ref.body_len)
            if self._has_tag(found, index, body):
                good[index] = body
            elif index < ref.geometry.data:
                raw[index] = body
        for file in sorted(self.strangers, key=lambda one: one.is_slow):
            if file.is_slow and len(good) >= ref.geometry.data:
                break
            body = file.read(ref.offset + ref.head_len, ref.body_len)
            for index in range(ref.geometry.shards):
                if index not in good and self._has_tag(found, index, body):
                    good[index] = body
        data = range(ref.geometry.data)
        if len(good) >= ref.geometry.data:
            return OpenedStripe(found, rebuild_bodies(code, good, data, ref.body_len))
        return OpenedStripe(found, {index: body for index, body in (raw | good).items()
                                    if index in data})

    def _has_tag(self, found: FoundStripe, index: int, body: bytes) -> bool:
        if len(body) != found.ref.body_len:
            return False
        binding = binding_of(self.entry, self.pool_id, found.ref.offset, found.ref.kind)
        for tag in found.tags[index]:
            try:
                check_body(self.keys, binding=binding, index=index, body=body, tag=tag)
                return True
            except Damage:
                continue
        return False


def _proven_header(data: bytes, keys: SegmentKeys) -> ColumnHeader | None:
    """The header of a column file when its MAC is right."""
    try:
        header = peek_column_header(data)
        Geometry.checked(header.data, header.parity)
    except Damage:
        return None
    made = encode_column_header(header, lambda fields: keyed_hash(
        keys.tag, purpose=b"column header", parts=[fields]))
    return header if made == data and header.column < header.data + header.parity else None
