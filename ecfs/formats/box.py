"""A sealed box: the outside of claims, heartbeats and commit records.

| offset | length | field |
|---|---|---|
| 0 | 8 | magic, one for each kind |
| 8 | 2 | format version, big endian |
| 10 | 2 | zero |
| 12 | 4 | length of the whole box, a multiple of 4 KiB |
| 16 | 8 | epoch |
| 24 | 8 | sequence number (0 where there is none) |
| 32 | 32 | salt |
| 64 | rest | AES-256-GCM of: u32 length, payload, zeros; key HKDF(purpose key, salt), nonce 0 |

The first 64 bytes and the pool id are the associated data. Nothing of a box but magic and length
is looked at before it opens, and the length is capped by the caller.
"""

import struct
from dataclasses import dataclass, field

from ecfs.base.errors import Bug, Damage
from ecfs.base.units import BLOCK_LEN, round_up
from ecfs.sealing import UnitSealer, derive, stripe_salt

FORMAT_VERSION = 1
HEADER = struct.Struct(">8sHHIQQ32s")
TAG_LEN = 16
_LENGTH = struct.Struct(">I")
OVERHEAD_LEN = HEADER.size + TAG_LEN + _LENGTH.size

assert HEADER.size == 64


@dataclass(frozen=True, slots=True)
class BoxKind:
    """What a box is: its magic and the purpose of its key; one kind never opens as another."""

    magic: bytes
    purpose: str
    len_max: int


@dataclass(frozen=True, slots=True)
class BoxHead:
    """The part of a box that can be read without a key; nothing in it is to be believed."""

    epoch: int
    seq: int
    length: int


@dataclass(frozen=True, slots=True)
class BoxKeys:
    """Keys of one kind of box in one pool."""

    pool_id: bytes
    seal: bytes = field(repr=False)
    salt: bytes = field(repr=False)


def seal_box(kind: BoxKind, keys: BoxKeys, *, epoch: int, seq: int, payload: bytes, fresh: bytes,
             padded_len: int = 0) -> bytes:
    """The box around `payload`, at least `padded_len` bytes long; `fresh`: 32 random bytes."""
    length = max(round_up(OVERHEAD_LEN + len(payload), BLOCK_LEN), padded_len)
    if length > kind.len_max or length % BLOCK_LEN:
        raise Bug(f"a box {kind.magic!r} cannot be {length} bytes long")
    address = keys.pool_id + struct.pack(">QQ", epoch, seq)
    salt = stripe_salt(keys.salt, kind=kind.magic, address=address, fresh=fresh, parts=[payload])
    head = HEADER.pack(kind.magic, FORMAT_VERSION, 0, length, epoch, seq, salt)
    plain = (_LENGTH.pack(len(payload)) + payload).ljust(length - HEADER.size - TAG_LEN, b"\0")
    return head + _sealer(kind, keys, salt).seal(0, keys.pool_id + head, plain)


def peek_box(kind: BoxKind, data: bytes) -> BoxHead:
    """What the first 64 bytes claim; Damage when they cannot begin a box of this kind."""
    if len(data) < HEADER.size:
        raise Damage("too short for a record")
    magic, version, zero, length, epoch, seq, _ = HEADER.unpack_from(data)
    if magic != kind.magic or version != FORMAT_VERSION or zero:
        raise Damage("not a record of the expected kind")
    if length % BLOCK_LEN or not BLOCK_LEN <= length <= kind.len_max:
        raise Damage(f"a record cannot be {length} bytes long")
    return BoxHead(epoch, seq, length)


def open_box(kind: BoxKind, keys: BoxKeys, data: bytes) -> tuple[BoxHead, bytes]:
    """Head and payload of the box that `data` begins with; Damage unless it is authentic."""
    head = peek_box(kind, data)
    if len(data) < head.length:
        raise Damage("record is cut off")
    prefix = data[: HEADER.size]
    salt = HEADER.unpack(prefix)[6]
    sealed = data[HEADER.size : head.length]
    plain = _sealer(kind, keys, salt).open(0, keys.pool_id + prefix, sealed)
    (length,) = _LENGTH.unpack_from(plain)
    payload = plain[_LENGTH.size : _LENGTH.size + length]
    if len(payload) != length or any(plain[_LENGTH.size + length :]):
        raise Damage("record has impossible lengths")
    return head, payload


def _sealer(kind: BoxKind, keys: BoxKeys, salt: bytes) -> UnitSealer:
    return UnitSealer(derive(keys.seal, salt=salt, info=b"ecfs box " + kind.magic))
