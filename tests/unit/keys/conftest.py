"""A pool's master key with three slots, made once: every slot costs a run of Argon2id."""

import random
from dataclasses import dataclass

import pytest

from ecfs.base.limits import KDF_MEMORY_FLOOR_KIB, KDF_PASSES_FLOOR
from ecfs.keys import KdfParameters, KeySlot, MasterKey, SlotKind, make_slot

FLOOR = KdfParameters(KDF_MEMORY_FLOOR_KIB, KDF_PASSES_FLOOR, 1)
POOL_ID = bytes(range(16))
SECRETS = {SlotKind.PASSPHRASE: b"correct horse", SlotKind.KEY_FILE: b"\x00\xff\nfile",
           SlotKind.RECOVERY: bytes(range(32))}


class SeededEntropy:
    """Repeatable random bytes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token(self, length: int) -> bytes:
        return self._random.randbytes(length)


@dataclass(frozen=True)
class Pool:
    """What a test needs to know of the pool."""

    master: MasterKey
    slots: dict[SlotKind, KeySlot]
    pool_id: bytes = POOL_ID


@pytest.fixture(scope="session")
def pool() -> Pool:
    master = MasterKey.generate(SeededEntropy(1))
    slots = {
        kind: make_slot(master, secret, kind, FLOOR, slot_id=int(kind), pool_id=POOL_ID,
                        entropy=SeededEntropy(2))
        for kind, secret in SECRETS.items()
    }
    return Pool(master, slots)


@pytest.fixture
def floor() -> KdfParameters:
    return FLOOR


@pytest.fixture
def secrets() -> dict[SlotKind, bytes]:
    return SECRETS
