"""Labels: read before anything is authentic, so nothing in them may do harm."""

import random
import time

import msgpack
import pytest
import reedsolo
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage, UnknownFormat
from ecfs.base.limits import KEY_SLOTS_MAX, LABEL_LEN_MAX, MEMBERS_MAX, TARGETS_MAX
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    HASHES_FIRST,
    INCOMPATIBLE_OF_NEW,
    LOGGED_WRITES,
    SHORT_UNITS,
    Label,
    TargetEntry,
    check_known,
    check_label,
    decode_label,
    encode_label,
    hashes_first,
    logs_writes,
    unit_len,
)
from ecfs.formats.envelope import (
    CODEWORD_LEN,
    DATA_LEN,
    unwrap_corrected,
    unwrap_fast,
    wrap,
)
from ecfs.formats.label import _HEAD, MAGIC, _label_map
from ecfs.formats.slots import KdfParameters, KeySlot, SlotKind
from tests.unit.formats.values import HASH, LABELS, mac

ID = b"i" * 16
PLAIN = Label(pool_id=ID, target_id=ID, epoch=1, generation=2, data=4, parity=2, liars=1,
              members=(ID,), targets=(TargetEntry(ID, "target1", "/mnt/a"),), slots=(),
              slots_generation=1, commitment=bytes(32), checkpoint=None)


def forged(body: bytes) -> bytes:
    """A file that a hostile target can make: right in all but its MAC."""
    tag = bytes(32)
    return wrap(_HEAD.pack(MAGIC, len(body), blake3(tag + body).digest(), tag) + body)


@settings(max_examples=40, deadline=None)
@given(LABELS)
def test_labels(label: Label) -> None:
    data = encode_label(label, mac)
    assert len(data) % BLOCK_LEN == 0 and len(data) <= LABEL_LEN_MAX
    signed = decode_label(data)
    assert not signed.was_rotten
    assert check_label(signed, mac) == label


def test_a_path_that_is_no_text_survives() -> None:
    odd = b"/mnt/\xff\xfe disk".decode("utf-8", "surrogateescape")
    label = Label(**{**{name: getattr(PLAIN, name) for name in Label.__slots__},
                     "targets": (TargetEntry(ID, "t", odd),)})
    assert check_label(decode_label(encode_label(label, mac)), mac) == label


def test_a_forged_label_is_readable_and_not_authentic() -> None:
    signed = decode_label(forged(msgpack.packb(_label_map(PLAIN))))
    assert signed.label == PLAIN
    with pytest.raises(Damage):
        check_label(signed, mac)


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1),
              st.binary(max_size=20), st.text(max_size=5), st.just(b"i" * 16), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=4),
                            st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(_label_map(PLAIN))), JUNK)
@example("members", [[]])
@example("members", [{}])
@example("members", [1, 1])
@example("targets", [{"id": ID, "name": "a", "path": "\0"}])
@example("slots", [{"id": 1, "kind": 9, "memory_kib": 1, "passes": 1, "lanes": 1,
                    "salt": bytes(32), "wrapped": bytes(48), "commitment": bytes(32)}])
def test_a_forged_field_is_damage_or_of_the_right_type(name: str, junk: object) -> None:
    body = msgpack.packb(_label_map(PLAIN) | {name: junk})
    try:
        label = decode_label(forged(body)).label
    except (Damage, UnknownFormat):
        return
    assert all(isinstance(member, bytes) for member in label.members)
    assert set(label.members) <= {entry.id for entry in label.targets}
    assert not any("\0" in entry.path for entry in label.targets)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_a_forged_body_is_damage(body: bytes) -> None:
    with pytest.raises((Damage, UnknownFormat)):
        decode_label(forged(body))


def test_hostile_bodies_are_refused_at_once() -> None:
    began = time.perf_counter()
    for body in (b"\x91" * 50_000, b"\x81\xa1a" * 16_000, b"\xdd\xff\xff\xff\xff",
                 b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x81\x90\x90",
                 b"\xc7\x00\x05", b"\xd9\x01\xff"):
        with pytest.raises(Damage):
            decode_label(forged(body))
    assert time.perf_counter() - began < 5


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=400), st.integers(0, LABEL_LEN_MAX + BLOCK_LEN))
def test_garbage_is_damage(garbage: bytes, length: int) -> None:
    with pytest.raises(Damage):
        decode_label(garbage)
    with pytest.raises(Damage):
        decode_label((garbage or b"x").ljust(length // BLOCK_LEN * BLOCK_LEN, b"\1"))


def test_the_worst_file_is_refused_in_bounded_time() -> None:
    worst = random.Random(5).randbytes(LABEL_LEN_MAX)
    began = time.perf_counter()
    with pytest.raises(Damage):
        decode_label(worst)
    assert time.perf_counter() - began < 5
    for length in (0, 1, BLOCK_LEN, 8160, LABEL_LEN_MAX + 1, LABEL_LEN_MAX + BLOCK_LEN):
        with pytest.raises(Damage):
            decode_label(bytes(length))


# -- the envelope --------------------------------------------------------------------------------

@pytest.mark.parametrize("length", [0, 1, 5000, 7136, 7137, 20_000, 57_311])
def test_parity_is_what_reedsolo_makes(length: int) -> None:
    payload = random.Random(length).randbytes(length)
    envelope = wrap(payload)
    count = len(envelope) // CODEWORD_LEN
    codec = reedsolo.RSCodec(CODEWORD_LEN - DATA_LEN)
    padded = payload.ljust(count * DATA_LEN, b"\0")
    for index in range(0, count, 5):
        word = envelope[index : CODEWORD_LEN * count : count]
        assert word == bytes(codec.encode(padded[index::count]))
    assert unwrap_fast(envelope)[:length] == payload
    assert not any(unwrap_fast(envelope)[length:])


def test_the_largest_payload() -> None:
    assert len(wrap(bytes(257 * DATA_LEN))) == LABEL_LEN_MAX
    with pytest.raises(Bug):
        wrap(bytes(257 * DATA_LEN + 1))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 32))
def test_sixteen_bad_bytes_in_every_codeword_are_corrected(seed: int) -> None:
    chance = random.Random(seed)
    payload = chance.randbytes(3000)
    envelope = bytearray(wrap(payload))
    count = len(envelope) // CODEWORD_LEN
    for index in range(count):
        for row in chance.sample(range(CODEWORD_LEN), 16):
            envelope[row * count + index] ^= chance.randrange(1, 256)
    assert unwrap_corrected(bytes(envelope))[:3000] == payload


def test_any_lost_sector_is_corrected() -> None:
    label = check_label(decode_label(encode_label(PLAIN, mac)), mac)
    data = encode_label(label, mac)
    for at in range(0, len(data) - 511, 512):
        for filler in (b"\0", b"\xff"):
            rotten = data[:at] + filler * 512 + data[at + 512 :]
            signed = decode_label(rotten)
            assert check_label(signed, mac) == PLAIN


def test_a_run_of_512_bytes_anywhere_is_corrected() -> None:
    data = encode_label(PLAIN, mac)
    for at in range(0, len(data) - 512, 391):
        assert check_label(decode_label(data[:at] + bytes(512) + data[at + 512 :]), mac) == PLAIN


def test_a_longer_loss_is_damage() -> None:
    data = encode_label(PLAIN, mac)
    chance = random.Random(1)
    for at in range(0, 300, 70):
        with pytest.raises(Damage):
            decode_label(data[:at] + chance.randbytes(2048) + data[at + 2048 :])
    # Where only the parity is lost, nothing needs to be corrected.
    assert decode_label(data[:7200] + chance.randbytes(len(data) - 7200)).label == PLAIN


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 8 * 8192 - 1))
def test_every_flipped_bit_is_corrected_or_harmless(bit: int) -> None:
    data = bytearray(encode_label(PLAIN, mac))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    assert check_label(decode_label(bytes(data)), mac) == PLAIN


# -- limits and versions -------------------------------------------------------------------------

def test_counts_are_limited() -> None:
    def entry(number: int) -> dict[str, object]:
        return {"id": number.to_bytes(16, "big"), "name": "t", "path": "/t"}

    slot = {"id": 1, "kind": 1, "memory_kib": 1, "passes": 1, "lanes": 1, "salt": bytes(32),
            "wrapped": bytes(48), "commitment": bytes(32)}
    ids = [entry(number) for number in range(TARGETS_MAX + 1)]
    good = {"targets": ids[:TARGETS_MAX], "slots": [slot] * KEY_SLOTS_MAX,
            "members": [one["id"] for one in ids[:MEMBERS_MAX]]}
    decode_label(forged(msgpack.packb(_label_map(PLAIN) | good)))
    for name, value in (("targets", ids), ("slots", [slot] * (KEY_SLOTS_MAX + 1)),
                        ("members", [one["id"] for one in ids[: MEMBERS_MAX + 1]]),
                        ("members", [ids[0]["id"]] * 2), ("members", [bytes(15)]),
                        ("targets", [ids[0], ids[0]])):
        with pytest.raises(Damage):
            decode_label(forged(msgpack.packb(_label_map(PLAIN) | good | {name: value})))


def test_the_largest_label_fits() -> None:
    """64 targets with long paths, eight slots."""
    slot = KeySlot(1, SlotKind.PASSPHRASE, KdfParameters(), bytes(32), bytes(48), bytes(32))
    targets = tuple(TargetEntry(bytes([i]) * 16, f"target{i}", "/mnt/" + "d" * 600)
                    for i in range(TARGETS_MAX))
    label = Label(**{**{name: getattr(PLAIN, name) for name in Label.__slots__},
                     "targets": targets, "slots": (slot,) * KEY_SLOTS_MAX,
                     "members": tuple(entry.id for entry in targets[:MEMBERS_MAX])})
    assert check_label(decode_label(encode_label(label, mac)), mac) == label


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 40), HASH)
def test_another_version_is_said_to_be_one(version: int, commitment: bytes) -> None:
    body = msgpack.packb(_label_map(PLAIN) | {"version": version, "commitment": commitment})
    if version == 1:
        assert decode_label(forged(body)).label.version == 1
    else:
        with pytest.raises(UnknownFormat):
            decode_label(forged(body))


def test_features() -> None:
    def with_features(**features: int) -> Label:
        return Label(**{**{name: getattr(PLAIN, name) for name in Label.__slots__}, **features})

    assert check_known(PLAIN) and not hashes_first(PLAIN)
    known = with_features(incompatible=HASHES_FIRST)
    assert check_known(known) and hashes_first(known)
    assert unit_len(PLAIN) == unit_len(known) == 65_536
    short = with_features(incompatible=SHORT_UNITS)
    assert check_known(short) and unit_len(short) == 16_384 and not hashes_first(short)
    assert check_known(with_features(incompatible=INCOMPATIBLE_OF_NEW))
    assert not check_known(with_features(read_only_compatible=1))
    assert not logs_writes(short)
    logged = with_features(incompatible=LOGGED_WRITES)
    assert check_known(logged) and logs_writes(logged) and unit_len(logged) == 65_536
    for features in ({"incompatible": 8}, {"incompatible": 15}, {"incompatible": 1 << 62},
                     {"version": 2}, {"incompatible": 8, "read_only_compatible": 2}):
        with pytest.raises(UnknownFormat):
            check_known(with_features(**features))
