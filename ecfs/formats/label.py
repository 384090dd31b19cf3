"""The label: what every target says of the pool and of itself, readable without a key.

Payload of the envelope:

| offset | length | field |
|---|---|---|
| 0 | 8 | magic `ECFSLBL1` |
| 8 | 4 | length of the body, big endian |
| 12 | 32 | BLAKE3 of MAC and body: tells rot, so that only rotten labels are decoded |
| 44 | 32 | keyed BLAKE3 of the body under the purpose key `label`: tells forgery |
| 76 | rest | body: msgpack, before its authentication capped in size and counts |
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from ecfs.base.errors import Damage, UnknownFormat
from ecfs.base.limits import (
    DATA_SHARDS_MAX,
    KEY_SLOTS_MAX,
    MEMBERS_MAX,
    PARITY_SHARDS_MAX,
    TARGETS_MAX,
    UNIT_LEN,
    UNIT_LEN_MAX,
)
from ecfs.formats.envelope import unwrap_corrected, unwrap_fast, wrap
from ecfs.formats.packing import Fields, pack, unpack
from ecfs.formats.slots import KdfParameters, KeySlot, SlotKind

MAGIC = b"ECFSLBL1"
FORMAT_VERSION = 1
HASHES_FIRST = 1 << 0
"""An incompatible feature, of a pool from its first day on or never: salts of stripes and tags of
shards are over universal hashes of the content, not over the content."""
SHORT_UNITS = 1 << 1
"""An incompatible feature, likewise: units are of at most 16 KiB, not 64."""
LOGGED_WRITES = 1 << 2
"""An incompatible feature, likewise: commit records may carry writes that no page shows yet."""
INCOMPATIBLE_KNOWN = HASHES_FIRST | SHORT_UNITS | LOGGED_WRITES
INCOMPATIBLE_OF_NEW = HASHES_FIRST | SHORT_UNITS | LOGGED_WRITES
READ_ONLY_COMPATIBLE_KNOWN = 0
_HEAD = struct.Struct(">8sI32s32s")

Mac = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """One target as the pool knows it. `path` is where it was seen last."""

    id: bytes
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class CheckpointPointer:
    """Where a checkpoint's record lies: `offset` in bytes in `commits.<epoch>`."""

    epoch: int
    seq: int
    offset: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Label:
    """All that a label says. `liars` is the quorum constant f of the design."""

    pool_id: bytes
    target_id: bytes
    epoch: int
    generation: int
    data: int
    parity: int
    liars: int
    members: tuple[bytes, ...]
    targets: tuple[TargetEntry, ...]
    slots: tuple[KeySlot, ...]
    slots_generation: int
    commitment: bytes
    checkpoint: CheckpointPointer | None
    version: int = FORMAT_VERSION
    incompatible: int = 0
    read_only_compatible: int = 0


@dataclass(frozen=True, slots=True)
class SignedLabel:
    """A label as it was read: not to be believed before `check_label` passed."""

    label: Label
    body: bytes
    mac: bytes
    was_rotten: bool


def encode_label(label: Label, mac: Mac) -> bytes:
    """The file's bytes; `mac` is keyed BLAKE3 under the purpose key `label`."""
    body = pack(_label_map(label))
    tag = mac(body)
    return wrap(_HEAD.pack(MAGIC, len(body), blake3(tag + body).digest(), tag) + body)


def decode_label(data: bytes) -> SignedLabel:
    """The label in a file, corrected where it is rotten; Damage when it cannot be read."""
    try:
        body, mac = _split(unwrap_fast(data))
        rotten = False
    except Damage:
        body, mac = _split(unwrap_corrected(data))
        rotten = True
    return SignedLabel(_parsed(body), body, mac, rotten)


def check_label(signed: SignedLabel, mac: Mac) -> Label:
    """The label when its MAC is right; else Damage."""
    if mac(signed.body) != signed.mac:
        raise Damage("label is not authentic")
    return signed.label


class Featured(Protocol):
    """What says of which version it is and which features it has: labels and roots."""

    @property
    def version(self) -> int:
        """Format version."""
        ...

    @property
    def incompatible(self) -> int:
        """Bits of features without which nothing can be read."""
        ...

    @property
    def read_only_compatible(self) -> int:
        """Bits of features without which nothing may be written."""
        ...


def check_known(pool: Featured) -> bool:
    """Whether the pool may be written; UnknownFormat when it may not even be read."""
    if pool.version != FORMAT_VERSION or pool.incompatible & ~INCOMPATIBLE_KNOWN:
        raise UnknownFormat(
            f"the pool has format version {pool.version} with features "
            f"{pool.incompatible:#x}; this program knows version {FORMAT_VERSION} with "
            f"{INCOMPATIBLE_KNOWN:#x}. Use the ecfs version that wrote it, or a newer one")
    return not pool.read_only_compatible & ~READ_ONLY_COMPATIBLE_KNOWN


def hashes_first(pool: Featured) -> bool:
    """Whether salts and tags are over universal hashes of the content (`HASHES_FIRST`)."""
    return bool(pool.incompatible & HASHES_FIRST)


def unit_len(pool: Featured) -> int:
    """How many bytes are sealed as one (`SHORT_UNITS`)."""
    return UNIT_LEN if pool.incompatible & SHORT_UNITS else UNIT_LEN_MAX


def _split(payload: bytes) -> tuple[bytes, bytes]:
    magic, length, digest, mac = _HEAD.unpack_from(payload)
    body = payload[_HEAD.size : _HEAD.size + length]
    if magic != MAGIC or len(body) != length or blake3(mac + body).digest() != digest:
        raise Damage("label is rotten")
    return body, mac


def _label_map(label: Label) -> dict[str, object]:
    pointer = label.checkpoint
    return {
        "version": label.version, "incompatible": label.incompatible,
        "read_only_compatible": label.read_only_compatible, "pool": label.pool_id,
        "target": label.target_id, "epoch": label.epoch, "generation": label.generation,
        "data": label.data, "parity": label.parity, "liars": label.liars,
        "members": list(label.members),
        "targets": [{"id": entry.id, "name": entry.name, "path": entry.path}
                    for entry in label.targets],
        "slots": [_slot_map(slot) for slot in label.slots],
        "slots_generation": label.slots_generation, "commitment": label.commitment,
        "checkpoint": None if pointer is None else {
            "epoch": pointer.epoch, "seq": pointer.seq, "offset": pointer.offset,
            "hash": pointer.hash},
    }


def _slot_map(slot: KeySlot) -> dict[str, object]:
    return {"id": slot.slot_id, "kind": int(slot.kind), "memory_kib": slot.kdf.memory_kib,
            "passes": slot.kdf.passes, "lanes": slot.kdf.lanes, "salt": slot.salt,
            "wrapped": slot.wrapped, "commitment": slot.commitment}


def _parsed(body: bytes) -> Label:
    fields = Fields(unpack(body, items_max=256), "label")
    version = fields.number("version")
    if version != FORMAT_VERSION:
        raise UnknownFormat(
            f"a label has format version {version}, this program knows {FORMAT_VERSION}; use the "
            "ecfs version that wrote it, or a newer one")
    targets = tuple(
        TargetEntry(entry.data("id", length=16), entry.text("name"), _path(entry.text("path")))
        for entry in fields.maps("targets", count_max=TARGETS_MAX))
    ids = {entry.id for entry in targets}
    members = fields.ids("members", count_max=MEMBERS_MAX)
    if len(ids) != len(targets) or not set(members) <= ids or len(set(members)) != len(members):
        raise Damage("label names members that are no targets, or one twice")
    return Label(
        pool_id=fields.data("pool", length=16), target_id=fields.data("target", length=16),
        epoch=fields.number("epoch"), generation=fields.number("generation"),
        data=fields.number("data", low=1, high=DATA_SHARDS_MAX),
        parity=fields.number("parity", high=PARITY_SHARDS_MAX),
        liars=fields.number("liars", high=1), members=members, targets=targets,
        slots=tuple(_slot(part) for part in fields.maps("slots", count_max=KEY_SLOTS_MAX)),
        slots_generation=fields.number("slots_generation"),
        commitment=fields.data("commitment", length=32),
        checkpoint=_pointer(fields.part("checkpoint")) if fields.has("checkpoint") else None,
        version=version, incompatible=fields.number("incompatible"),
        read_only_compatible=fields.number("read_only_compatible"))


def _slot(fields: Fields) -> KeySlot:
    try:
        kind = SlotKind(fields.number("kind"))
    except ValueError as error:
        raise Damage(f"unknown kind of key slot: {error}") from error
    kdf = KdfParameters(fields.number("memory_kib"), fields.number("passes"),
                        fields.number("lanes"))
    return KeySlot(slot_id=fields.number("id"), kind=kind, kdf=kdf,
                   salt=fields.data("salt", length=32), wrapped=fields.data("wrapped", length=48),
                   commitment=fields.data("commitment", length=32))


def _path(path: str) -> str:
    """A path that a system call would take, whatever else it is."""
    if "\0" in path:
        raise Damage("label has an impossible path")
    return path


def _pointer(fields: Fields) -> CheckpointPointer:
    return CheckpointPointer(fields.number("epoch"), fields.number("seq"),
                             fields.number("offset"), fields.data("hash", length=32))


def logs_writes(pool: Featured) -> bool:
    """Whether commit records may carry writes that no page shows yet (`LOGGED_WRITES`)."""
    return bool(pool.incompatible & LOGGED_WRITES)
