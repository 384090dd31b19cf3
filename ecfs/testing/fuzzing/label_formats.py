"""Targets: labels from their envelope to their body, key slots, names on a target."""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from blake3 import blake3

from ecfs.base.errors import Damage, Refusal, UnknownFormat
from ecfs.base.limits import KDF_MEMORY_CAP_KIB, KDF_MEMORY_FLOOR_KIB, LABEL_LEN_MAX
from ecfs.base.units import GIB, KIB
from ecfs.erasure import Geometry
from ecfs.formats import (
    CLAIM_PATTERN,
    COLUMN_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    Label,
    check_known,
    check_label,
    claim_name,
    decode_label,
    encode_label,
    epochs_among,
    folders_among,
    label_name,
    labels_among,
)
from ecfs.formats.envelope import unwrap_fast, wrap
from ecfs.formats.label import MAGIC
from ecfs.keys import KeySlot, open_slots
from ecfs.testing.fuzzing.grafting import grafted, loose, packed
from ecfs.testing.fuzzing.material import POOL_ID, golden, label_mac
from ecfs.testing.fuzzing.target import FuzzTarget, expect
from ecfs.volume.adopting import quorum_of

_BODY_AT = 76
RAM_KIB = 8 * GIB // KIB


def label(data: bytes) -> None:
    """`label.<epoch>.<generation>` as a target gives it."""
    _use(data)


def label_rotten(data: bytes) -> None:
    """The golden label with up to some thousand bytes changed: pairs of place and exclusive or."""
    envelope = bytearray(golden("label"))
    for at in range(0, len(data) - 2, 3):
        envelope[int.from_bytes(data[at:at + 2], "big") % len(envelope)] ^= data[at + 2]
    _use(bytes(envelope))


def label_forged(data: bytes) -> None:
    """A label that is right in all but its MAC, as any target can make it."""
    _use(sealed_label(grafted(data, _golden_body()), bytes(32)))


def label_authentic(data: bytes) -> None:
    """A label with the right MAC, whatever it says."""
    body = grafted(data, _golden_body())
    signed = decode_label(sealed_label(body, label_mac(body)))
    found = check_label(signed, label_mac)
    again = decode_label(encode_label(found, label_mac))
    expect(check_label(again, label_mac) == found, "a label does not come back as it was")


def key_slots(data: bytes) -> None:
    """The slots of a forged label, offered to an unlock: no KDF runs out of bounds."""
    body = grafted(data, _golden_body())
    slots = decode_label(sealed_label(body, bytes(32))).label.slots
    dear = [slot for slot in slots if not _is_allowed(slot)]
    if dear:
        open_slots(dear, b"secret", None, POOL_ID)
        expect(False, "a slot out of bounds was opened")


def names(data: bytes) -> None:
    """A listing of a target: names of any bytes, separated by line feeds."""
    listing = [os.fsdecode(name) for name in data.split(b"\n")]
    for epoch, generation, name in labels_among(listing):
        expect(label_name(epoch, generation) == name, "a label under an odd name")
    for pattern in (CLAIM_PATTERN, COMMITS_PATTERN, HEARTBEAT_PATTERN):
        expect(all(0 <= epoch < 1 << 64 for epoch in epochs_among(listing, pattern)), "epoch")
    expect({claim_name(epoch) for epoch in epochs_among(listing, CLAIM_PATTERN)} <= set(listing),
           "a claim under an odd name")
    expect(all(len(name) == 2 for name in folders_among(listing)), "an odd folder")
    expect(all(name.isascii() for name in listing if COLUMN_PATTERN.fullmatch(name)), "a column")


def _use(data: bytes) -> None:
    """Everything that is done with a label before and after it is known not to be authentic."""
    signed = decode_label(data)
    _check_types(signed.label)
    try:
        check_known(signed.label)
        quorum_of(signed.label)
    except UnknownFormat:
        pass
    for slot in signed.label.slots:
        _is_allowed(slot)
    check_label(signed, label_mac)


def _check_types(found: Label) -> None:
    Geometry(found.data, found.parity)
    expect(len(found.pool_id) == len(found.target_id) == 16, "ids of wrong lengths")
    for entry in found.targets:
        expect(isinstance(entry.name, str), "a name that is no text")
        os.path.realpath(os.fsdecode(os.fsencode(entry.path)))


def _is_allowed(slot: KeySlot) -> bool:
    try:
        slot.kdf.check(ram_kib=RAM_KIB)
    except Refusal:
        return False
    expect(KDF_MEMORY_FLOOR_KIB <= slot.kdf.memory_kib <= min(KDF_MEMORY_CAP_KIB, RAM_KIB // 2),
           "memory of a KDF out of bounds")
    return True


def sealed_label(body: bytes, mac: bytes) -> bytes:
    """The file of a label with this body and MAC."""
    if len(body) > LABEL_LEN_MAX - 10 * KIB:
        raise Damage("longer than a label may be")
    return wrap(MAGIC + len(body).to_bytes(4, "big") + blake3(mac + body).digest() + mac + body)


@cache
def _golden_body() -> Any:
    payload = unwrap_fast(golden("label"))
    length = int.from_bytes(payload[8:12], "big")
    return loose(payload[_BODY_AT:_BODY_AT + length])


def _bodies() -> Iterator[bytes]:
    yield b"\1" + packed(_golden_body())
    for spot in range(0, 40, 4):
        yield b"\0" + spot.to_bytes(2, "big") + packed([{"id": bytes(16)}, 1 << 63])


def _listings() -> Iterator[bytes]:
    yield (b"label.0000000000000003.0000000000000011\nclaim.0000000000000003\n"
           b"commits.0000000000000003\nheartbeat.0000000000000003\nsegments\n0a\n"
           b"0000000000000003-0000000000000005.col\n\xff\xfe\nlabel.ffffffffffffffff."
           b"ffffffffffffffff")


TARGETS = (
    FuzzTarget("label", label, lambda: [golden("label")]),
    FuzzTarget("label-rotten", label_rotten, lambda: [b"", bytes(range(1, 97)) * 4]),
    FuzzTarget("label-forged", label_forged, _bodies),
    FuzzTarget("label-authentic", label_authentic, _bodies),
    FuzzTarget("key-slots", key_slots, _bodies),
    FuzzTarget("names", names, _listings),
)
