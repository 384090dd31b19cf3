"""Claims, heartbeats, commits: what was encoded is decoded, anything else is Damage."""

import time

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import COMMIT_PADDING_LENS, COMMIT_RECORD_LEN_MAX
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    CLAIM,
    COMMIT,
    HEARTBEAT,
    BoxKeys,
    Claim,
    Commit,
    PageDelta,
    decode_claim,
    decode_commit,
    decode_heartbeat,
    encode_claim,
    encode_commit,
    encode_heartbeat,
    peek_box,
)
from ecfs.formats.box import open_box, seal_box
from tests.unit.formats.values import CLAIMS, COMMITS, HASH, KEYS, POOL_ID, U64

SIMPLE = Commit(epoch=3, seq=9, parent=bytes(32), writer=bytes(16), time_ns=1, generation=2,
                page_count=7, pages=(PageDelta(1, True, b"delta"),))
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 1 << 63), st.binary(max_size=40),
              st.text(max_size=5), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=7),
                            st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12)


@given(CLAIMS, HASH)
def test_claims(claim: Claim, fresh: bytes) -> None:
    data = encode_claim(claim, KEYS, fresh)
    assert len(data) == BLOCK_LEN
    assert decode_claim(data, KEYS, claim.epoch) == claim
    with pytest.raises(Damage):
        decode_claim(data, KEYS, claim.epoch ^ 1)


@given(U64, U64, HASH)
def test_heartbeats(epoch: int, count: int, fresh: bytes) -> None:
    data = encode_heartbeat(epoch, count, KEYS, fresh)
    assert len(data) == BLOCK_LEN
    assert decode_heartbeat(data, KEYS, epoch) == count
    with pytest.raises(Damage):
        decode_heartbeat(data, KEYS, epoch ^ 1)


@given(COMMITS, HASH)
def test_commits(commit: Commit, fresh: bytes) -> None:
    data = encode_commit(commit, KEYS, fresh)
    head, decoded = decode_commit(data + b"what follows", KEYS)
    assert decoded == commit
    assert (head.epoch, head.seq, head.length) == (commit.epoch, commit.seq, len(data))
    assert peek_box(COMMIT, data) == head
    assert len(data) in COMMIT_PADDING_LENS


@given(st.integers(0, 8 * BLOCK_LEN - 1))
def test_every_flipped_bit_is_damage(bit: int) -> None:
    for data, decode in (
            (encode_claim(Claim(1, bytes(16), "h", "b", 5), KEYS, bytes(32)),
             lambda data: decode_claim(data, KEYS, 1)),
            (encode_heartbeat(1, 5, KEYS, bytes(32)),
             lambda data: decode_heartbeat(data, KEYS, 1)),
            (encode_commit(SIMPLE, KEYS, bytes(32)), lambda data: decode_commit(data, KEYS))):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damage):
            decode(bytes(changed))


@given(st.binary(max_size=300), st.integers(0, BLOCK_LEN))
def test_truncations_and_garbage_are_damage(garbage: bytes, cut: int) -> None:
    record = encode_commit(SIMPLE, KEYS, bytes(32))
    for data in (garbage, record[: min(cut, len(record) - 1)], record[:64] + garbage,
                 b"?" + garbage + record[len(garbage) + 1 :]):
        with pytest.raises(Damage):
            decode_commit(data, KEYS)
        with pytest.raises(Damage):
            decode_claim(data, KEYS, 3)
        with pytest.raises(Damage):
            decode_heartbeat(data, KEYS, 3)


def test_keys_pool_and_kind_are_bound() -> None:
    record = encode_commit(SIMPLE, KEYS, bytes(32))
    for keys in (BoxKeys(bytes(16), KEYS.seal, KEYS.salt),
                 BoxKeys(POOL_ID, b"x" * 32, KEYS.salt)):
        with pytest.raises(Damage):
            decode_commit(record, keys)
    heartbeat = encode_heartbeat(3, 9, KEYS, bytes(32))
    disguised = CLAIM.magic + heartbeat[8:]
    with pytest.raises(Damage):
        decode_claim(disguised, KEYS, 3)
    assert len({CLAIM.magic, COMMIT.magic, HEARTBEAT.magic}) == 3


def test_a_length_that_lies_costs_nothing() -> None:
    record = bytearray(encode_commit(SIMPLE, KEYS, bytes(32)))
    for length in (0, 1, 64, 4095, 4097, COMMIT_RECORD_LEN_MAX + 4096, 0xFFFFFFFF, 0xFFFFF000):
        record[12:16] = length.to_bytes(4, "big")
        with pytest.raises(Damage):
            peek_box(COMMIT, bytes(record))
        with pytest.raises(Damage):
            decode_commit(bytes(record), KEYS)


@settings(max_examples=300)
@given(JUNK)
def test_authentic_nonsense_is_damage_and_nothing_else(junk: object) -> None:
    """Only our own bug could seal this; it must not crash who reads it."""
    for payload in (msgpack.packb(junk), msgpack.packb(junk)[:-1] or b"\xc1", b"\xc1"):
        box = seal_box(COMMIT, KEYS, epoch=1, seq=1, payload=payload, fresh=bytes(32))
        with pytest.raises(Damage):
            decode_commit(box, KEYS)


@settings(max_examples=300)
@given(st.sampled_from(["pages", "missed", "checkpoint", "parent", "more", "page_count"]),
       st.sampled_from(["chunks", "stripes", "segments", "members", "targets", "base_hash"]), JUNK)
def test_a_nonsensical_field_is_damage_or_decodes_to_the_right_types(
        field: str, part: str, junk: object) -> None:
    root = {
        "base_seq": 1, "base_hash": bytes(32), "page_count": 1, "chunks": [], "stripes": [],
        "segments": [], "next_segment": 1, "next_stripe": 1, "next_order": 1, "version": 1,
        "incompatible": 0, "read_only_compatible": 0, "data": 1, "parity": 1, "liars": 0,
        "members": [], "targets": [], "slots_generation": 1}
    value = {"parent": bytes(32), "writer": bytes(16), "time_ns": 1, "generation": 1,
             "page_count": 1, "pages": [], "missed": [], "more": False, "clean": False,
             "checkpoint": root | {part: junk}}
    if field != "checkpoint":
        value[field] = junk
        value["checkpoint"] = None
    box = seal_box(COMMIT, KEYS, epoch=1, seq=1, payload=msgpack.packb(value), fresh=bytes(32))
    try:
        _, commit = decode_commit(box, KEYS)
    except Damage:
        return
    assert all(len(bytes(one)) == 16 for one in commit.missed)
    if commit.root is not None:
        assert all(isinstance(one, bytes) for one in (*commit.root.members, *commit.root.targets))
        for chunk in commit.root.chunks:
            assert min(chunk.stripe, chunk.start, chunk.length) >= 0
        for stripe in commit.root.stripes:
            assert min(stripe.number, stripe.segment, stripe.offset, stripe.body_len) >= 0
        for entry in commit.root.segments:
            assert min(entry.id, entry.epoch, entry.length, entry.data - 1, entry.parity) >= 0
            assert all(isinstance(column, bytes) for column in entry.columns)


def test_payloads_of_every_size_and_the_limit() -> None:
    for length in (0, 1, 4011, 4012, 4013, 8000, COMMIT_RECORD_LEN_MAX - 84):
        box = seal_box(COMMIT, KEYS, epoch=1, seq=1, payload=b"p" * length, fresh=bytes(32))
        assert open_box(COMMIT, KEYS, box)[1] == b"p" * length
        assert len(box) % BLOCK_LEN == 0
    with pytest.raises(Bug):
        seal_box(COMMIT, KEYS, epoch=1, seq=1, payload=bytes(COMMIT_RECORD_LEN_MAX - 83),
                 fresh=bytes(32))


def test_nesting_and_counts_are_bounded() -> None:
    began = time.perf_counter()
    for payload in (b"\x91" * 100_000, b"\x81\xa1a" * 100_000, b"\xdd\xff\xff\xff\xff",
                    b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\0",
                    b"\xc7\x00\x05", b"\xc7\x00\xff", b"\xd9\x01\xff", b"\x81\x90\x90",
                    b"\x81\xc0\xc0", b"\x82\xa1a\x01\xa1a\x02"):
        box = seal_box(COMMIT, KEYS, epoch=1, seq=1, payload=payload, fresh=bytes(32))
        with pytest.raises(Damage):
            decode_commit(box, KEYS)
    assert time.perf_counter() - began < 5
