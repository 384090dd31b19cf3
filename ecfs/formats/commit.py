"""Commit records: the chain of steps from one state of the database to the next.

A record is a sealed box (see `box`) in `commits.<epoch>`; its payload is a msgpack map:

| key | value |
|---|---|
| parent | hash of the record before (BLAKE3 of its whole box), zeros for the first |
| writer | id of the writer that made it |
| host | machine that made it, as in its claim; shown, and tells whose audit log is meant |
| audit | None, or [log id, count, hash]: the head of the writer's audit log, durable before |
| time_ns | wall clock, shown only |
| generation | of the newest labels when it was made |
| page_count | length of the database in pages |
| pages | list of [page number, based, bytes]: zstandard, with the page before as dictionary |
| entered | whether what records before this one wrote is in the pages; absent: no |
| writes | list of [inode, offset, mtime_ns, ctime_ns, bytes]; absent: none (see `LoggedWrite`) |
| missed | ids of members that had not acknowledged the record before |
| more | the next record goes on with this step; only all of its records together count |
| clean | the writer let go of the pool after this record |
| checkpoint | None, or the root (see `Root`) |
"""

from dataclasses import dataclass, field

from blake3 import blake3

from ecfs.base.errors import Damage
from ecfs.base.limits import (
    COLUMN_LEN_MAX,
    COMMIT_PADDING_LENS,
    COMMIT_RECORD_LEN_MAX,
    FILE_LEN_MAX,
    LOGGED_COUNT_MAX,
    MEMBERS_MAX,
    SHARDS_MAX,
    TARGETS_MAX,
)
from ecfs.formats.box import OVERHEAD_LEN, BoxHead, BoxKeys, BoxKind, open_box, seal_box
from ecfs.formats.packing import Fields, checked_ids, checked_numbers, pack, unpack
from ecfs.observe import AUDIT_HASH_LEN, AUDIT_LOG_ID_LEN, AuditHead
from ecfs.sealing import HASH_LEN

COMMIT = BoxKind(b"ECFSREC1", "commit", COMMIT_RECORD_LEN_MAX)
NO_PARENT = bytes(32)
PAGES_PER_RECORD_MAX = 1 << 16
HOST_LEN_MAX = 255
PAGES_MAX = (1 << 32) - 2
"""SQLite's own limit to the length of a database."""
_METADATA_STRIPES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class PageDelta:
    """A new version of a page: zstandard data, `based` on the page before or on nothing."""

    page: int
    based: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class LoggedWrite:
    """Bytes that were written to a file and synced, and are in no page yet. They are the file's
    newest there, which reaches at least to their end; times None stay what the pages say. `order`
    is their place in the order of writing, which stripes have as well; 0 where nobody told."""

    inode: int
    offset: int
    mtime_ns: int | None
    ctime_ns: int | None
    data: bytes
    order: int = 0


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment as roots and tables name it; `columns` are target ids in column order.

    `length` is the length in bytes of each column file, header included.
    """

    id: int
    epoch: int
    data: int
    parity: int
    columns: tuple[bytes, ...]
    length: int


@dataclass(frozen=True, slots=True)
class MetadataStripe:
    """A stripe of database pages; `number` is how the page map names it."""

    number: int
    segment: int
    offset: int
    body_len: int
    salt: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk of the page map lies."""

    stripe: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Root:
    """A checkpoint: the whole state as of record `base_seq`, whose hash is `base_hash`."""

    base_seq: int
    base_hash: bytes
    page_count: int
    chunks: tuple[ChunkPlace, ...]
    stripes: tuple[MetadataStripe, ...]
    segments: tuple[SegmentEntry, ...]
    next_segment: int
    next_stripe: int
    next_order: int
    version: int
    incompatible: int
    read_only_compatible: int
    data: int
    parity: int
    liars: int
    members: tuple[bytes, ...]
    targets: tuple[bytes, ...]
    slots_generation: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One record's content."""

    epoch: int
    seq: int
    parent: bytes
    writer: bytes
    time_ns: int
    generation: int
    page_count: int
    pages: tuple[PageDelta, ...] = ()
    missed: tuple[bytes, ...] = ()
    more: bool = False
    clean: bool = False
    root: Root | None = field(default=None)
    host: str = ""
    audit: AuditHead | None = None
    entered: bool = False
    writes: tuple[LoggedWrite, ...] = ()


def encode_commit(commit: Commit, keys: BoxKeys, fresh: bytes) -> bytes:
    """The record's bytes, padded to one of `COMMIT_PADDING_LENS`."""
    fields: dict[str, object] = {
        "parent": commit.parent, "writer": commit.writer, "host": commit.host[:HOST_LEN_MAX],
        "audit": None if commit.audit is None else [
            commit.audit.log, commit.audit.count, commit.audit.hash], "time_ns": commit.time_ns,
        "generation": commit.generation, "page_count": commit.page_count,
        "pages": [[delta.page, delta.based, delta.data] for delta in commit.pages],
        "missed": list(commit.missed), "more": commit.more, "clean": commit.clean,
        "checkpoint": None if commit.root is None else _root_map(commit.root)}
    # Only pools with the feature have these: programs that do not know it pass over them.
    if commit.entered:
        fields["entered"] = True
    if commit.writes:
        fields["writes"] = [[write.inode, write.offset, write.mtime_ns, write.ctime_ns, write.data]
                            for write in commit.writes]
    if any(write.order for write in commit.writes):
        fields["orders"] = [write.order for write in commit.writes]
    payload = pack(fields)
    needed = OVERHEAD_LEN + len(payload)
    padded = next((length for length in COMMIT_PADDING_LENS if length >= needed), 0)
    return seal_box(COMMIT, keys, epoch=commit.epoch, seq=commit.seq, payload=payload,
                    fresh=fresh, padded_len=padded)


def record_hash(record: bytes) -> bytes:
    """What the next record names as its parent."""
    return blake3(record).digest()


def decode_commit(data: bytes, keys: BoxKeys) -> tuple[BoxHead, Commit]:
    """The record that `data` begins with; Damage unless authentic and well-formed."""
    head, payload = open_box(COMMIT, keys, data)
    fields = Fields(unpack(payload), "commit")
    return head, Commit(
        epoch=head.epoch, seq=head.seq, parent=fields.data("parent", length=32),
        writer=fields.data("writer", length=16), time_ns=fields.number("time_ns"),
        generation=fields.number("generation"),
        page_count=fields.number("page_count", high=PAGES_MAX),
        pages=tuple(_delta(row) for row in
                    fields.items("pages", count_max=PAGES_PER_RECORD_MAX)),
        missed=fields.ids("missed", count_max=MEMBERS_MAX), more=fields.flag("more"),
        clean=fields.flag("clean"),
        root=_root(fields.part("checkpoint")) if fields.has("checkpoint") else None,
        host=fields.text("host"),
        audit=_audit(fields.items("audit", count_max=3)) if fields.has("audit") else None,
        entered=fields.has("entered") and fields.flag("entered"),
        writes=_writes(fields) if fields.has("writes") else ())


def _writes(fields: Fields) -> tuple[LoggedWrite, ...]:
    rows = fields.items("writes", count_max=LOGGED_COUNT_MAX)
    orders: list[int] = [0] * len(rows)
    if fields.has("orders"):
        orders = checked_numbers(fields.items("orders", count_max=LOGGED_COUNT_MAX),
                                 "orders of a commit", len(rows))
    return tuple(_write(row, order) for row, order in zip(rows, orders, strict=True))


def _write(row: object, order: int) -> LoggedWrite:
    if isinstance(row, list) and len(row) == 5 and isinstance(row[4], bytes):
        inode, offset, mtime_ns, ctime_ns, data = row
        numbers = [inode, offset, *[time for time in (mtime_ns, ctime_ns) if time is not None]]
        checked_numbers(numbers, "write of a commit", len(numbers))
        if inode and data and offset + len(data) <= FILE_LEN_MAX:
            return LoggedWrite(inode, offset, mtime_ns, ctime_ns, data, order)
    raise Damage("commit has a malformed write")


def _audit(row: list[object]) -> AuditHead:
    if len(row) == 3:
        log, count, hashed = row
        if isinstance(log, bytes) and len(log) == AUDIT_LOG_ID_LEN and (
                isinstance(hashed, bytes) and len(hashed) == AUDIT_HASH_LEN):
            [number] = checked_numbers([count], "head of an audit log", 1)
            if 0 < number < 1 << 63:
                return AuditHead(log, number, hashed)
    raise Damage("commit has a malformed head of an audit log")


def _delta(row: object) -> PageDelta:
    if isinstance(row, list) and len(row) == 3:
        page, based, data = row
        if isinstance(page, int) and page is not True and 0 < page <= PAGES_MAX and (
                isinstance(based, bool) and isinstance(data, bytes)):
            return PageDelta(page, based, data)
    raise Damage("commit has a malformed page")


def _root_map(root: Root) -> dict[str, object]:
    return {
        "base_seq": root.base_seq, "base_hash": root.base_hash, "page_count": root.page_count,
        "chunks": [[chunk.stripe, chunk.start, chunk.length] for chunk in root.chunks],
        "stripes": [[stripe.number, stripe.segment, stripe.offset, stripe.body_len, stripe.salt,
                     stripe.digest] for stripe in root.stripes],
        "segments": [[entry.id, entry.epoch, entry.data, entry.parity, list(entry.columns),
                      entry.length] for entry in root.segments],
        "next_segment": root.next_segment, "next_stripe": root.next_stripe,
        "next_order": root.next_order, "version": root.version,
        "incompatible": root.incompatible, "read_only_compatible": root.read_only_compatible,
        "data": root.data, "parity": root.parity, "liars": root.liars,
        "members": list(root.members), "targets": list(root.targets),
        "slots_generation": root.slots_generation}


def _root(fields: Fields) -> Root:
    rows = fields.items
    return Root(
        base_seq=fields.number("base_seq"), base_hash=fields.data("base_hash", length=32),
        page_count=fields.number("page_count", high=PAGES_MAX),
        chunks=tuple(ChunkPlace(*checked_numbers(row, "chunk of the page map", 3))
                     for row in rows("chunks", count_max=1 << 16)),
        stripes=tuple(_stripe(row)
                      for row in rows("stripes", count_max=_METADATA_STRIPES_MAX)),
        segments=tuple(_segment(row) for row in rows("segments", count_max=1 << 16)),
        next_segment=fields.number("next_segment"), next_stripe=fields.number("next_stripe"),
        next_order=fields.number("next_order"), version=fields.number("version"),
        incompatible=fields.number("incompatible"),
        read_only_compatible=fields.number("read_only_compatible"),
        data=fields.number("data"), parity=fields.number("parity"),
        liars=fields.number("liars"), members=fields.ids("members", count_max=MEMBERS_MAX),
        targets=fields.ids("targets", count_max=TARGETS_MAX),
        slots_generation=fields.number("slots_generation"))


def _stripe(row: object) -> MetadataStripe:
    if isinstance(row, list) and len(row) == 6:
        *numbers, salt, digest = row
        if all(isinstance(value, bytes) and len(value) == HASH_LEN for value in (salt, digest)):
            number, segment, offset, body_len = checked_numbers(numbers, "metadata stripe", 4)
            if not body_len or offset + body_len > COLUMN_LEN_MAX:
                raise Damage("checkpoint has a stripe outside of its column")
            return MetadataStripe(number, segment, offset, body_len, salt, digest)
    raise Damage("checkpoint has a malformed stripe")


def _segment(row: object) -> SegmentEntry:
    if not isinstance(row, list) or len(row) != 6 or not isinstance(row[4], list):
        raise Damage("checkpoint has a malformed segment")
    identity, epoch, data, parity, length = checked_numbers(
        [*row[:4], row[5]], "segment of a checkpoint", 5)
    if not data or not len(row[4]) == data + parity <= SHARDS_MAX:
        raise Damage("checkpoint has a segment of an impossible geometry")
    return SegmentEntry(identity, epoch, data, parity, checked_ids(row[4], "segment"), length)
