"""Keyed BLAKE3: salts, tags of shards, and other keyed hashes; a universal hash to go before it.

Every hash is over one injective encoding, so that no byte can move from one part to its neighbour:

| length | field |
|---|---|
| 8 | length of the purpose, big endian |
| 8 | count n of parts |
| 8 n | length of each part |
| ... | purpose, then the parts, without gaps |

A part is hashed where it lies, in one call, whatever its size.

What is long goes through `UniversalHash` first, three times as fast, and BLAKE3 is over the 16
bytes that come out. A universal hash and then a pseudorandom function under a key of its own is a
pseudorandom function and so a MAC (Boneh and Shoup, A Graduate Course in Applied Cryptography,
theorem 7.7; the idea is Carter's and Wegman's).
"""

import hmac
import struct
from collections.abc import Sequence

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ecfs.base.errors import Bug, Damage
from ecfs.sealing.derivation import KEY_LEN

BytesLike = bytes | bytearray | memoryview

HASH_LEN = 32
_INDEX = struct.Struct(">I")
_ANY_NONCE = bytes(12)


class UniversalHash:
    """GHASH under a secret point, by way of GMAC (NIST SP 800-38D); thread-safe.

    For each two inputs of up to n blocks of 16 bytes, chosen by who knows nothing of the key, the
    hashes are equal with a probability of at most (n + 1) / 2^128: 2^-105 for the longest shard.
    The nonce is always the same, which adds a constant: two hashes tell the key to whoever sees
    them. They may go nowhere but into a keyed hash under another key. So this is no `UnitSealer`,
    under which no index may come twice.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, for nothing else."""
        if len(key) != KEY_LEN:
            raise Bug(f"a key of {len(key)} bytes")
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "UniversalHash(hidden)"

    def of(self, data: BytesLike) -> bytes:
        """16 bytes, to be kept secret."""
        return self._cipher.encrypt(_ANY_NONCE, b"", data)


def keyed_hash(key: bytes, *, purpose: bytes, parts: Sequence[BytesLike]) -> bytes:
    """32 bytes of keyed BLAKE3 over `purpose` and `parts`; `key`: 32 bytes."""
    if len(key) != KEY_LEN:
        raise Bug(f"a key of {len(key)} bytes")
    hasher = blake3(_frame(purpose, parts), key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def stripe_salt(salt_key: bytes, *, kind: bytes, address: bytes, fresh: bytes,
                parts: Sequence[BytesLike]) -> bytes:
    """The 32-byte salt of what is about to be sealed; `parts` are its whole plaintext.

    Two different plaintexts get different salts, hence different keys, even if `fresh` (32 random
    bytes) repeats because the machine was restored from a snapshot.
    """
    return keyed_hash(salt_key, purpose=b"ecfs salt", parts=(kind, address, fresh, *parts))


def shard_tag(tag_key: bytes, *, binding: bytes, index: int, body: BytesLike) -> bytes:
    """The 32-byte tag of shard `index` of the stripe that `binding` names."""
    if not 0 <= index < 1 << 8 * _INDEX.size:
        raise Bug(f"shard index {index}")
    return keyed_hash(tag_key, purpose=b"ecfs shard", parts=(binding, _INDEX.pack(index), body))


def check_shard_tag(tag_key: bytes, *, binding: bytes, index: int, body: BytesLike,
                    tag: BytesLike) -> BytesLike:
    """`body` itself, verified; Damage when `tag` is not its tag."""
    if not hmac.compare_digest(shard_tag(tag_key, binding=binding, index=index, body=body), tag):
        raise Damage(f"shard {index} does not match its tag")
    return body


def tag_vector_digest(tags: Sequence[BytesLike]) -> bytes:
    """32 bytes of BLAKE3 over the tags of all shards of a stripe, in order, and their count."""
    for tag in tags:
        if len(tag) != HASH_LEN:
            raise Bug(f"a tag of {len(tag)} bytes")
    return blake3(_frame(b"ecfs tags", tags) + b"".join(tags)).digest()


def _frame(purpose: bytes, parts: Sequence[BytesLike]) -> bytes:
    lengths = [memoryview(part).nbytes for part in parts]
    return struct.pack(f">{2 + len(parts)}Q", len(purpose), len(parts), *lengths) + purpose
