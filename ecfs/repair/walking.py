"""All stripes of a segment in the order in which they lie: live ones, and dead ones between them.

A dead stripe has no row any more, but its bytes are part of the column until the segment goes; it
is known by its own record header, believed because its sealed head opens. Where dead stripes of
content may have been given back, they are passed over: what is left of one is nobody's business.
"""

from collections.abc import AsyncGenerator, Mapping
from functools import partial

from ecfs.base.errors import Damage, TargetError
from ecfs.base.limits import COLUMN_HEADER_LEN, TARGET_DEADLINE_S
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    KIND_CONTENT,
    KIND_METADATA,
    SegmentEntry,
    column_name,
    header_len,
    split_record_header,
)
from ecfs.sealing import tag_vector_digest
from ecfs.stripes import StripeOpener, StripeRef, StripeStore, run_jobs
from ecfs.volume import Volume


async def record_headers(store: StripeStore, segment: SegmentEntry, offset: int) -> list[bytes]:
    """The bytes of a record header at an address, from every target that has some."""
    name = column_name(segment.epoch, segment.id)
    jobs = []
    for target_id in segment.columns:
        member = store.fleet.get(target_id)
        if member is not None and member.online:
            assert member.target is not None and member.lane is not None
            jobs.append((member.lane, partial(member.target.read, name, offset,
                                              header_len(len(segment.columns)))))
    replies = await run_jobs(jobs, TARGET_DEADLINE_S)
    return [reply for reply in replies if not isinstance(reply, TargetError)]


def ref_from_header(store: StripeStore, segment: SegmentEntry, offset: int, kind: int,
                    header: bytes) -> StripeRef | None:
    """The stripe that an authentic record header describes, None for anything else."""
    try:
        _, salt, tags = split_record_header(header, len(segment.columns))
        draft = StripeRef(segment, kind, offset, 0, salt, tag_vector_digest(tags))
        identity = store.identity
        keys = identity.master.segment(segment.id, segment.epoch)
        head = StripeOpener(draft, keys, identity.pool_id).head(header)
    except Damage:
        return None
    ref = StripeRef(segment, kind, offset, head.body_len, salt, draft.digest)
    if head.body_len <= 0 or ref.record_len % BLOCK_LEN:
        return None
    return ref


async def discover(store: StripeStore, segment: SegmentEntry, offset: int,
                   kind: int) -> StripeRef | None:
    """The dead stripe at an address, from whichever target still has its header.

    Nothing binds the tags of a dead stripe but the shards themselves: where headers differ, right
    is one whose every tag fits, those of shards that are bad or away too, once they were made anew
    from the others. How many shards are right by a header does not tell: a rotten tag of a shard
    that is bad as well costs none. Where no header is right, or two of equal standing are,
    nothing is known, so that nobody is accused.
    """
    found = [ref for header in dict.fromkeys(await record_headers(store, segment, offset))
             if (ref := ref_from_header(store, segment, offset, kind, header)) is not None]
    if len(found) < 2:
        return found[0] if found else None
    counts = [await _count_right(store, ref) for ref in found]
    most = max(counts)
    return found[counts.index(most)] if most and counts.count(most) == 1 else None


async def _count_right(store: StripeStore, ref: StripeRef) -> int:
    """How many shards are right by a header all of whose tags fit the stripe; else 0."""
    try:
        examination = await store.examine(ref, note=False)
        bodies, opener = examination.bodies, store.opener(ref)
        lacking = [column for column in range(ref.geometry.shards) if column not in bodies]
        made = store.code(ref.geometry).reconstruct(bodies, lacking, ref.body_len) if (
            lacking) else {}
        for column, body in made.items():
            opener.checked_body(column, examination.header + bytes(body), examination.header)
    except Damage:
        return 0
    return len(bodies)


async def walk(store: StripeStore, segment: SegmentEntry, kind: int,
               live: Mapping[int, StripeRef]) -> AsyncGenerator[tuple[StripeRef, bool], None]:
    """(stripe, whether it is live) from the header to the segment's end. `live` by offset."""
    at = COLUMN_HEADER_LEN
    starts = sorted(live)
    while at < segment.length:
        ref = live.get(at)
        known = ref is not None
        if ref is None and store.keeps_dead(segment, kind):
            ref = await discover(store, segment, at, kind)
        following = next((start for start in starts if start > at), segment.length)
        if ref is None or at + ref.record_len > following:
            # Nothing here can be known or the header lies: go on with what is.
            at = following
            continue
        yield ref, known
        at += ref.record_len


def has_ended(volume: Volume, segment: SegmentEntry) -> bool:
    """Whether a segment can never grow, so that its length is its columns' for ever. One of this
    epoch may have grown since whoever asks looked, and be full by now: its entry is old then."""
    return segment.epoch < volume.opened.epoch


def segments_of(volume: Volume) -> list[tuple[SegmentEntry, int, dict[int, StripeRef]]]:
    """Every segment with its kind and its live stripes by offset; metadata first."""
    table = volume.opened.table
    by_segment: dict[int, dict[int, StripeRef]] = {}
    for number, stripe in table.stripes.items():
        by_segment.setdefault(stripe.segment, {})[stripe.offset] = table.ref(number)
    found = [(entry, KIND_METADATA, by_segment.get(entry.id, {}))
             for entry in table.segments.values()]
    for entry in volume.files.index.segments.values():
        rows = volume.files.tables.stripes_of(entry.id)
        found.append((entry, KIND_CONTENT,
                      {row.offset: volume.files.index.ref_of(row) for row in rows}))
    return found
