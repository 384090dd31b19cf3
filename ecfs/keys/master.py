"""The master key of a pool and the keys that descend from it."""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

from ecfs.base.errors import Bug
from ecfs.base.limits import PURPOSE_KEYS_COUNT_MAX, SEGMENT_KEYS_COUNT_MAX, UNIT_LEN_MAX
from ecfs.base.world import Entropy
from ecfs.sealing import KEY_LEN, UnitSealer, derive

_SEGMENT = struct.Struct(">QQ")


@dataclass(frozen=True, slots=True)
class SegmentKeys:
    """Keys of one segment, 32 bytes each: for sealing, for tags of shards, for salts, and for the
    universal hash that goes before both, unless the pool is of those that do without it.
    `unit_len`: bytes that are sealed as one, at most."""

    seal: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    hash: bytes | None = field(repr=False)
    unit_len: int

    def __reduce__(self) -> NoReturn:
        raise Bug("keys are never pickled")


class MasterKey:
    """256 random bits. Thread-safe. Shows nothing of itself and cannot be pickled or copied."""

    def __init__(self, key: bytes, *, hashes_first: bool = False,
                 unit_len: int = UNIT_LEN_MAX) -> None:
        """`key`: 32 bytes. Use `generate` for a new pool, `open_slots` for an old one, and then
        `for_content`."""
        if len(key) != KEY_LEN:
            raise Bug(f"a master key of {len(key)} bytes")
        self._key = key
        self._hashes_first = hashes_first
        self.unit_len = unit_len
        self._purposes = lru_cache(PURPOSE_KEYS_COUNT_MAX)(self._derive_purpose)
        self._segments = lru_cache(SEGMENT_KEYS_COUNT_MAX)(self._derive_segment)

    @classmethod
    def generate(cls, entropy: Entropy) -> "MasterKey":
        """A new key."""
        return cls(entropy.token(KEY_LEN))

    @classmethod
    def unwrap(cls, sealer: UnitSealer, aad: bytes, wrapped: bytes) -> "MasterKey":
        """The key that `wrap` sealed; Damage unless it is authentic."""
        return cls(sealer.open(0, aad, wrapped))

    def wrap(self, sealer: UnitSealer, aad: bytes) -> bytes:
        """The key sealed as unit 0 of `sealer`, whose key seals nothing else; 48 bytes."""
        return sealer.seal(0, aad, self._key)

    def for_content(self, *, hashes_first: bool, unit_len: int) -> "MasterKey":
        """The same key, for segments of a pool whose content goes through a universal hash first,
        or does not, and is sealed in units of at most `unit_len`. Which it is, the label says."""
        return MasterKey(self._key, hashes_first=hashes_first, unit_len=unit_len)

    def purpose(self, name: str) -> bytes:
        """The 32-byte key for one purpose, such as "commit"."""
        return self._purposes(name)

    def segment(self, segment_id: int, epoch: int) -> SegmentKeys:
        """The keys of one segment."""
        return self._segments(segment_id, epoch)

    def commitment(self, pool_id: bytes) -> bytes:
        """32 bytes that may be public and that no other key or pool has."""
        return derive(self._key, salt=pool_id, info=b"ecfs master commitment")

    def __repr__(self) -> str:
        return "MasterKey(hidden)"

    def __reduce__(self) -> NoReturn:
        raise Bug("keys are never pickled")

    def _derive_purpose(self, name: str) -> bytes:
        return derive(self._key, salt=b"", info=b"ecfs purpose " + name.encode())

    def _derive_segment(self, segment_id: int, epoch: int) -> SegmentKeys:
        salt = _SEGMENT.pack(segment_id, epoch)
        seal, tag, shard_salt, universal = (
            derive(self._key, salt=salt, info=b"ecfs segment " + use)
            for use in (b"seal", b"tag", b"salt", b"hash")
        )
        return SegmentKeys(seal, tag, shard_salt, universal if self._hashes_first else None,
                           self.unit_len)
