"""A column file: a header of 4 KiB, then shard records, each a multiple of 4 KiB.

Header: 64 bytes of fields, a keyed BLAKE3 of them under the segment's tag key, zeros.

| offset | length | field |
|---|---|---|
| 0 | 8 | magic `ECFSCOL1` |
| 8 | 2 | format version |
| 10 | 1 | data shards |
| 11 | 1 | parity shards |
| 12 | 1 | column |
| 13 | 3 | zero |
| 16 | 8 | epoch |
| 24 | 8 | segment |
| 32 | 16 | pool |
| 48 | 16 | zero |
| 64 | 32 | MAC |

Shard record; all columns of a stripe have the same first 104 + 32 n bytes:

| offset | length | field |
|---|---|---|
| 0 | 8 | magic `ECFSSHD1` |
| 8 | 64 | sealed head: AES-256-GCM of 48 bytes under the stripe's key, nonce 2^64 |
| 72 | 32 | salt |
| 104 | 32 n | tags of the n = k + m bodies |
| 104 + 32 n | rest | body: sealed units of this shard (or parity over them), zeros |
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ecfs.base.errors import Damage
from ecfs.base.limits import (
    AEAD_TAG_LEN,
    COLUMN_HEADER_LEN,
    COLUMN_LEN_MAX,
    EXTENTS_PER_STRIPE_MAX,
)
from ecfs.base.units import BLOCK_LEN

COLUMN_MAGIC = b"ECFSCOL1"
SHARD_MAGIC = b"ECFSSHD1"
FORMAT_VERSION = 1
SALT_LEN = 32
TAG_LEN = 32
HEAD_INDEX = 1 << 64
KIND_CONTENT = 1
KIND_METADATA = 2
_COLUMN = struct.Struct(">8sHBBB3xQQ16s16x")
_HEAD = struct.Struct(">BBHIIIQQQ8x")
_BINDING = struct.Struct(">16sQQQBBB")
SEALED_HEAD_LEN = _HEAD.size + AEAD_TAG_LEN

assert _COLUMN.size == 64
assert _HEAD.size == 48


@dataclass(frozen=True, slots=True)
class ColumnHeader:
    """What a column file says it is."""

    pool_id: bytes
    epoch: int
    segment: int
    data: int
    parity: int
    column: int


@dataclass(frozen=True, slots=True)
class StripeHead:
    """The sealed head of a stripe. Lengths in bytes; `order` grows with every stripe written.

    `directory_start` is a position in the stripe (shard * body_len + offset in the body).
    """

    kind: int
    body_len: int
    directory_len: int
    extents_count: int
    directory_start: int
    order: int


def encode_column_header(header: ColumnHeader, mac_of: Callable[[bytes], bytes]) -> bytes:
    """4 KiB; `mac_of` is keyed BLAKE3 under the segment's tag key."""
    fields = _COLUMN.pack(COLUMN_MAGIC, FORMAT_VERSION, header.data, header.parity, header.column,
                          header.epoch, header.segment, header.pool_id)
    return (fields + mac_of(fields)).ljust(COLUMN_HEADER_LEN, b"\0")


def peek_column_header(data: bytes) -> ColumnHeader:
    """The fields, unauthenticated; Damage when they are no column's."""
    if len(data) < _COLUMN.size:
        raise Damage("column is cut off in its header")
    magic, version, data_count, parity, column, epoch, segment, pool = _COLUMN.unpack_from(data)
    if magic != COLUMN_MAGIC or version != FORMAT_VERSION:
        raise Damage("not a column of a format that this program knows")
    return ColumnHeader(pool, epoch, segment, data_count, parity, column)


def header_len(shards_count: int) -> int:
    """Length of the part before the body."""
    return 8 + SEALED_HEAD_LEN + SALT_LEN + TAG_LEN * shards_count


def record_len(body_len: int, shards_count: int) -> int:
    """Length of a shard record on its target, a multiple of 4 KiB by construction of body_len."""
    return header_len(shards_count) + body_len


def fitting_body_len(content_len: int, shards_count: int) -> int:
    """The least body length not under `content_len` that makes the record whole blocks."""
    head = header_len(shards_count)
    return -(-(head + max(content_len, 1)) // BLOCK_LEN) * BLOCK_LEN - head


def stripe_binding(*, pool_id: bytes, epoch: int, segment: int, offset: int, data: int,
                   parity: int, kind: int) -> bytes:
    """What every AEAD and tag of a stripe is bound to: its address, geometry and kind."""
    return _BINDING.pack(pool_id, epoch, segment, offset, data, parity, kind)


def pack_head(head: StripeHead) -> bytes:
    """48 bytes to be sealed."""
    return _HEAD.pack(head.kind, FORMAT_VERSION, 0, head.body_len, head.directory_len,
                      head.extents_count, head.directory_start, head.order, 0)


def unpack_head(plain: bytes) -> StripeHead:
    """The head from its opened bytes; Damage on impossible values."""
    if len(plain) != _HEAD.size:
        raise Damage("stripe head has a wrong length")
    kind, version, _, body_len, directory_len, count, start, order, _ = _HEAD.unpack(plain)
    if version != FORMAT_VERSION or not 0 < body_len <= COLUMN_LEN_MAX or (
            count > EXTENTS_PER_STRIPE_MAX):
        raise Damage("stripe head has impossible values")
    return StripeHead(kind, body_len, directory_len, count, start, order)


def join_record_header(sealed_head: bytes, salt: bytes, tags: list[bytes]) -> bytes:
    """The bytes before the body."""
    return b"".join((SHARD_MAGIC, sealed_head, salt, *tags))


def split_record_header(data: bytes, shards_count: int) -> tuple[bytes, bytes, list[bytes]]:
    """(sealed head, salt, tags); Damage when the magic is wrong or bytes are missing."""
    if len(data) < header_len(shards_count) or data[:8] != SHARD_MAGIC:
        raise Damage("no shard record here")
    salt_at = 8 + SEALED_HEAD_LEN
    tags_at = salt_at + SALT_LEN
    tags = [bytes(data[tags_at + TAG_LEN * i : tags_at + TAG_LEN * (i + 1)])
            for i in range(shards_count)]
    return bytes(data[8:salt_at]), bytes(data[salt_at:tags_at]), tags


