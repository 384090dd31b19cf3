"""AES-256-GCM over units: one key for each stripe, record or label, the nonce is the index."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import AEAD_TAG_LEN
from ecfs.sealing.derivation import KEY_LEN

BytesLike = bytes | bytearray | memoryview

_NONCE_LEN = 12
_INDEX_COUNT = 1 << 8 * _NONCE_LEN


def sealed_len(length: int, unit_len: int) -> int:
    """Bytes that `length` plain bytes take when they are sealed in units of at most `unit_len`."""
    return length + AEAD_TAG_LEN * -(-length // unit_len)


class UnitSealer:
    """Seals and opens the units of one key; thread-safe.

    The caller sees to it that no index is sealed twice with other plaintext under one key: keys
    are derived from a salt that depends on the whole plaintext (`stripe_salt`).
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes."""
        if len(key) != KEY_LEN:
            raise Bug(f"a key of {len(key)} bytes")
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "UnitSealer(hidden)"

    def seal(self, index: int, aad: bytes, plaintext: BytesLike) -> bytes:
        """Ciphertext and its 16-byte tag."""
        return self._cipher.encrypt(_nonce(index), plaintext, aad)

    def seal_run(self, index: int, aad: bytes, plaintext: memoryview, out: memoryview, *,
                 unit_len: int) -> None:
        """Like `seal`, unit by unit of `unit_len` plain bytes, into `out`, which is exactly as long
        as the sealed units. The index of a unit grows as its offset in `out` does."""
        length = plaintext.nbytes
        if out.nbytes != sealed_len(length, unit_len):
            raise Bug(f"{out.nbytes} bytes for the seals of {length} in units of {unit_len}")
        encrypt_into = self._cipher.encrypt_into
        if 0 < length <= unit_len:
            encrypt_into(_nonce(index), plaintext, aad, out)
            return
        step = unit_len + AEAD_TAG_LEN
        at = 0
        for low in range(0, length, unit_len):
            # Slices end where what is sliced does.
            encrypt_into(_nonce(index + at), plaintext[low : low + unit_len], aad,
                         out[at : at + step])
            at += step

    def open(self, index: int, aad: bytes, sealed: BytesLike) -> bytes:
        """The plaintext; Damage unless index, aad and every byte are what was sealed."""
        try:
            return self._cipher.decrypt(_nonce(index), sealed, aad)
        except InvalidTag:
            raise Damage(f"sealed unit {index} is not authentic") from None

    def open_run(self, index: int, aad: bytes, sealed: memoryview, out: memoryview, *,
                 unit_len: int) -> None:
        """What `seal_run` sealed, into `out`, which is exactly as long as the plain bytes.

        After Damage the content of `out` means nothing.
        """
        length = out.nbytes
        if sealed.nbytes != sealed_len(length, unit_len):
            raise Damage(f"sealed units {index} of {sealed.nbytes} bytes cannot hold {length}")
        decrypt_into = self._cipher.decrypt_into
        step = unit_len + AEAD_TAG_LEN
        at = 0
        try:
            for low in range(0, length, unit_len):
                decrypt_into(_nonce(index + at), sealed[at : at + step], aad,
                             out[low : low + unit_len])
                at += step
        except InvalidTag:
            raise Damage(f"sealed unit {index + at} is not authentic") from None


def _nonce(index: int) -> bytes:
    if not 0 <= index < _INDEX_COUNT:
        raise Bug(f"unit index {index}")
    return index.to_bytes(_NONCE_LEN, "big")
