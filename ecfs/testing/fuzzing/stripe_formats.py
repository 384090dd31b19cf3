"""Targets: columns, shard records, sealed heads and directories, and the salvage over them."""

import struct
from collections.abc import Iterator
from functools import cache

from ecfs.base.errors import Damage
from ecfs.base.limits import EXTENTS_PER_STRIPE_MAX, UNIT_LEN
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import SystemClock
from ecfs.erasure import Code, Geometry
from ecfs.formats import (
    HEAD_INDEX,
    KIND_CONTENT,
    SegmentEntry,
    StripeHead,
    column_name,
    decode_directory,
    header_len,
    join_record_header,
    peek_column_header,
    split_record_header,
    unpack_head,
)
from ecfs.repair.salvage_asking import Asked
from ecfs.repair.salvage_log import SegmentScan, columns_of
from ecfs.sealing import UnitSealer, derive, shard_tag, tag_vector_digest
from ecfs.stripes import StripeOpener, StripeRef, binding_of
from ecfs.targets import InlineLane, MemoryTarget
from ecfs.testing.fuzzing.grafting import grafted, loose
from ecfs.testing.fuzzing.material import (
    EPOCH,
    POOL_ID,
    SEGMENT,
    golden,
    master,
    segment_keys,
)
from ecfs.testing.fuzzing.target import FuzzTarget, expect

GEOMETRY = Geometry(4, 2)
SHARDS = GEOMETRY.shards
OFFSET = 0x1000
ENTRY = SegmentEntry(SEGMENT, EPOCH, 4, 2, (bytes(16),) * SHARDS, 0x9000)
_HEAD = struct.Struct(">BBHIIIQQQ8x")


def column_header(data: bytes) -> None:
    """The first bytes of a column file."""
    header = peek_column_header(data)
    expect(len(header.pool_id) == 16, "a pool id of a wrong length")
    Geometry.checked(header.data, header.parity)


def shard_record(data: bytes) -> None:
    """A shard record at an address where another is expected; the first byte is the column."""
    ref = _golden_ref()
    opener = StripeOpener(ref, segment_keys(), POOL_ID)
    column, record = data[0] % SHARDS if data else 0, data[1:]
    split_record_header(record, SHARDS)
    header = opener.checked_header(record)
    body = opener.checked_body(column, record, header)
    expect(bytes(record[header_len(SHARDS):]) == bytes(body), "other bytes than were verified")


def sealed_head(data: bytes) -> None:
    """The inside of a sealed head, as it is used: where does its directory lie?"""
    head = unpack_head(data)
    layout = StripeRef(ENTRY, KIND_CONTENT, OFFSET, head.body_len, bytes(32), bytes(32)).layout(
        UNIT_LEN)
    units = layout.units_of(head.directory_start, head.directory_len)
    expect(sum(unit.length for unit in units) == head.directory_len, "units of another length")
    expect(all(0 <= unit.shard < 4 and unit.end <= head.body_len for unit in units), "outside")


def directory(data: bytes) -> None:
    """The opened directory of a stripe, and where it says that extents lie."""
    notes = decode_directory(grafted(data, _golden_notes()))
    expect(len(notes) <= EXTENTS_PER_STRIPE_MAX, "too many extents")
    layout = _golden_ref().layout(UNIT_LEN)
    for note in notes:
        try:
            layout.units_of(note.start, note.length)
        except Damage:
            continue


def salvage_column(data: bytes) -> None:
    """Column files of any content: what the salvage pass makes of a segment without metadata.

    Each input byte of the head picks what the column consists of; the rest is exclusive-ored in.
    """
    target = MemoryTarget("memory")
    content = bytearray(golden("column-header") + golden("shard-1") + golden("shard-1"))
    for at in range(0, len(data) - 3, 4):
        place = int.from_bytes(data[at:at + 3], "big") % len(content)
        content[place] ^= data[at + 3]
    target.create(column_name(EPOCH, SEGMENT), bytes(content))
    _salvage(target)


def salvage_head(data: bytes) -> None:
    """A column of one record whose sealed head is authentic, whatever it says."""
    salt = bytes(32)
    binding = binding_of(ENTRY, POOL_ID, OFFSET, KIND_CONTENT)
    sealer = UnitSealer(derive(segment_keys().seal, salt=salt, info=b"ecfs stripe"))
    body = data[_HEAD.size:].ljust(BLOCK_LEN - header_len(SHARDS) % BLOCK_LEN, b"\0")
    tags = [shard_tag(segment_keys().tag, binding=binding, index=index, body=body)
            for index in range(SHARDS)]
    sealed = sealer.seal(HEAD_INDEX, binding, data[:_HEAD.size].ljust(_HEAD.size, b"\0"))
    target = MemoryTarget("memory")
    target.create(column_name(EPOCH, SEGMENT), golden("column-header")
                  + join_record_header(sealed, salt, tags) + body)
    _salvage(target)


def _salvage(target: MemoryTarget) -> None:
    files = columns_of([Asked(target, InlineLane(), SystemClock())], master(), POOL_ID)
    code = Code(GEOMETRY)
    for key, columns in files.items():
        scan = SegmentScan.of(key, columns, master(), POOL_ID, GEOMETRY)
        for found in scan.stripes():
            for note in scan.notes(found, code) or ():
                opened = scan.opened(found, code)
                try:
                    for _, part in opened.extent(note.start, note.length):
                        expect(part is None or len(part) <= BLOCK_LEN * 16, "a unit too long")
                except Damage:
                    continue


@cache
def _golden_ref() -> StripeRef:
    record = golden("shard-0")
    _, salt, tags = split_record_header(record, SHARDS)
    body_len = len(record) - header_len(SHARDS)
    return StripeRef(ENTRY, KIND_CONTENT, OFFSET, body_len, salt, tag_vector_digest(tags))


@cache
def _golden_notes() -> list[object]:
    value = loose(golden("directory"))
    expect(isinstance(value, list), "the golden directory is no list")
    return list(value)


def _golden_head() -> StripeHead:
    return StripeOpener(_golden_ref(), segment_keys(), POOL_ID).head(golden("shard-0"))


def _packed_head(*, kind: int, body_len: int, directory_len: int, start: int) -> bytes:
    return _HEAD.pack(kind, 1, 0, body_len, directory_len, 1, start, 99, 0)


def _heads() -> Iterator[bytes]:
    head = _golden_head()
    yield _packed_head(kind=head.kind, body_len=head.body_len, directory_len=head.directory_len,
                       start=head.directory_start)
    yield _packed_head(kind=1, body_len=1, directory_len=1 << 31, start=0)
    yield _packed_head(kind=1, body_len=64 << 20, directory_len=(1 << 32) - 1, start=1 << 63)


def _directories() -> Iterator[bytes]:
    yield b"\1" + golden("directory")
    for spot in range(12):
        yield b"\0" + spot.to_bytes(2, "big") + b"\xff"


TARGETS = (
    FuzzTarget("column-header", column_header, lambda: [golden("column-header")]),
    FuzzTarget("shard-record", shard_record,
               lambda: [bytes([column]) + golden(f"shard-{column}") for column in range(SHARDS)]),
    FuzzTarget("sealed-head", sealed_head, _heads),
    FuzzTarget("directory", directory, _directories),
    FuzzTarget("salvage-column", salvage_column, lambda: [b"", b"\0\0\x08\xff", b"\0\x10\x48\1"]),
    FuzzTarget("salvage-head", salvage_head, _heads),
)
