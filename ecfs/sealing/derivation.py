"""Derivation of keys from keys: HKDF-SHA256 (RFC 5869)."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ecfs.base.errors import Bug

KEY_LEN = 32


def derive(key: bytes, *, salt: bytes, info: bytes) -> bytes:
    """32 bytes from HKDF-SHA256 of a 32-byte `key`; other `salt` or `info`, unrelated bytes."""
    if len(key) != KEY_LEN:
        raise Bug(f"a key of {len(key)} bytes")
    return HKDF(algorithm=SHA256(), length=KEY_LEN, salt=salt, info=info).derive(key)
