"""HKDF against the RFC's construction, spelled out with hmac."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecfs.base.errors import Bug
from ecfs.sealing import KEY_LEN, derive


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.binary(max_size=80))
def test_derive_is_hkdf_sha256(key: bytes, salt: bytes, info: bytes) -> None:
    extracted = hmac.digest(salt or bytes(32), key, "sha256")
    assert derive(key, salt=salt, info=info) == hmac.digest(extracted, info + b"\x01", "sha256")


def test_known_answer() -> None:
    assert derive(bytes(range(32)), salt=b"salt", info=b"info").hex() == (
        "64cc2a23b7a1da4310420350405fdf5d632cb9bda3700d753e96cbcfeb81d449")


def test_salt_and_info_separate_keys() -> None:
    key = bytes(32)
    derived = {derive(key, salt=salt, info=info)
               for salt in (b"", b"a", b"ab") for info in (b"", b"a", b"b", b"ab")}
    assert len(derived) == 12
    assert {len(each) for each in derived} == {KEY_LEN}


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_a_bug(length: int) -> None:
    with pytest.raises(Bug):
        derive(bytes(length), salt=b"", info=b"")
