"""AES-256-GCM over units: one key for each stripe, record or label, the nonce is the index."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import AEAD_TAG_LEN
from ecfs.sealing.derivation import KEY_LEN

BytesLike = bytes | bytearray | memoryview

_NONCE_LEN = 12
_INDEX_COUNT = 1 << 8 * _NONCE_LEN


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

    def seal_into(self, index: int, aad: bytes, plaintext: BytesLike, out: memoryview) -> None:
        """Like `seal`, into `out`, which is exactly 16 bytes longer than `plaintext`."""
        plain_len, out_len = memoryview(plaintext).nbytes, memoryview(out).nbytes
        if out_len != plain_len + AEAD_TAG_LEN:
            raise Bug(f"{out_len} bytes for the seal of {plain_len}")
        self._cipher.encrypt_into(_nonce(index), plaintext, aad, out)

    def open(self, index: int, aad: bytes, sealed: BytesLike) -> bytes:
        """The plaintext; Damage unless index, aad and every byte are what was sealed."""
        try:
            return self._cipher.decrypt(_nonce(index), sealed, aad)
        except InvalidTag:
            raise Damage(f"sealed unit {index} is not authentic") from None


    def open_into(self, index: int, aad: bytes, sealed: BytesLike, out: memoryview) -> None:
        """Like `open`, into `out`, which is exactly 16 bytes shorter than `sealed`.

        After Damage the content of `out` means nothing.
        """
        sealed_len, out_len = memoryview(sealed).nbytes, memoryview(out).nbytes
        if sealed_len != out_len + AEAD_TAG_LEN:
            raise Damage(f"sealed unit {index} of {sealed_len} bytes cannot hold {out_len}")
        try:
            self._cipher.decrypt_into(_nonce(index), sealed, aad, out)
        except InvalidTag:
            raise Damage(f"sealed unit {index} is not authentic") from None


def _nonce(index: int) -> bytes:
    if not 0 <= index < _INDEX_COUNT:
        raise Bug(f"unit index {index}")
    return index.to_bytes(_NONCE_LEN, "big")
