"""AES-256-GCM units: a published answer, and that no change goes unnoticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug, Damage
from ecfs.sealing import UnitSealer

KEY = bytes(range(32))
INDEXES = st.integers(0, (1 << 96) - 1)


def test_published_answers() -> None:
    """Test cases 13 and 14 of the GCM submission to NIST: zero key, zero nonce."""
    sealer = UnitSealer(bytes(32))
    assert sealer.seal(0, b"", b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    assert sealer.seal(0, b"", bytes(16)).hex() == (
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")


def test_the_nonce_is_the_index_as_twelve_bytes_big_endian() -> None:
    """Test case 16 of the same, whose nonce is read as a number."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = UnitSealer(key).seal(0xCAFEBABEFACEDBADDECAF888, aad, plaintext)
    assert sealed.hex() == (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b")


@given(INDEXES, st.binary(max_size=60), st.binary(max_size=300))
def test_what_was_sealed_opens(index: int, aad: bytes, plaintext: bytes) -> None:
    sealer = UnitSealer(KEY)
    sealed = sealer.seal(index, aad, plaintext)
    assert len(sealed) == len(plaintext) + 16
    for form in (bytes, bytearray, memoryview):
        assert UnitSealer(KEY).open(index, aad, form(sealed)) == plaintext


@given(st.integers(0, (1 << 96) - 1000), st.binary(max_size=60), st.binary(max_size=300),
       st.sampled_from([16, 64, 100, 299, 300, 4096]))
def test_a_run_is_its_units_one_after_another(index: int, aad: bytes, plaintext: bytes,
                                              unit_len: int) -> None:
    """Each is sealed as it would be by itself; the index goes on with the place."""
    sealer = UnitSealer(KEY)
    expected = b""
    for low in range(0, len(plaintext), unit_len):
        expected += sealer.seal(index + len(expected), aad, plaintext[low : low + unit_len])
    out = bytearray(len(expected) + 4)
    sealer.seal_run(index, aad, memoryview(plaintext), memoryview(out)[3:-1], unit_len=unit_len)
    assert bytes(out) == bytes(3) + expected + bytes(1)
    again = bytearray(len(plaintext) + 2)
    UnitSealer(KEY).open_run(index, aad, memoryview(expected), memoryview(again)[1:-1],
                             unit_len=unit_len)
    assert bytes(again) == bytes(1) + plaintext + bytes(1)


def test_any_flipped_bit_is_damage() -> None:
    sealed = UnitSealer(KEY).seal(5, b"address", b"some content")
    for at in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Damage):
            UnitSealer(KEY).open(5, b"address", flipped)


@given(INDEXES, INDEXES, st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=50))
def test_index_and_aad_are_bound(index: int, other_index: int, aad: bytes, other_aad: bytes,
                                 plaintext: bytes) -> None:
    sealer = UnitSealer(KEY)
    sealed = sealer.seal(index, aad, plaintext)
    if (index, aad) != (other_index, other_aad):
        with pytest.raises(Damage):
            sealer.open(other_index, other_aad, sealed)
    with pytest.raises(Damage):
        UnitSealer(bytes(32)).open(index, aad, sealed)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 27, 29])
def test_cut_or_extended_is_damage(length: int) -> None:
    sealed = UnitSealer(KEY).seal(0, b"", b"twelve bytes")
    with pytest.raises(Damage):
        UnitSealer(KEY).open(0, b"", (sealed + b"\0")[:length])


def test_whatever_is_wrong_in_a_run_is_damage() -> None:
    """`open_run` is how stripes are read: everything that `open` notices, it notices too."""
    sealed = memoryview(bytearray(12 + 3 * 16))
    UnitSealer(KEY).seal_run(5, b"address", memoryview(b"some content"), sealed, unit_len=5)
    place = memoryview(bytearray(12))

    def opened(index: int, aad: bytes, content: bytes | bytearray | memoryview, *,
               unit_len: int = 5, out: memoryview = place) -> None:
        UnitSealer(KEY).open_run(index, aad, memoryview(content), out, unit_len=unit_len)

    opened(5, b"address", sealed)
    assert bytes(place) == b"some content"
    for at in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Damage, match=f"unit {5 + at // 8 // 21 * 21} "):
            opened(5, b"address", flipped)
    for index, aad in ((4, b"address"), (5, b"addresS"), (26, b"address")):
        with pytest.raises(Damage):
            opened(index, aad, sealed)
    exchanged = bytes(sealed[21:42]) + bytes(sealed[:21]) + bytes(sealed[42:])
    for content, unit_len in ((exchanged, 5), (bytes(sealed), 4), (bytes(sealed), 6),
                              (bytes(sealed[:-1]), 5), (bytes(sealed[:42]), 5)):
        with pytest.raises(Damage):
            opened(5, b"address", content, unit_len=unit_len)
    for length in (0, 10, 11, 13, 16):
        with pytest.raises(Damage, match="cannot hold"):
            opened(5, b"address", sealed, out=memoryview(bytearray(length)))


def test_misuse_is_a_bug() -> None:
    sealer, four = UnitSealer(KEY), memoryview(bytes(4))
    for call in (lambda: UnitSealer(bytes(16)), lambda: sealer.seal(-1, b"", b""),
                 lambda: sealer.seal(1 << 96, b"", b""), lambda: sealer.open(-1, b"", bytes(16)),
                 lambda: sealer.seal_run(0, b"", four, memoryview(bytearray(19)), unit_len=4),
                 lambda: sealer.seal_run(0, b"", four, memoryview(bytearray(21)), unit_len=4),
                 lambda: sealer.seal_run(0, b"", four, memoryview(bytearray(20)), unit_len=3)):
        with pytest.raises(Bug):
            call()


def test_the_key_is_not_shown() -> None:
    assert repr(UnitSealer(KEY)) == str(UnitSealer(KEY)) == "UnitSealer(hidden)"
