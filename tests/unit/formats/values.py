"""Strategies for values of every format, and keys to seal them with."""

from hypothesis import strategies as st

from ecfs.formats import (
    BoxKeys,
    CheckpointPointer,
    ChunkPlace,
    Claim,
    ColumnHeader,
    Commit,
    ExtentNote,
    Label,
    MetadataStripe,
    PageDelta,
    Root,
    SegmentEntry,
    StripeHead,
    TargetEntry,
)
from ecfs.formats.slots import KdfParameters, KeySlot, SlotKind
from ecfs.sealing import keyed_hash

POOL_ID = b"pool id 16 bytes"
KEYS = BoxKeys(POOL_ID, b"k" * 32, b"s" * 32)
U63 = st.integers(0, (1 << 63) - 1)
U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
ID = st.binary(min_size=16, max_size=16)
HASH = st.binary(min_size=32, max_size=32)
TEXT = st.text(max_size=40)


def mac(body: bytes) -> bytes:
    return keyed_hash(b"m" * 32, purpose=b"label", parts=[body])


def tuples(items: st.SearchStrategy[object], max_size: int = 3) -> st.SearchStrategy[object]:
    return st.lists(items, max_size=max_size).map(tuple)


CLAIMS = st.builds(Claim, U64, ID, TEXT, TEXT, U63)
PAGE_COUNT = st.integers(0, (1 << 32) - 2)
DELTAS = st.builds(PageDelta, st.integers(1, (1 << 32) - 2), st.booleans(), st.binary(max_size=60))
SEGMENTS = st.integers(1, 6).flatmap(lambda data: st.integers(0, 3).flatmap(
    lambda parity: st.builds(
        SegmentEntry, U63, U63, st.just(data), st.just(parity),
        st.lists(ID, min_size=data + parity, max_size=data + parity).map(tuple), U63)))
ROOTS = st.builds(
    Root, base_seq=U63, base_hash=HASH, page_count=PAGE_COUNT,
    chunks=tuples(st.builds(ChunkPlace, U63, U63, U63)),
    stripes=tuples(st.builds(MetadataStripe, U63, U63, st.integers(0, 32 << 20),
                             st.integers(1, 32 << 20), HASH, HASH)),
    segments=tuples(SEGMENTS), next_segment=U63, next_stripe=U63, next_order=U63, version=U63,
    incompatible=U63, read_only_compatible=U63, data=U63, parity=U63, liars=U63,
    members=tuples(ID), targets=tuples(ID), slots_generation=U63)
COMMITS = st.builds(
    Commit, epoch=U64, seq=U64, parent=HASH, writer=ID, time_ns=U63, generation=U63,
    page_count=PAGE_COUNT, pages=tuples(DELTAS, 5), missed=tuples(ID), more=st.booleans(),
    clean=st.booleans(), root=st.one_of(st.none(), ROOTS))
NOTES = st.builds(
    ExtentNote, U63, U63, U63, U63, U63, U63, st.binary(max_size=255), U32, U63, U63)
HEADERS = st.builds(ColumnHeader, ID, U64, U64, st.integers(0, 255), st.integers(0, 255),
                    st.integers(0, 255))
HEADS = st.builds(StripeHead, st.integers(0, 255), st.integers(1, 64 << 20), U32,
                  st.integers(0, 1024), U64, U64)
SLOTS = st.builds(
    KeySlot, U63, st.sampled_from(SlotKind), st.builds(KdfParameters, U63, U63, U63), HASH,
    st.binary(min_size=48, max_size=48), HASH)
PATHS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    st.binary(max_size=40).map(lambda name: name.replace(b"\0", b"").decode(
        "utf-8", "surrogateescape")))
TARGETS = st.lists(st.builds(TargetEntry, ID, TEXT, PATHS), max_size=6,
                   unique_by=lambda entry: entry.id)


@st.composite
def labels(draw: st.DrawFn) -> Label:
    targets = draw(TARGETS)
    members = [entry.id for entry in targets if draw(st.booleans())]
    return Label(
        pool_id=draw(ID), target_id=draw(ID), epoch=draw(U63), generation=draw(U63),
        data=draw(st.integers(1, 16)), parity=draw(st.integers(0, 8)),
        liars=draw(st.integers(0, 1)), members=tuple(members), targets=tuple(targets),
        slots=tuple(draw(st.lists(SLOTS, max_size=8))), slots_generation=draw(U63),
        commitment=draw(HASH), checkpoint=draw(st.one_of(
            st.none(), st.builds(CheckpointPointer, U63, U63, U63, HASH))),
        incompatible=draw(U63), read_only_compatible=draw(U63))


LABELS = labels()
