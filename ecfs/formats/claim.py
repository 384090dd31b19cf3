"""Claims (`claim.<epoch>`), who may write, and heartbeats (`heartbeat.<epoch>`), that it lives."""

from dataclasses import dataclass

from ecfs.base.errors import Damage
from ecfs.base.units import BLOCK_LEN
from ecfs.formats.box import BoxKeys, BoxKind, open_box, seal_box
from ecfs.formats.packing import Fields, pack, unpack

CLAIM = BoxKind(b"ECFSCLM1", "claim", BLOCK_LEN)
HEARTBEAT = BoxKind(b"ECFSHRT1", "heartbeat", BLOCK_LEN)


@dataclass(frozen=True, slots=True)
class Claim:
    """One writer's claim to an epoch. `boot_id` and `pid` tell a dead writer on the same host."""

    epoch: int
    writer: bytes
    host: str
    boot_id: str
    pid: int


def encode_claim(claim: Claim, keys: BoxKeys, fresh: bytes) -> bytes:
    """4 KiB to be written as `claim.<epoch>`."""
    payload = pack({"writer": claim.writer, "host": claim.host[:255], "boot_id": claim.boot_id,
                    "pid": claim.pid})
    return seal_box(CLAIM, keys, epoch=claim.epoch, seq=0, payload=payload, fresh=fresh)


def decode_claim(data: bytes, keys: BoxKeys, epoch: int) -> Claim:
    """The claim; Damage unless authentic and of `epoch`."""
    head, payload = open_box(CLAIM, keys, data)
    if head.epoch != epoch:
        raise Damage(f"claim of epoch {head.epoch} found under the name of epoch {epoch}")
    fields = Fields(unpack(payload), "claim")
    return Claim(epoch, fields.data("writer", length=16), fields.text("host"),
                 fields.text("boot_id"), fields.number("pid"))


def encode_heartbeat(epoch: int, count: int, keys: BoxKeys, fresh: bytes) -> bytes:
    """4 KiB to be written over `heartbeat.<epoch>`; `count` grows with every beat."""
    return seal_box(HEARTBEAT, keys, epoch=epoch, seq=count, payload=b"", fresh=fresh)


def decode_heartbeat(data: bytes, keys: BoxKeys, epoch: int) -> int:
    """The counter; Damage unless authentic and of `epoch`."""
    head, _ = open_box(HEARTBEAT, keys, data)
    if head.epoch != epoch:
        raise Damage("heartbeat of another epoch")
    return head.seq
