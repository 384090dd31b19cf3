"""Boxes of one kind, version and salt: what must differ, and what must not be taken for another."""

import pytest

from ecfs.base.errors import Damage
from ecfs.formats import CLAIM, HEARTBEAT, Claim, decode_claim, decode_heartbeat, encode_claim
from ecfs.formats.box import FORMAT_VERSION, HEADER, TAG_LEN, _sealer, open_box, seal_box
from tests.unit.formats.values import KEYS

FRESH = bytes(range(32))


def salt_of(box: bytes) -> bytes:
    salt: bytes = HEADER.unpack_from(box)[6]
    return salt


def test_a_kind_is_not_another_even_under_the_same_keys() -> None:
    """The kind is bound by the magic and, should somebody exchange that, by the key."""
    claim = encode_claim(Claim(7, bytes(16), "here", "boot", 1), KEYS, FRESH)
    beat = seal_box(HEARTBEAT, KEYS, epoch=7, seq=0, payload=b"", fresh=FRESH)
    for exchanged in (claim, HEARTBEAT.magic + claim[8:]):
        with pytest.raises(Damage):
            decode_heartbeat(exchanged, KEYS, 7)
    for exchanged in (beat, CLAIM.magic + beat[8:]):
        with pytest.raises(Damage):
            decode_claim(exchanged, KEYS, 7)


def test_a_box_of_a_later_version_is_not_read() -> None:
    """Authentic, and made by a later program: its inside may mean anything."""
    length = 4096
    head = HEADER.pack(CLAIM.magic, FORMAT_VERSION + 1, 0, length, 1, 0, FRESH)
    plain = bytes(length - HEADER.size - TAG_LEN)
    box = head + _sealer(CLAIM, KEYS, FRESH).seal(0, KEYS.pool_id + head, plain)
    with pytest.raises(Damage):
        open_box(CLAIM, KEYS, box)


def test_no_two_payloads_share_a_salt_though_the_random_bytes_repeat() -> None:
    """A machine restored from a snapshot draws the same random bytes once more."""
    made = [seal_box(CLAIM, KEYS, epoch=epoch, seq=seq, payload=payload, fresh=fresh)
            for epoch, seq, payload, fresh in (
                (1, 0, b"one", FRESH), (1, 0, b"two", FRESH), (2, 0, b"one", FRESH),
                (1, 1, b"one", FRESH), (1, 0, b"one", bytes(32)))]
    assert len({salt_of(box) for box in made}) == len(made)
    assert seal_box(CLAIM, KEYS, epoch=1, seq=0, payload=b"one", fresh=FRESH) == made[0]
