"""Mutants of sealing, keys and erasure."""

from ecfs.testing.mutation.mutant import Mutant

_HASHES = ("tests/unit/sealing/test_hashes.py",)
_SLOTS = ("tests/unit/keys/test_slots.py",)
_MASTER = ("tests/unit/keys/test_master.py",)
_GEOMETRY = ("tests/unit/erasure/test_geometry.py",)
_CODE = ("tests/unit/erasure/test_code.py",)

KEY_MUTANTS = (
    Mutant("salt-without-fresh-bytes", "ecfs/sealing/hashes.py",
           "parts=(kind, address, fresh, *parts))", "parts=(kind, address, *parts))", _HASHES),
    Mutant("salt-without-plaintext", "ecfs/sealing/hashes.py",
           "parts=(kind, address, fresh, *parts))", "parts=(kind, address, fresh))", _HASHES),
    Mutant("salt-without-kind", "ecfs/sealing/hashes.py",
           "parts=(kind, address, fresh, *parts))", "parts=(b'', address, fresh, *parts))",
           _HASHES),
    Mutant("salt-without-address", "ecfs/sealing/hashes.py",
           "parts=(kind, address, fresh, *parts))", "parts=(kind, b'', fresh, *parts))", _HASHES),
    Mutant("shard-tag-unchecked", "ecfs/sealing/hashes.py",
           "if not hmac.compare_digest(shard_tag(tag_key, binding=binding, index=index, body=body),"
           " tag):", "if len(tag) != HASH_LEN:", _HASHES),
    Mutant("shard-tag-without-index", "ecfs/sealing/hashes.py",
           "parts=(binding, _INDEX.pack(index), body))", "parts=(binding, b'', body))", _HASHES),
    Mutant("shard-tag-without-binding", "ecfs/sealing/hashes.py",
           "parts=(binding, _INDEX.pack(index), body))", "parts=(b'', _INDEX.pack(index), body))",
           ("tests/unit/sealing/test_hashes.py", "tests/unit/stripes/test_sealed.py")),
    Mutant("tag-digest-without-order", "ecfs/sealing/hashes.py",
           'b"".join(tags)).digest()', 'b"".join(sorted(map(bytes, tags)))).digest()', _HASHES),
    Mutant("hash-parts-without-lengths", "ecfs/sealing/hashes.py",
           'struct.pack(f">{2 + len(parts)}Q", len(purpose), len(parts), *lengths) + purpose',
           'struct.pack(">2Q", len(purpose), len(lengths)) + purpose', _HASHES),
    Mutant("nonce-without-index", "ecfs/sealing/units.py",
           'return index.to_bytes(_NONCE_LEN, "big")', "return bytes(_NONCE_LEN)",
           ("tests/unit/sealing/test_units.py",)),
    Mutant("unit-opens-without-check", "ecfs/sealing/units.py",
           "            return self._cipher.decrypt(_nonce(index), sealed, aad)\n"
           "        except InvalidTag:\n"
           '            raise Damage(f"sealed unit {index} is not authentic") from None',
           "            return self._cipher.decrypt(_nonce(index), sealed, aad)\n"
           "        except InvalidTag:\n"
           "            return bytes(len(sealed) - AEAD_TAG_LEN)",
           ("tests/unit/sealing/test_units.py",)),
    Mutant("unit-opens-in-place-without-check", "ecfs/sealing/units.py",
           "            self._cipher.decrypt_into(_nonce(index), sealed, aad, out)\n"
           "        except InvalidTag:\n"
           '            raise Damage(f"sealed unit {index} is not authentic") from None',
           "            self._cipher.decrypt_into(_nonce(index), sealed, aad, out)\n"
           "        except InvalidTag:\n"
           "            return", ("tests/unit/sealing/test_units.py",)),
    Mutant("derived-key-without-salt", "ecfs/sealing/derivation.py",
           "length=KEY_LEN, salt=salt, info=info)", "length=KEY_LEN, salt=b'', info=info)",
           ("tests/unit/sealing/test_derivation.py",)),
    Mutant("slot-commitment-unchecked", "ecfs/keys/slots.py",
           "if not hmac.compare_digest(_commitment(stretched, address, slot.salt), "
           "slot.commitment):", "if not address:", _SLOTS),
    Mutant("slot-not-bound-to-pool", "ecfs/keys/slots.py",
           "_ADDRESS.pack(pool_id, slot_id,", "_ADDRESS.pack(bytes(16), slot_id,", _SLOTS),
    Mutant("slot-not-bound-to-its-id", "ecfs/keys/slots.py",
           "_ADDRESS.pack(pool_id, slot_id, kind,", "_ADDRESS.pack(pool_id, 0, kind,", _SLOTS),
    Mutant("slot-not-bound-to-its-kind", "ecfs/keys/slots.py",
           "_ADDRESS.pack(pool_id, slot_id, kind,", "_ADDRESS.pack(pool_id, slot_id, 1,", _SLOTS),
    Mutant("slot-salt-reused", "ecfs/keys/slots.py",
           "fresh=entropy.token(SLOT_SALT_LEN), parts=())", "fresh=bytes(32), parts=())", _SLOTS),
    Mutant("kdf-runs-unbounded", "ecfs/keys/slots.py",
           "if len(stretched) == KDF_RUNS_PER_UNLOCK_MAX:", "if len(stretched) < 0:", _SLOTS),
    Mutant("kdf-unchecked-at-unlock", "ecfs/keys/slots.py",
           "            slot.kdf.check()\n            if run", "            if run", _SLOTS),
    Mutant("kdf-cap-off", "ecfs/formats/slots.py",
           "            if value > cap:", "            if value > cap << 40:", _SLOTS),
    Mutant("kdf-floor-off", "ecfs/formats/slots.py",
           "            if value < floor:", "            if value < 0:", _SLOTS),
    Mutant("kdf-cap-without-ram", "ecfs/formats/slots.py",
           "min(KDF_MEMORY_CAP_KIB, ram // 2))", "min(KDF_MEMORY_CAP_KIB, ram))", _SLOTS),
    Mutant("master-key-shown", "ecfs/keys/master.py",
           'return "MasterKey(hidden)"', 'return f"MasterKey({self._key.hex()})"', _MASTER),
    Mutant("master-key-pickled", "ecfs/keys/master.py",
           '        raise Bug("keys are never pickled")\n\n    def _derive_purpose',
           "        return bytes, ()\n\n    def _derive_purpose", _MASTER),
    Mutant("one-key-for-tags-and-sealing", "ecfs/keys/master.py",
           '(b"seal", b"tag", b"salt", b"hash")', '(b"seal", b"seal", b"salt", b"hash")',
           _MASTER),
    Mutant("one-key-for-tags-and-hashes", "ecfs/keys/master.py",
           '(b"seal", b"tag", b"salt", b"hash")', '(b"seal", b"tag", b"salt", b"tag")', _MASTER),
    Mutant("segment-key-without-epoch", "ecfs/keys/master.py",
           "_SEGMENT.pack(segment_id, epoch)", "_SEGMENT.pack(segment_id, 0)", _MASTER),
    Mutant("key-commitment-without-pool", "ecfs/keys/master.py",
           'salt=pool_id, info=b"ecfs master commitment"', 'salt=b"", info=b"ecfs master '
           'commitment"', _MASTER),
    Mutant("recovery-key-checksum-unchecked", "ecfs/keys/recovery.py",
           "if not hmac.compare_digest(claimed, _checksum(secret).to_bytes(3, \"big\")):",
           "if not claimed:", ("tests/unit/keys/test_recovery.py",)),
    Mutant("commit-quorum-one-less", "ecfs/erasure/quorum.py",
           "return (members + liars) // 2 + 1", "return (members + liars) // 2", _GEOMETRY),
    Mutant("recover-quorum-one-less", "ecfs/erasure/quorum.py",
           "members - commit + liars + 1)", "members - commit + liars)", _GEOMETRY),
    Mutant("data-quorum-without-liars", "ecfs/erasure/quorum.py",
           "min(geometry.data + liars, geometry.shards)", "min(geometry.data, geometry.shards)",
           _GEOMETRY),
    Mutant("metadata-without-more-parity", "ecfs/erasure/geometry.py",
           "min(geometry.parity + 1, targets_count - 1", "min(geometry.parity, targets_count - 1",
           _GEOMETRY),
    Mutant("narrowing-gives-up-parity", "ecfs/erasure/geometry.py",
           "return Geometry(max(1, data), geometry.parity)",
           "return Geometry(max(1, data), max(geometry.parity - 1, 0))", _GEOMETRY),
    Mutant("decoding-from-too-few", "ecfs/erasure/code.py",
           "if len(present) < self.geometry.data:", "if len(present) < self.geometry.data - 1:",
           _CODE),
    Mutant("decoding-with-highest-first", "ecfs/erasure/code.py",
           "tables = self._decode_tables(chosen, wanted)",
           "tables = self._decode_tables(chosen[::-1], wanted)", _CODE),
    Mutant("parity-of-other-rows", "ecfs/erasure/galois.py",
           "bytes(inverse(i ^ j) for j in range(data))",
           "bytes(inverse(i ^ j) if i > data else 1 for j in range(data))",
           ("tests/unit/erasure/test_galois.py",)),
)
