"""Making and opening key slots.

secret --Argon2id(slot's salt)--> stretched key --HKDF--> wrapping key and commitment. Both bind
pool, slot id, kind, KDF parameters and salt. The commitment is what makes a slot open under one
secret only: AES-GCM alone would let an attacker craft one ciphertext that opens under two keys.
"""

import hmac
import struct
import threading
from collections.abc import Iterable

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ecfs.base.errors import Damage, EcfsError, Refusal, UsageRefusal, WrongPassphrase
from ecfs.base.limits import KDF_RUNS_PER_UNLOCK_MAX, KEY_SECRET_LEN_MAX
from ecfs.base.world import Entropy
from ecfs.formats import SLOT_SALT_LEN, KdfParameters, KeySlot, SlotKind
from ecfs.keys.master import MasterKey
from ecfs.sealing import KEY_LEN, UnitSealer, derive, stripe_salt

_ADDRESS = struct.Struct(">16sQBIII")

# OpenSSL runs the lanes on one pool of threads for the whole process, and two derivations at once
# wait for each other for ever (seen with OpenSSL 4.0.3, two lanes, two cores). What they share is
# the process, so the lock is the process's too.
_ARGON2_TURN = threading.Lock()


def make_slot(master: MasterKey, secret: bytes, kind: SlotKind, kdf: KdfParameters, *,
              slot_id: int, pool_id: bytes, entropy: Entropy) -> KeySlot:
    """A slot that opens with `secret`. Runs the KDF once; refuses bad parameters and no secret."""
    kdf.check()
    _check_secret(secret, kind)
    address = _address(pool_id, slot_id, kind, kdf)
    salt = stripe_salt(master.purpose("key slot salt"), kind=b"key slot", address=address,
                       fresh=entropy.token(SLOT_SALT_LEN), parts=())
    stretched = _stretch(secret, kdf, salt)
    wrapped = master.wrap(_wrapping(stretched, salt), address + salt)
    return KeySlot(slot_id, kind, kdf, salt, wrapped, _commitment(stretched, address, salt))


def open_slots(slots: Iterable[KeySlot], secret: bytes, kind: SlotKind | None,
               pool_id: bytes) -> MasterKey:
    """The master key, from the first slot of `kind` (None: of any) that `secret` opens.

    The KDF runs at most KDF_RUNS_PER_UNLOCK_MAX times; slots past that are not tried. A slot with
    KDF parameters out of bounds is passed over before any work. When nothing opens: UnknownFormat
    if a slot was passed over, Damage if the secret was right but the wrapped key was altered,
    else WrongPassphrase.
    """
    known = list(dict.fromkeys(slots))
    fitting = [slot for slot in known if kind is None or slot.kind == kind]
    _check_secret(secret, kind)
    failures: list[EcfsError] = []
    stretched: dict[tuple[KdfParameters, bytes], bytes] = {}
    untried_count = 0
    for slot in fitting:
        run = (slot.kdf, slot.salt)
        try:
            slot.kdf.check()
            if run not in stretched:
                if len(stretched) == KDF_RUNS_PER_UNLOCK_MAX:
                    untried_count += 1
                    continue
                stretched[run] = _stretch(secret, *run)
            master = _open(slot, stretched[run], pool_id)
        except (Refusal, Damage) as error:
            failures.append(error)
            continue
        if master is not None:
            return master
    raise _worst(failures) or WrongPassphrase(_advice(known, fitting, kind, untried_count))


def _open(slot: KeySlot, stretched: bytes, pool_id: bytes) -> MasterKey | None:
    """The master key, None for another secret, Damage for a slot that was tampered with."""
    address = _address(pool_id, slot.slot_id, slot.kind, slot.kdf)
    if not hmac.compare_digest(_commitment(stretched, address, slot.salt), slot.commitment):
        return None
    try:
        return MasterKey.unwrap(_wrapping(stretched, slot.salt), address + slot.salt, slot.wrapped)
    except Damage:
        raise Damage(f"the {slot.kind.words} is right, but key slot {slot.slot_id} was damaged or "
                     "altered; use another target or another key slot") from None


def _stretch(secret: bytes, kdf: KdfParameters, salt: bytes) -> bytes:
    try:
        with _ARGON2_TURN:
            return Argon2id(salt=salt, length=KEY_LEN, iterations=kdf.passes, lanes=kdf.lanes,
                            memory_cost=kdf.memory_kib).derive(secret)
    except MemoryError:
        raise Refusal(f"the key derivation needs {kdf.memory_kib} KiB of memory and cannot get "
                      "it; free some and try again") from None


def _wrapping(stretched: bytes, salt: bytes) -> UnitSealer:
    return UnitSealer(derive(stretched, salt=salt, info=b"ecfs key slot wrap"))


def _commitment(stretched: bytes, address: bytes, salt: bytes) -> bytes:
    return derive(stretched, salt=salt, info=b"ecfs key slot commitment " + address)


def _address(pool_id: bytes, slot_id: int, kind: SlotKind, kdf: KdfParameters) -> bytes:
    return _ADDRESS.pack(pool_id, slot_id, kind, kdf.memory_kib, kdf.passes, kdf.lanes)


def _check_secret(secret: bytes, kind: SlotKind | None) -> None:
    words = "secret" if kind is None else kind.words
    if not secret:
        raise UsageRefusal(f"the {words} is empty")
    if len(secret) > KEY_SECRET_LEN_MAX:
        raise UsageRefusal(f"the {words} is {len(secret)} bytes long, at most "
                           f"{KEY_SECRET_LEN_MAX} are taken; is it the right file?")


def _worst(failures: list[EcfsError]) -> EcfsError | None:
    """Damage first: it proves the secret right, so it is what the user should hear of."""
    damages = [failure for failure in failures if isinstance(failure, Damage)]
    return next(iter(damages + failures), None)


def _advice(known: list[KeySlot], fitting: list[KeySlot], kind: SlotKind | None,
            untried_count: int) -> str:
    if not known:
        return "the pool has no key slot that can be read; try with more targets"
    present = " or ".join(sorted({slot.kind.words for slot in known}))
    if not fitting and kind is not None:
        return f"no key slot of this pool takes a {kind.words}; give a {present}"
    words = "secret" if kind is None else kind.words
    if untried_count:
        return (f"the {words} opens none of {len(fitting) - untried_count} key slots; targets show "
                f"{untried_count} more, which were not tried. If you are sure of the {words}, give "
                "fewer paths: only those of targets that you trust")
    return (f"the {words} opens none of the pool's {len(fitting)} key slot(s) for it; check "
            f"spelling, keyboard layout and final newlines, or give another {present}")
