"""Every seal of a run: no key and nonce may ever meet two plaintexts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ecfs.sealing.units import BytesLike


class SealedTwice(AssertionError):
    """One key and nonce for two plaintexts: whoever sees both ciphertexts learns their difference
    and can forge."""


class SealLedger:
    """Remembers what was sealed under which key and nonce."""

    def __init__(self) -> None:
        self._seen: dict[tuple[bytes, bytes], bytes] = {}
        self.seals_count = 0
        self.violation: SealedTwice | None = None

    def __len__(self) -> int:
        """How many different pairs of key and nonce there were."""
        return len(self._seen)

    def note(self, key: bytes, nonce: bytes, plaintext: BytesLike, aad: bytes) -> None:
        """Raise SealedTwice, and remember it, if the pair sealed something else before."""
        self.seals_count += 1
        what = blake3(aad + len(aad).to_bytes(8, "big")).update(plaintext).digest()
        before = self._seen.setdefault((key, nonce), what)
        if before != what:
            self.violation = SealedTwice(
                f"nonce {nonce.hex()} of one key sealed two different plaintexts")
            raise self.violation

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch every seal of `ecfs.sealing` until the context ends."""
        ledger = self

        class WatchedCipher:
            """AES-GCM that tells the ledger first."""

            __slots__ = ("_cipher", "_key", "decrypt", "decrypt_into")

            def __init__(self, key: bytes) -> None:
                self._key = key
                self._cipher = AESGCM(key)
                self.decrypt = self._cipher.decrypt
                self.decrypt_into = self._cipher.decrypt_into

            def encrypt(self, nonce: bytes, plaintext: BytesLike, aad: bytes) -> bytes:
                ledger.note(self._key, nonce, plaintext, aad)
                return self._cipher.encrypt(nonce, plaintext, aad)

            def encrypt_into(self, nonce: bytes, plaintext: BytesLike, aad: bytes,
                             out: Any) -> int:
                ledger.note(self._key, nonce, plaintext, aad)
                return self._cipher.encrypt_into(nonce, plaintext, aad, out)

        with mock.patch("ecfs.sealing.units.AESGCM", WatchedCipher):
            yield
