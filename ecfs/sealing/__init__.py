"""Sealing: authenticated encryption of units, keyed hashes of shards, derivation of keys.

Owns every call of a cipher, hash or key derivation but Argon2id. Bytes in, bytes out: may not know
what a key is for, where bytes lie, nor keep any state but the key it was given. A check raises or
returns what was verified.
"""

from ecfs.sealing.derivation import KEY_LEN, derive
from ecfs.sealing.hashes import (
    HASH_LEN,
    UniversalHash,
    check_shard_tag,
    keyed_hash,
    shard_tag,
    stripe_salt,
    tag_vector_digest,
)
from ecfs.sealing.units import UnitSealer, sealed_len

__all__ = [
    "HASH_LEN",
    "KEY_LEN",
    "UnitSealer",
    "UniversalHash",
    "check_shard_tag",
    "derive",
    "keyed_hash",
    "sealed_len",
    "shard_tag",
    "stripe_salt",
    "tag_vector_digest",
]
