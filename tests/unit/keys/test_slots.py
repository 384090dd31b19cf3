"""Key slots: what opens them, and what altering one does. Argon2id really runs, at its floor."""

import threading
from dataclasses import replace
from typing import Any, Protocol

import pytest

from ecfs.base.errors import (
    Bug,
    Damage,
    Refusal,
    UnknownFormat,
    UsageRefusal,
    WrongPassphrase,
)
from ecfs.base.limits import (
    KDF_LANES_CAP,
    KDF_MEMORY_CAP_KIB,
    KDF_MEMORY_FLOOR_KIB,
    KDF_PASSES_CAP,
    KDF_RUNS_PER_UNLOCK_MAX,
    KEY_SECRET_LEN_MAX,
)
from ecfs.base.units import GIB, KIB
from ecfs.keys import (
    KdfParameters,
    KeySlot,
    MasterKey,
    SlotKind,
    make_slot,
    open_slots,
)
from ecfs.keys import slots as slots_module
from ecfs.sealing import UnitSealer, derive


class Pool(Protocol):
    """See conftest."""

    master: MasterKey
    slots: dict[SlotKind, KeySlot]
    pool_id: bytes


class CountingEntropy:
    """Bytes that differ with every call."""

    def __init__(self) -> None:
        self._calls = 0

    def token(self, length: int) -> bytes:
        self._calls += 1
        return self._calls.to_bytes(length, "big")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[KdfParameters]:
    """Every run of the KDF from here on, as its parameters; the KDF still runs."""
    seen: list[KdfParameters] = []
    real = slots_module._stretch

    def counted(secret: bytes, kdf: KdfParameters, salt: bytes) -> bytes:
        seen.append(kdf)
        return real(secret, kdf, salt)

    monkeypatch.setattr(slots_module, "_stretch", counted)
    return seen


@pytest.mark.parametrize("kind", SlotKind)
def test_each_secret_opens_its_slot(pool: Pool, kind: SlotKind, secrets: dict[SlotKind, bytes],
                                    runs: list[KdfParameters]) -> None:
    master = open_slots(list(pool.slots.values()), secrets[kind], kind, pool.pool_id)
    assert master.purpose("x") == pool.master.purpose("x")
    assert len(runs) == 1


def test_without_a_kind_every_slot_is_tried(pool: Pool, secrets: dict[SlotKind, bytes],
                                            runs: list[KdfParameters]) -> None:
    master = open_slots(pool.slots.values(), secrets[SlotKind.RECOVERY], None, pool.pool_id)
    assert master.purpose("x") == pool.master.purpose("x")
    assert len(runs) == 3


def test_a_wrong_secret_says_what_to_do(pool: Pool) -> None:
    with pytest.raises(WrongPassphrase, match=r"passphrase opens none.*keyboard layout.*key file"):
        open_slots(pool.slots.values(), b"battery staple", SlotKind.PASSPHRASE, pool.pool_id)


def test_a_kind_that_the_pool_lacks(pool: Pool, runs: list[KdfParameters]) -> None:
    only = [pool.slots[SlotKind.PASSPHRASE]]
    with pytest.raises(WrongPassphrase, match=r"takes a key file; give a passphrase"):
        open_slots(only, b"x", SlotKind.KEY_FILE, pool.pool_id)
    with pytest.raises(WrongPassphrase, match="no key slot"):
        open_slots([], b"x", None, pool.pool_id)
    assert runs == []


def test_a_slot_is_bound_to_pool_place_and_kind(pool: Pool,
                                                secrets: dict[SlotKind, bytes]) -> None:
    """One run of the KDF serves all: parameters and salt are the same."""
    slot = pool.slots[SlotKind.PASSPHRASE]
    secret = secrets[SlotKind.PASSPHRASE]
    moved = [replace(slot, slot_id=slot.slot_id + 1), replace(slot, kind=SlotKind.KEY_FILE)]
    with pytest.raises(WrongPassphrase):
        open_slots(moved, secret, None, pool.pool_id)
    with pytest.raises(WrongPassphrase):
        open_slots([slot], secret, None, bytes(16))


@pytest.mark.parametrize("change", [
    {"lanes": 2}, {"passes": 2}, {"memory_kib": KDF_MEMORY_FLOOR_KIB + 64}])
def test_a_slot_is_bound_to_its_kdf(pool: Pool, secrets: dict[SlotKind, bytes],
                                    change: dict[str, Any]) -> None:
    slot = pool.slots[SlotKind.PASSPHRASE]
    altered = replace(slot, kdf=replace(slot.kdf, **change))
    with pytest.raises(WrongPassphrase):
        open_slots([altered], secrets[SlotKind.PASSPHRASE], None, pool.pool_id)


def test_altered_bytes_of_a_slot(pool: Pool, secrets: dict[SlotKind, bytes],
                                 runs: list[KdfParameters]) -> None:
    slot = pool.slots[SlotKind.PASSPHRASE]
    secret = secrets[SlotKind.PASSPHRASE]
    wrapped = [replace(slot, wrapped=flipped(slot.wrapped, at)) for at in (0, 255, 256, 383)]
    committed = [replace(slot, commitment=flipped(slot.commitment, at)) for at in (0, 255)]
    for altered in wrapped:
        with pytest.raises(Damage, match=r"passphrase is right.*slot 1"):
            open_slots([altered], secret, None, pool.pool_id)
    with pytest.raises(WrongPassphrase):
        open_slots(committed, secret, None, pool.pool_id)
    with pytest.raises(WrongPassphrase):
        open_slots([replace(slot, salt=flipped(slot.salt, 9))], secret, None, pool.pool_id)
    runs.clear()
    master = open_slots([*wrapped, *committed, slot], secret, None, pool.pool_id)
    assert master.purpose("x") == pool.master.purpose("x")
    assert len(runs) == 1


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def test_another_key_cannot_be_slipped_in(pool: Pool, secrets: dict[SlotKind, bytes]) -> None:
    """Whoever knows the passphrase of another pool cannot graft its wrapped key into a slot."""
    slot, other = pool.slots[SlotKind.PASSPHRASE], pool.slots[SlotKind.KEY_FILE]
    grafted = replace(slot, wrapped=other.wrapped)
    with pytest.raises(Damage):
        open_slots([grafted], secrets[SlotKind.PASSPHRASE], None, pool.pool_id)


def test_a_wrapped_key_without_its_commitment_is_not_used(pool: Pool,
                                                          floor: KdfParameters) -> None:
    """A ciphertext that does open under the attacker's secret stays shut: nothing commits to it."""
    slot = pool.slots[SlotKind.PASSPHRASE]
    stretched = slots_module._stretch(b"attacker", floor, slot.salt)
    address = slots_module._address(pool.pool_id, slot.slot_id, slot.kind, slot.kdf)
    sealer = UnitSealer(derive(stretched, salt=slot.salt, info=b"ecfs key slot wrap"))
    forged = replace(slot, wrapped=sealer.seal(0, address + slot.salt, bytes(32)))
    with pytest.raises(WrongPassphrase):
        open_slots([forged], b"attacker", None, pool.pool_id)


@pytest.mark.parametrize(("kdf", "word"), [
    (KdfParameters(KDF_MEMORY_FLOOR_KIB - 1, 3, 4), "weakened"),
    (KdfParameters(KDF_MEMORY_FLOOR_KIB, 0, 4), "weakened"),
    (KdfParameters(KDF_MEMORY_FLOOR_KIB, 1, 0), "weakened"),
    (KdfParameters(-1, 1, 1), "weakened"),
    (KdfParameters(KDF_MEMORY_CAP_KIB + 1, 1, 1), "inflated"),
    (KdfParameters(1 << 62, 1, 1), "inflated"),
    (KdfParameters(KDF_MEMORY_FLOOR_KIB, KDF_PASSES_CAP + 1, 1), "inflated"),
    (KdfParameters(KDF_MEMORY_FLOOR_KIB, 1, KDF_LANES_CAP + 1), "inflated"),
])
def test_parameters_out_of_bounds_are_refused_before_work(
        pool: Pool, secrets: dict[SlotKind, bytes], runs: list[KdfParameters],
        kdf: KdfParameters, word: str) -> None:
    slot, secret = pool.slots[SlotKind.PASSPHRASE], secrets[SlotKind.PASSPHRASE]
    with pytest.raises(UnknownFormat, match=word):
        kdf.check()
    with pytest.raises(UnknownFormat, match=word):
        open_slots([replace(slot, kdf=kdf)], secret, None, pool.pool_id)
    with pytest.raises(UnknownFormat, match=word):
        make_slot(pool.master, secret, SlotKind.PASSPHRASE, kdf, slot_id=1, pool_id=pool.pool_id,
                  entropy=CountingEntropy())
    assert runs == []


def test_a_refused_slot_is_reported_only_if_nothing_opens(
        pool: Pool, secrets: dict[SlotKind, bytes]) -> None:
    slot = pool.slots[SlotKind.PASSPHRASE]
    weak = replace(slot, kdf=KdfParameters(8, 1, 1))
    secret = secrets[SlotKind.PASSPHRASE]
    master = open_slots([weak, slot], secret, None, pool.pool_id)
    assert master.purpose("x") == pool.master.purpose("x")
    with pytest.raises(UnknownFormat, match="weakened"):
        open_slots([slot, weak], b"wrong", None, pool.pool_id)
    altered = replace(slot, wrapped=flipped(slot.wrapped, 0))
    with pytest.raises(Damage, match="is right"):
        open_slots([weak, altered], secret, None, pool.pool_id)


def test_half_of_ram_is_the_cap_but_the_floor_always_fits() -> None:
    kdf = KdfParameters(1 * GIB // KIB, 1, 1)
    kdf.check(ram_kib=2 * GIB // KIB)
    with pytest.raises(UnknownFormat, match="inflated"):
        kdf.check(ram_kib=2 * GIB // KIB - 2)
    KdfParameters(KDF_MEMORY_FLOOR_KIB, 1, 1).check(ram_kib=16 * KIB)
    KdfParameters().check()


def test_the_runs_of_one_unlock_are_bounded(pool: Pool, runs: list[KdfParameters],
                                            secrets: dict[SlotKind, bytes]) -> None:
    slot = pool.slots[SlotKind.PASSPHRASE]
    many = [replace(slot, salt=bytes([i]) * 32) for i in range(KDF_RUNS_PER_UNLOCK_MAX + 3)]
    with pytest.raises(WrongPassphrase, match="show 4 more, which were not tried"):
        open_slots([*many, slot], secrets[SlotKind.PASSPHRASE], None, pool.pool_id)
    assert len(runs) == KDF_RUNS_PER_UNLOCK_MAX


def test_repeated_entropy_gives_other_masters_other_salts(pool: Pool,
                                                          floor: KdfParameters) -> None:
    """A machine restored from a snapshot: the same fresh bytes, another key to wrap."""
    other = make_slot(MasterKey(bytes(32)), b"x", SlotKind.PASSPHRASE, floor, slot_id=1,
                      pool_id=pool.pool_id, entropy=CountingEntropy())
    again = make_slot(pool.master, b"x", SlotKind.PASSPHRASE, floor, slot_id=1,
                      pool_id=pool.pool_id, entropy=CountingEntropy())
    assert other.salt != again.salt


def test_other_entropy_gives_other_salts(pool: Pool, floor: KdfParameters) -> None:
    """The same passphrase in two slots: nobody can tell that it is the same."""
    entropy = CountingEntropy()
    one, two = (make_slot(pool.master, b"x", SlotKind.PASSPHRASE, floor, slot_id=1,
                          pool_id=pool.pool_id, entropy=entropy) for _ in range(2))
    assert one.salt != two.salt and one.wrapped != two.wrapped


def test_too_little_memory_is_said(pool: Pool, secrets: dict[SlotKind, bytes],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(**parameters: object) -> None:
        raise MemoryError

    monkeypatch.setattr(slots_module, "Argon2id", starved)
    with pytest.raises(Refusal, match=r"65536 KiB of memory and cannot get"):
        open_slots(pool.slots.values(), secrets[SlotKind.PASSPHRASE], None, pool.pool_id)


def test_unlocking_in_two_threads_at_once(pool: Pool) -> None:
    """Two derivations with several lanes at once would wait for each other for ever."""
    kdf = KdfParameters(KDF_MEMORY_FLOOR_KIB, 1, 4)
    made: list[KeySlot] = []

    def work(slot_id: int) -> None:
        made.append(make_slot(pool.master, b"x", SlotKind.PASSPHRASE, kdf, slot_id=slot_id,
                              pool_id=pool.pool_id, entropy=CountingEntropy()))

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(made) == 3


@pytest.mark.parametrize("kind", [None, *SlotKind])
def test_no_secret_and_absurd_secrets_are_refused(pool: Pool, kind: SlotKind | None,
                                                  runs: list[KdfParameters]) -> None:
    with pytest.raises(UsageRefusal, match="is empty"):
        open_slots(pool.slots.values(), b"", kind, pool.pool_id)
    with pytest.raises(UsageRefusal, match="right file"):
        open_slots(pool.slots.values(), bytes(KEY_SECRET_LEN_MAX + 1), kind, pool.pool_id)
    assert runs == []


def test_impossible_slots(pool: Pool) -> None:
    slot = pool.slots[SlotKind.PASSPHRASE]
    good: dict[str, Any] = {
        "slot_id": 1, "kind": 1, "kdf": slot.kdf, "salt": slot.salt, "wrapped": slot.wrapped,
        "commitment": slot.commitment}
    assert KeySlot.checked(**good) == slot
    for change in ({"slot_id": -1}, {"slot_id": 1 << 63}, {"salt": bytes(31)},
                   {"wrapped": bytes(47)}, {"commitment": b""}):
        with pytest.raises(Damage):
            KeySlot.checked(**{**good, **change})
        with pytest.raises(Bug):
            replace(slot, **change)
    with pytest.raises(Damage, match="unknown kind 9"):
        KeySlot.checked(**{**good, "kind": 9})


def test_the_largest_slot_id_works(pool: Pool, secrets: dict[SlotKind, bytes]) -> None:
    slot = replace(pool.slots[SlotKind.PASSPHRASE], slot_id=(1 << 63) - 1)
    with pytest.raises(WrongPassphrase):
        open_slots([slot], secrets[SlotKind.PASSPHRASE], None, pool.pool_id)
