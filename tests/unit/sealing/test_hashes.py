"""Keyed hashes: known answers, injectivity, and that no change goes unnoticed."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.sealing import (
    HASH_LEN,
    UniversalHash,
    check_shard_tag,
    keyed_hash,
    shard_tag,
    stripe_salt,
    tag_vector_digest,
)

KEY = bytes(range(32))
PARTS = st.lists(st.binary(max_size=12), max_size=4)


def spelled_out(purpose: bytes, parts: list[bytes]) -> bytes:
    """The encoding of the module's table, written differently."""
    numbers = [len(purpose), len(parts), *map(len, parts)]
    return b"".join(number.to_bytes(8, "big") for number in numbers) + purpose + b"".join(parts)


@given(st.binary(max_size=12), PARTS)
def test_the_encoding_is_the_documented_one(purpose: bytes, parts: list[bytes]) -> None:
    assert keyed_hash(KEY, purpose=purpose, parts=parts) == blake3(
        spelled_out(purpose, parts), key=KEY).digest()


def test_known_answers() -> None:
    assert shard_tag(KEY, binding=b"stripe", index=3, body=b"body").hex() == (
        "37260d100c55cc6c8f2de9624389e6b9a1b88f8eafd3c09170a32d5195b5dce0")
    assert stripe_salt(KEY, kind=b"kind", address=b"address", fresh=bytes(32),
                       parts=[b"one", b"two"]).hex() == (
        "ea2a7661aef76120f1e7b24758e7701c8dd12669438ac68625799acb5852e028")
    assert tag_vector_digest([bytes(32), bytes([255]) * 32]).hex() == (
        "be94ed2ef937caa612418d2cf1f2446fcfea8769ac6a551eb23c5b47ba0c9049")


@given(st.binary(max_size=12), PARTS, st.binary(max_size=12), PARTS)
def test_other_input_other_hash(purpose: bytes, parts: list[bytes], other_purpose: bytes,
                                other_parts: list[bytes]) -> None:
    same = (purpose, parts) == (other_purpose, other_parts)
    assert same is (keyed_hash(KEY, purpose=purpose, parts=parts) == keyed_hash(
        KEY, purpose=other_purpose, parts=other_parts))


@given(st.binary(min_size=1, max_size=40), st.data())
def test_no_byte_moves_between_fields(text: bytes, draw: st.DataObject) -> None:
    """Kind, address, fresh and two parts, cut from one text at other places: other salts."""
    cuts = st.lists(st.integers(0, len(text)), min_size=4, max_size=4).map(sorted)
    one, two = draw.draw(cuts), draw.draw(cuts)
    assert (one == two) is (_salt_of(text, one) == _salt_of(text, two))


def _salt_of(text: bytes, cuts: list[int]) -> bytes:
    edges = [0, *cuts, len(text)]
    kind, address, fresh, *parts = (text[a:b] for a, b in pairwise(edges))
    return stripe_salt(KEY, kind=kind, address=address, fresh=fresh, parts=parts)


def test_uses_are_separate() -> None:
    """One key in two uses gives unrelated bytes."""
    body, index = b"body", (7).to_bytes(4, "big")
    assert len({
        shard_tag(KEY, binding=b"x", index=7, body=body),
        stripe_salt(KEY, kind=b"x", address=index, fresh=body, parts=()),
        keyed_hash(KEY, purpose=b"", parts=(b"x", index, body)),
        keyed_hash(bytes(32), purpose=b"", parts=(b"x", index, body)),
    }) == 4


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_a_good_tag_returns_the_body_itself(form: Callable[[bytes], bytes]) -> None:
    body = form(bytes(range(256)) * 5000)
    tag = shard_tag(KEY, binding=b"stripe", index=1, body=body)
    assert len(tag) == HASH_LEN
    assert check_shard_tag(KEY, binding=b"stripe", index=1, body=body, tag=tag) is body


def test_any_flipped_bit_is_damage() -> None:
    binding, body = b"stripe", b"a body"
    tag = shard_tag(KEY, binding=binding, index=1, body=body)
    for subject, name in ((body, "body"), (tag, "tag"), (binding, "binding")):
        for at in range(8 * len(subject)):
            flipped = bytearray(subject)
            flipped[at // 8] ^= 1 << at % 8
            fields = {"body": body, "tag": tag, "binding": binding, name: bytes(flipped)}
            with pytest.raises(Damage):
                check_shard_tag(KEY, index=1, **fields)


def test_index_and_key_are_bound() -> None:
    tag = shard_tag(KEY, binding=b"stripe", index=1, body=b"body")
    with pytest.raises(Damage):
        check_shard_tag(KEY, binding=b"stripe", index=2, body=b"body", tag=tag)
    with pytest.raises(Damage):
        check_shard_tag(bytes(32), binding=b"stripe", index=1, body=b"body", tag=tag)


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_tag_of_another_length_is_damage(length: int) -> None:
    tag = (shard_tag(KEY, binding=b"s", index=0, body=b"") + b"\0")[:length]
    with pytest.raises(Damage):
        check_shard_tag(KEY, binding=b"s", index=0, body=b"", tag=tag)


def test_the_digest_binds_order_and_count() -> None:
    tags = [bytes([i]) * 32 for i in range(4)]
    digests = {tag_vector_digest(order) for order in (
        tags, tags[::-1], tags[:3], [*tags, tags[0]], [], [tags[0]] * 4)}
    assert len(digests) == 6
    assert tag_vector_digest([memoryview(tag) for tag in tags]) in digests


def test_misuse_is_a_bug() -> None:
    calls: list[Callable[[], object]] = [
        lambda: keyed_hash(bytes(31), purpose=b"", parts=()),
        lambda: shard_tag(KEY, binding=b"", index=-1, body=b""),
        lambda: shard_tag(KEY, binding=b"", index=1 << 32, body=b""),
        lambda: tag_vector_digest([bytes(31)]),
    ]
    for call in calls:
        with pytest.raises(Bug):
            call()


# -- the universal hash --------------------------------------------------------------------------

GCM_POLYNOMIAL = 0xE1 << 120


def times(one: int, other: int) -> int:
    """In GF(2^128) as NIST SP 800-38D, algorithm 1, writes it: the first bit is the highest."""
    product = 0
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (GCM_POLYNOMIAL if other & 1 else 0)
    return product


def ghash_and_constant(key: bytes, data: bytes) -> bytes:
    """GMAC spelled out: a polynomial over the blocks and the length at a secret point, and a
    constant."""
    cipher = Cipher(AES(key), ECB()).encryptor()
    point, constant = (int.from_bytes(cipher.update(block)) for block in (
        bytes(16), bytes(15) + b"\1"))
    padded = data + bytes(-len(data) % 16) + (8 * len(data)).to_bytes(8) + bytes(8)
    value = 0
    for at in range(0, len(padded), 16):
        value = times(value ^ int.from_bytes(padded[at : at + 16]), point)
    return (value ^ constant).to_bytes(16)


@given(st.binary(max_size=100), st.sampled_from([KEY, bytes(32)]))
def test_the_universal_hash_is_a_polynomial_at_a_secret_point(data: bytes, key: bytes) -> None:
    assert UniversalHash(key).of(data) == ghash_and_constant(key, data)
    assert UniversalHash(key).of(memoryview(bytearray(data))) == ghash_and_constant(key, data)


def test_the_universal_hash_tells_inputs_apart_that_differ_by_padding() -> None:
    hashes = [UniversalHash(KEY).of(data) for data in (
        b"", b"\0", bytes(16), bytes(17), b"a", b"a\0", b"a" + bytes(15))]
    assert len(set(hashes)) == len(hashes)
    assert {len(value) for value in hashes} == {16}


def test_the_universal_hash_shows_no_key_and_takes_none_of_another_length() -> None:
    assert KEY.hex() not in repr(UniversalHash(KEY)) and repr(KEY) not in repr(UniversalHash(KEY))
    with pytest.raises(Bug):
        UniversalHash(KEY[:16])
