"""Where a fault can sit: every shard, header, label, claim, heartbeat, record, on each target."""

from collections.abc import Iterator
from dataclasses import dataclass

from ecfs.base.limits import COLUMN_HEADER_LEN
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import CLAIM_PATTERN, HEARTBEAT_PATTERN, SEALED_HEAD_LEN, epochs_among
from ecfs.formats import claim_name as claim_name_of
from ecfs.formats import heartbeat_name as heartbeat_name_of
from ecfs.testing.faults.site import Site, labels_of

BOX_PARTS = {"magic": 2, "version": 9, "length": 14, "epoch": 22, "seq": 30, "salt": 40,
             "body": 70}
LABEL_PARTS = {"magic": 1, "digest": 20, "mac": 50, "body": 600, "parity": 7_600}
HEADER_PARTS = {"magic": 2, "version": 9, "geometry": 10, "column": 12, "epoch": 20, "segment": 28,
                "pool": 40, "mac": 70}


@dataclass(frozen=True, slots=True)
class Spot:
    """A piece of one file on one target. `parts`: offsets in it at which its fields lie.

    `group`: spots of one kind in one file, among which bytes can change places.
    """

    id: str
    target: int
    file: str
    offset: int
    length: int
    parts: dict[str, int]
    group: str


def spots_of(site: Site) -> list[Spot]:
    """All of them, in an order that only the pool decides."""
    found: list[Spot] = []
    for target in range(site.shape.targets_count):
        found += _shards(site, target)
        found += _headers(site, target)
        found += _files(site, target)
        if target in site.members:
            found += _records(site, target)
    return found


def _shards(site: Site, target: int) -> Iterator[Spot]:
    for number, stripe in enumerate(site.stripes):
        if target not in stripe.targets:
            continue
        own_tag = 8 + SEALED_HEAD_LEN + 32 + 32 * stripe.targets.index(target)
        body_len = stripe.record_len - stripe.head_len
        parts = {"magic": 3, "head": 28, "salt": 77, "own-tag": own_tag + 9,
                 "last-tag": stripe.head_len - 5, "body-begin": stripe.head_len,
                 "body-middle": stripe.head_len + body_len // 3,
                 "body-end": stripe.head_len + body_len // 2 + 5,
                 "padding": stripe.record_len - 1}
        yield Spot(f"t{target}/shard{number}", target, stripe.column, stripe.offset,
                   stripe.record_len, parts, "shard")


def _headers(site: Site, target: int) -> Iterator[Spot]:
    columns = sorted({stripe.column for stripe in site.stripes if target in stripe.targets})
    for number, name in enumerate(columns):
        parts = {**HEADER_PARTS, "padding": COLUMN_HEADER_LEN - 1}
        yield Spot(f"t{target}/header{number}", target, name, 0, COLUMN_HEADER_LEN, parts, "header")


def _files(site: Site, target: int) -> Iterator[Spot]:
    disk = site.disks.disks[site.paths[target]]
    for number, name in enumerate(labels_of(disk.files)):
        length = len(disk.files[name])
        yield Spot(f"t{target}/label{number}", target, name, 0, length,
                   {**LABEL_PARTS, "padding": length - 1}, "label")
    for kind, pattern, name_of in (("claim", CLAIM_PATTERN, claim_name_of),
                                   ("heartbeat", HEARTBEAT_PATTERN, heartbeat_name_of)):
        for number, epoch in enumerate(epochs_among(disk.files, pattern)):
            yield Spot(f"t{target}/{kind}{number}", target, name_of(epoch), 0, BLOCK_LEN,
                       {**BOX_PARTS, "padding": BLOCK_LEN - 1}, kind)


def _records(site: Site, target: int) -> Iterator[Spot]:
    for number, record in enumerate(site.records):
        yield Spot(f"t{target}/record{number}", target, record.name, record.offset, record.length,
                   {**BOX_PARTS, "padding": record.length - 1}, "record")
    last = site.records[-1]
    data = site.disks.disks[site.paths[target]].files[last.name]
    room_at = last.offset + last.length
    if len(data) - room_at >= 2 * BLOCK_LEN:
        yield Spot(f"t{target}/room", target, last.name, room_at, 2 * BLOCK_LEN,
                   {"begin": 0, "second": BLOCK_LEN + 100}, "room")
