"""One of everything that is stored, made from fixed keys, fixed entropy and fixed values.

Bytes that change here are a change of the format: every pool that exists would be unreadable.
"""

from array import array
from dataclasses import dataclass, replace
from functools import cache

from ecfs.erasure import Code, Geometry
from ecfs.formats import (
    HASHES_FIRST,
    KIND_CONTENT,
    NO_PARENT,
    SHORT_UNITS,
    BoxKeys,
    CheckpointPointer,
    ChunkPlace,
    Claim,
    ColumnHeader,
    Commit,
    ExtentNote,
    Label,
    LoggedWrite,
    MetadataStripe,
    PageDelta,
    Root,
    SegmentEntry,
    TargetEntry,
    encode_claim,
    encode_column_header,
    encode_commit,
    encode_directory,
    encode_heartbeat,
    encode_label,
    hashes_first,
    unit_len,
)
from ecfs.keys import KdfParameters, KeySlot, MasterKey, SlotKind, make_slot
from ecfs.observe import AuditHead
from ecfs.sealing import keyed_hash
from ecfs.stripes import SealedStripe, UnitRun, plan_stripe, seal_stripe

POOL_ID = bytes(range(0x10, 0x20))
WRITER = bytes(range(0x20, 0x30))
MASTER = MasterKey(bytes(range(32)))
FRESH = bytes(range(0x80, 0xA0))
PASSPHRASE = b"correct horse battery staple"
IDS = tuple(bytes([0xA0 + number]) * 16 for number in range(6))
HASH = bytes(range(0xC0, 0xE0))


class FixedEntropy:
    """The same bytes every time."""

    def token(self, length: int) -> bytes:
        return (FRESH * (length // len(FRESH) + 1))[:length]


def box_keys(purpose: str) -> BoxKeys:
    return BoxKeys(POOL_ID, MASTER.purpose(purpose), MASTER.purpose(f"{purpose} salt"))


def label_mac(body: bytes) -> bytes:
    return keyed_hash(MASTER.purpose("label"), purpose=b"label", parts=[body])


@cache
def key_slot() -> KeySlot:
    return make_slot(MASTER, PASSPHRASE, SlotKind.PASSPHRASE, KdfParameters(64 * 1024, 1, 1),
                     slot_id=0, pool_id=POOL_ID, entropy=FixedEntropy())


def label() -> Label:
    targets = tuple(TargetEntry(identity, f"target{number}", f"/mnt/disk{number}/pool")
                    for number, identity in enumerate(IDS, 1))
    return Label(
        pool_id=POOL_ID, target_id=IDS[0], epoch=3, generation=17, data=4, parity=2, liars=1,
        members=IDS, targets=targets, slots=(key_slot(),), slots_generation=1,
        commitment=MASTER.commitment(POOL_ID),
        checkpoint=CheckpointPointer(3, 41, 0x8000, HASH))


CLAIM = Claim(3, WRITER, "host.example/0123456789ab", "5c1f8a3e-boot", 4242)
DELTA_COMMIT = Commit(
    epoch=3, seq=42, parent=HASH, writer=WRITER, time_ns=1_700_000_000_000_000_000, generation=17,
    page_count=9, pages=(PageDelta(1, True, b"delta of page 1"), PageDelta(9, False, b"page 9")),
    missed=(IDS[5],), host="host.example/0123456789ab", audit=AuditHead(IDS[1], 77, HASH))
WRITES_COMMIT = Commit(
    epoch=3, seq=44, parent=HASH, writer=WRITER, time_ns=1_700_000_000_000_000_002, generation=17,
    page_count=9, host="host.example/0123456789ab", entered=True, writes=(
        LoggedWrite(12, 4096, 1_700_000_000_000_000_000, 1_700_000_000_000_000_001, b"newest"),
        LoggedWrite(13, 0, None, None, bytes(range(256)))))
ORDERED_COMMIT = replace(WRITES_COMMIT, seq=45, writes=tuple(
    replace(write, order=3 << 40 | number) for number, write in enumerate(WRITES_COMMIT.writes)))
SEGMENT = SegmentEntry(5, 3, 4, 2, IDS, 0x9000)
ROOT = Root(
    base_seq=42, base_hash=HASH, page_count=9, chunks=(ChunkPlace(7, 0x1000, 72),),
    stripes=(MetadataStripe(7, 5, 0x1000, 0x3EF8, HASH, bytes(reversed(HASH))),),
    segments=(SEGMENT,), next_segment=6, next_stripe=8, next_order=100, version=1,
    incompatible=0, read_only_compatible=0, data=4, parity=2, liars=1, members=IDS, targets=IDS,
    slots_generation=1)
ROOT_COMMIT = Commit(
    epoch=3, seq=43, parent=NO_PARENT, writer=WRITER, time_ns=1_700_000_000_000_000_001,
    generation=17, page_count=9, clean=True, root=ROOT)
COLUMN = ColumnHeader(POOL_ID, 3, 5, 4, 2, 1)
EXTENTS = (b"hello, targets\n", bytes(range(256)) * 40)
LONG_EXTENTS = (EXTENTS[0], bytes(range(250)) * 288)
NOTES = [ExtentNote(0, 15, 12, 0, 15, 1, b"hello.txt", 0o100644, 1_700_000_000_000_000_000),
         ExtentNote(31, 10_240, 13, 4096, 14_336, 1, b"big \xff", 0o100600, 5, 77)]
PLACES = (7 << 32 | 0x0, 7 << 32 | 0x1010, 0, 8 << 32 | 0xFFFF)


def column_header() -> bytes:
    tag_key = MASTER.segment(COLUMN.segment, COLUMN.epoch).tag
    return encode_column_header(
        COLUMN, lambda fields: keyed_hash(tag_key, purpose=b"column header", parts=[fields]))


@dataclass(frozen=True)
class Sealing:
    """How a pool of these features seals its content, and what is sealed to show it."""

    features: int
    extents: tuple[bytes, ...]

    @property
    def master(self) -> MasterKey:
        pool = replace(label(), incompatible=self.features)
        return MASTER.for_content(hashes_first=hashes_first(pool), unit_len=unit_len(pool))


SEALINGS = {"": Sealing(0, EXTENTS), "hashed-": Sealing(HASHES_FIRST, EXTENTS),
            "short-": Sealing(HASHES_FIRST | SHORT_UNITS, LONG_EXTENTS)}


@cache
def stripe(prefix: str = "") -> SealedStripe:
    geometry = Geometry(4, 2)
    directory = encode_directory(NOTES)
    extents, master = SEALINGS[prefix].extents, SEALINGS[prefix].master
    body_len, _ = plan_stripe(geometry, [*map(len, extents), len(directory)],
                              unit_len=master.unit_len)
    return seal_stripe(
        keys=master.segment(5, 3), pool_id=POOL_ID, segment=SEGMENT, offset=0x1000,
        kind=KIND_CONTENT, extents=extents, directory=directory, body_len=body_len, order=99,
        fresh=FRESH, code=Code(geometry))


def units(prefix: str = "") -> list[UnitRun]:
    """Each unit of the extents of a stripe."""
    sealed = stripe(prefix)
    layout = sealed.ref.layout(SEALINGS[prefix].master.unit_len)
    return [unit for start, extent in zip(sealed.starts, SEALINGS[prefix].extents, strict=True)
            for run in layout.units_of(start, len(extent)) for unit in run.units()]


def all_bytes() -> dict[str, bytes]:
    """File name -> content of every golden file."""
    slot = key_slot()
    found = {
        "label": encode_label(label(), label_mac),
        "key-slot": slot.salt + slot.wrapped + slot.commitment,
        "claim": encode_claim(CLAIM, box_keys("claim"), FRESH),
        "heartbeat": encode_heartbeat(3, 12, box_keys("heartbeat"), FRESH),
        "commit-delta": encode_commit(DELTA_COMMIT, box_keys("commit"), FRESH),
        "commit-writes": encode_commit(WRITES_COMMIT, box_keys("commit"), FRESH),
        "commit-orders": encode_commit(ORDERED_COMMIT, box_keys("commit"), FRESH),
        "commit-checkpoint": encode_commit(ROOT_COMMIT, box_keys("commit"), FRESH),
        "column-header": column_header(),
        "directory": encode_directory(NOTES),
        "page-map-chunk": array("Q", PLACES).tobytes(),
    }
    for prefix in SEALINGS:
        sealed = stripe(prefix)
        for column, body in enumerate(sealed.bodies):
            found[f"{prefix}shard-{column}"] = sealed.header + bytes(body)
    return found
