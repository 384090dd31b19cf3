"""Key slots as values: the master key, wrapped under a stretched secret, and how it was stretched.

A label carries up to eight. Nothing in a slot is authentic before the slot opens, so its KDF
parameters are checked against floor and cap before any work is done with them.
"""

import os
from dataclasses import dataclass
from enum import IntEnum

from ecfs.base.errors import Bug, Damage, UnknownFormat
from ecfs.base.limits import (
    KDF_LANES_CAP,
    KDF_LANES_DEFAULT,
    KDF_MEMORY_CAP_KIB,
    KDF_MEMORY_DEFAULT_KIB,
    KDF_MEMORY_FLOOR_KIB,
    KDF_PASSES_CAP,
    KDF_PASSES_DEFAULT,
    KDF_PASSES_FLOOR,
)
from ecfs.base.units import KIB

SLOT_SALT_LEN = 32
SLOT_WRAPPED_LEN = 48
SLOT_COMMITMENT_LEN = 32
_SLOT_ID_COUNT = 1 << 63


class SlotKind(IntEnum):
    """What kind of secret opens a slot."""

    PASSPHRASE = 1
    KEY_FILE = 2
    RECOVERY = 3

    @property
    def words(self) -> str:
        """The kind as messages call it."""
        return {1: "passphrase", 2: "key file", 3: "recovery key"}[self.value]


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """Argon2id: memory in KiB, passes over it, lanes."""

    memory_kib: int = KDF_MEMORY_DEFAULT_KIB
    passes: int = KDF_PASSES_DEFAULT
    lanes: int = KDF_LANES_DEFAULT

    def check(self, *, ram_kib: int | None = None) -> None:
        """UnknownFormat unless every parameter lies between its floor and its cap.

        The cap of memory is also half of the machine's RAM (`ram_kib`; None asks the system), but
        never under the floor.
        """
        ram = _ram_kib() if ram_kib is None else ram_kib
        memory_cap = max(KDF_MEMORY_FLOOR_KIB, min(KDF_MEMORY_CAP_KIB, ram // 2))
        for name, unit, value, floor, cap in (
            ("memory", " KiB", self.memory_kib, KDF_MEMORY_FLOOR_KIB, memory_cap),
            ("passes", "", self.passes, KDF_PASSES_FLOOR, KDF_PASSES_CAP),
            ("lanes", "", self.lanes, 1, KDF_LANES_CAP),
        ):
            if value < floor:
                raise UnknownFormat(
                    f"weakened key derivation: {name} is {value}{unit}, the floor is {floor}; "
                    "somebody may have changed the label, no secret was used on it")
            if value > cap:
                raise UnknownFormat(
                    f"inflated key derivation: {name} is {value}{unit}, this machine allows "
                    f"{cap}; if the pool was made so, open it on a larger machine")


@dataclass(frozen=True, slots=True)
class KeySlot:
    """One way to open a pool. Wrong lengths are a Bug; see `checked` for bytes from a target.

    `salt`: 32 bytes. `wrapped`: the master key sealed with AES-256-GCM, 48 bytes. `commitment`:
    32 bytes that only the stretched secret reproduces.
    """

    slot_id: int
    kind: SlotKind
    kdf: KdfParameters
    salt: bytes
    wrapped: bytes
    commitment: bytes

    def __post_init__(self) -> None:
        reason = _impossible(self.slot_id, self.salt, self.wrapped, self.commitment)
        if reason:
            raise Bug(reason)

    @classmethod
    def checked(cls, *, slot_id: int, kind: int, kdf: KdfParameters, salt: bytes, wrapped: bytes,
                commitment: bytes) -> "KeySlot":
        """A slot from fields read from a target; Damage when one is impossible.

        The KDF parameters stay unchecked: who opens the slot checks them, and says why not.
        """
        reason = _impossible(slot_id, salt, wrapped, commitment)
        if reason:
            raise Damage(reason)
        if kind not in SlotKind.__members__.values():
            raise Damage(f"key slot {slot_id} is of the unknown kind {kind}")
        return cls(slot_id, SlotKind(kind), kdf, salt, wrapped, commitment)


def _impossible(slot_id: int, salt: bytes, wrapped: bytes, commitment: bytes) -> str:
    if not 0 <= slot_id < _SLOT_ID_COUNT:
        return f"impossible key slot id {slot_id}"
    lengths = (len(salt), len(wrapped), len(commitment))
    if lengths != (SLOT_SALT_LEN, SLOT_WRAPPED_LEN, SLOT_COMMITMENT_LEN):
        return f"key slot {slot_id} has fields of wrong lengths {lengths}"
    return ""


def _ram_kib() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // KIB
