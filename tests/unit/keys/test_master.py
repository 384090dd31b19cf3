"""The master key: what descends from it, and that it shows nothing."""

import copy
import hmac
import pickle
import threading

import pytest

from ecfs.base.errors import Bug
from ecfs.base.limits import UNIT_LEN, UNIT_LEN_MAX
from ecfs.keys import MasterKey, SegmentKeys
from ecfs.sealing import UnitSealer

KEY = bytes(range(32))


class OneToken:
    """Entropy that gives one known key."""

    def token(self, length: int) -> bytes:
        assert length == 32
        return KEY


def test_generated_from_entropy() -> None:
    assert MasterKey.generate(OneToken()).purpose("x") == MasterKey(KEY).purpose("x")
    assert MasterKey(bytes(32)).purpose("x") != MasterKey(KEY).purpose("x")


def test_purposes_are_hkdf_of_their_names() -> None:
    extracted = hmac.digest(bytes(32), KEY, "sha256")
    assert MasterKey(KEY).purpose("commit") == hmac.digest(
        extracted, b"ecfs purpose commit\x01", "sha256")


def test_segment_keys_are_hkdf_of_the_address() -> None:
    salt = (7).to_bytes(8, "big") + (3).to_bytes(8, "big")
    extracted = hmac.digest(salt, KEY, "sha256")
    seal, tag, salt_key, universal = (
        hmac.digest(extracted, b"ecfs segment " + use + b"\x01", "sha256")
        for use in (b"seal", b"tag", b"salt", b"hash"))
    assert MasterKey(KEY).segment(7, 3) == SegmentKeys(seal, tag, salt_key, None, UNIT_LEN_MAX)
    hashing = MasterKey(KEY).for_content(hashes_first=True, unit_len=UNIT_LEN)
    assert hashing.segment(7, 3) == SegmentKeys(seal, tag, salt_key, universal, UNIT_LEN)
    older = hashing.for_content(hashes_first=False, unit_len=8192)
    assert older.segment(7, 3) == SegmentKeys(seal, tag, salt_key, None, older.unit_len)
    assert older.unit_len == 8192
    assert hashing.purpose("commit") == MasterKey(KEY).purpose("commit")


def test_all_keys_differ() -> None:
    master = MasterKey(KEY).for_content(hashes_first=True, unit_len=UNIT_LEN)
    keys = [master.purpose("a"), master.purpose("b"), master.commitment(bytes(16)),
            master.commitment(b"\1" * 16)]
    for segment in (master.segment(1, 1), master.segment(1, 2), master.segment(2, 1)):
        assert segment.hash is not None
        keys.extend((segment.seal, segment.tag, segment.salt, segment.hash))
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_derived_keys_are_kept() -> None:
    master = MasterKey(KEY)
    assert master.segment(5, 1) is master.segment(5, 1)
    assert master.purpose("a") is master.purpose("a")


def test_the_cache_of_segments_is_bounded_and_thread_safe() -> None:
    master = MasterKey(KEY)
    first = master.segment(0, 1)
    results: list[SegmentKeys] = []

    def work() -> None:
        for segment_id in range(3000):
            master.segment(segment_id, 2)
        results.append(master.segment(0, 1))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for segment_id in range(5000):
        master.segment(segment_id, 3)
    assert results == [first] * 3
    again = master.segment(0, 1)
    assert again == first
    assert again is not first


def test_nothing_is_shown_pickled_or_copied() -> None:
    master = MasterKey(KEY).for_content(hashes_first=True, unit_len=UNIT_LEN)
    segment = master.segment(1, 1)
    assert segment.hash is not None
    for subject, secrets in ((master, (KEY,)), (segment, (segment.seal, segment.tag,
                                                          segment.salt, segment.hash))):
        for shown in (repr(subject), str(subject), f"{subject}", repr([subject])):
            assert not any(str(secret)[2:-1] in shown or secret.hex() in shown
                           for secret in secrets)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(Bug):
                pickle.dumps(subject, protocol)
        for duplicate in (copy.copy, copy.deepcopy):
            with pytest.raises(Bug):
                duplicate(subject)
    assert repr(master) == "MasterKey(hidden)"
    assert repr(segment) == "SegmentKeys(unit_len=16384)"


def test_wrap_and_unwrap() -> None:
    sealer = UnitSealer(bytes(32))
    wrapped = MasterKey(KEY).wrap(sealer, b"aad")
    assert len(wrapped) == 48
    assert MasterKey.unwrap(sealer, b"aad", wrapped).purpose("x") == MasterKey(KEY).purpose("x")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_another_length_is_a_bug(length: int) -> None:
    with pytest.raises(Bug):
        MasterKey(bytes(length))
