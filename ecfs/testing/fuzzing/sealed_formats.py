"""Targets: boxes (claims, heartbeats, commit records), raw and with an authentic outside."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from ecfs.base.errors import Damage
from ecfs.formats import (
    CLAIM,
    COMMIT,
    HEARTBEAT,
    BoxKind,
    Commit,
    decode_claim,
    decode_commit,
    decode_heartbeat,
    encode_commit,
    peek_box,
    record_hash,
)
from ecfs.formats.box import OVERHEAD_LEN, open_box, seal_box
from ecfs.testing.fuzzing.grafting import grafted, loose, packed
from ecfs.testing.fuzzing.material import EPOCH, FRESH, box_keys, golden
from ecfs.testing.fuzzing.target import FuzzTarget, expect

NUMBER_MAX = 1 << 63


def claim(data: bytes) -> None:
    """`claim.<epoch>` as a target gives it."""
    decode_claim(data, box_keys("claim"), EPOCH)


def claim_inside(data: bytes) -> None:
    """A claim that is authentic, whatever it says."""
    found = decode_claim(_boxed(CLAIM, data, _inside("claim", CLAIM)), box_keys("claim"), EPOCH)
    expect(len(found.writer) == 16 and 0 <= found.pid < NUMBER_MAX, "claim of wrong types")
    texts: tuple[object, ...] = (found.host, found.boot_id)
    expect(all(isinstance(text, str) for text in texts), "claim of wrong types")


def heartbeat(data: bytes) -> None:
    """`heartbeat.<epoch>` as a target gives it."""
    decode_heartbeat(data, box_keys("heartbeat"), EPOCH)


def heartbeat_inside(data: bytes) -> None:
    """An authentic heartbeat with any payload."""
    keys = box_keys("heartbeat")
    sealed = seal_box(HEARTBEAT, keys, epoch=EPOCH, seq=len(data), fresh=FRESH,
                      payload=data[:HEARTBEAT.len_max - OVERHEAD_LEN])
    expect(decode_heartbeat(sealed, keys, EPOCH) == len(data), "heartbeat lost its count")


def commit(data: bytes) -> None:
    """What `commits.<epoch>` holds somewhere."""
    peek_box(COMMIT, data)
    head, found = decode_commit(data, box_keys("commit"))
    expect((head.epoch, head.seq) == (found.epoch, found.seq), "record under another number")
    record_hash(data[:head.length])


def commit_inside(data: bytes) -> None:
    """An authentic commit record, whatever it says: `data` begins with which golden one it is."""
    name = ("commit-delta", "commit-orders", "commit-checkpoint")[data[0] & 1 if data else 0]
    _, found = decode_commit(_boxed(COMMIT, data[1:], _inside(name, COMMIT)), box_keys("commit"))
    _check_numbers(found)
    again = decode_commit(encode_commit(found, box_keys("commit"), FRESH), box_keys("commit"))[1]
    expect(again == found, "a record does not come back as it was")


def _check_numbers(found: Commit) -> None:
    numbers = [found.page_count, found.time_ns, found.generation,
               *(delta.page for delta in found.pages)]
    root = found.root
    if root is not None:
        numbers += [root.page_count, root.next_segment, root.next_stripe, root.next_order]
        for chunk in root.chunks:
            numbers += [chunk.stripe, chunk.start, chunk.length]
        for stripe in root.stripes:
            numbers += [stripe.number, stripe.segment, stripe.offset, stripe.body_len]
        for entry in root.segments:
            numbers += [entry.id, entry.epoch, entry.length]
    expect(all(type(number) is int and 0 <= number < NUMBER_MAX for number in numbers),
           "a number that no field of ours can hold")


def _boxed(kind: BoxKind, data: bytes, base: Any) -> bytes:
    payload = grafted(data, base)
    if len(payload) > kind.len_max - OVERHEAD_LEN:
        raise Damage("longer than the kind allows")
    purpose = kind.purpose
    return seal_box(kind, box_keys(purpose), epoch=EPOCH, seq=0, payload=payload, fresh=FRESH)


@cache
def _inside(name: str, kind: BoxKind) -> Any:
    return loose(open_box(kind, box_keys(kind.purpose), golden(name))[1])


def _seeds(*names: str) -> Callable[[], Iterator[bytes]]:
    def made() -> Iterator[bytes]:
        for name in names:
            yield golden(name)
    return made


def _inner_seeds(kind: BoxKind, *names: str, chosen: bool = False) -> Callable[[], Iterator[bytes]]:
    def made() -> Iterator[bytes]:
        for number, name in enumerate(names):
            prefix = bytes([number]) if chosen else b""
            yield prefix + b"\1" + packed(_inside(name, kind))
            for spot in range(24):
                yield prefix + b"\0" + spot.to_bytes(2, "big") + packed(1 << 63)
    return made


TARGETS = (
    FuzzTarget("claim", claim, _seeds("claim")),
    FuzzTarget("claim-inside", claim_inside, _inner_seeds(CLAIM, "claim")),
    FuzzTarget("heartbeat", heartbeat, _seeds("heartbeat")),
    FuzzTarget("heartbeat-inside", heartbeat_inside, lambda: [b"", b"\1\2\3"]),
    FuzzTarget("commit", commit, _seeds("commit-delta", "commit-orders", "commit-checkpoint")),
    FuzzTarget("commit-inside", commit_inside,
               _inner_seeds(COMMIT, "commit-delta", "commit-orders", "commit-checkpoint",
                            chosen=True)),
)
