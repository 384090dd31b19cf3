"""A systematic Reed-Solomon envelope, so that a small file opens even when it has rotted.

RS(255,223) over GF(2^8), polynomial 0x11d, generator roots alpha^0..alpha^31 (`reedsolo`'s code,
which decodes it). Codewords are interleaved: byte j of codeword i lies at j * count + i, so that a
lost run of 512 bytes costs each of the at least 32 codewords at most 16 bytes, which is what one
codeword corrects. File: 255 * count bytes of code, then zeros up to a multiple of 4 KiB.

The payload carries its own check (see `label`): a file that passes it is never decoded.
"""

import itertools

import reedsolo

from ecfs.base.errors import Bug, Damage
from ecfs.base.limits import LABEL_LEN_MAX
from ecfs.base.units import BLOCK_LEN, round_up

CODEWORD_LEN = 255
DATA_LEN = 223
PARITY_LEN = CODEWORD_LEN - DATA_LEN
CODEWORDS_MIN = 32
_POLYNOMIAL = 0x11D


def wrap(payload: bytes) -> bytes:
    """The envelope of `payload`, which ends up zero-padded to whole codewords."""
    count = max(CODEWORDS_MIN, -(-len(payload) // DATA_LEN))
    length = round_up(CODEWORD_LEN * count, BLOCK_LEN)
    if length > LABEL_LEN_MAX:
        raise Bug(f"envelope of {length} bytes is larger than a label may be")
    count = length // CODEWORD_LEN
    data = payload.ljust(count * DATA_LEN, b"\0")
    return (data + _parity(data, count)).ljust(length, b"\0")


def unwrap_fast(envelope: bytes) -> bytes:
    """The payload as it stands, uncorrected; Damage when the length cannot be an envelope's."""
    return envelope[: _codeword_count(envelope) * DATA_LEN]


def unwrap_corrected(envelope: bytes) -> bytes:
    """The payload after error correction; Damage where a codeword has more than 16 bad bytes.

    Work is bounded by `LABEL_LEN_MAX`: at most 257 codewords.
    """
    count = _codeword_count(envelope)
    codec = reedsolo.RSCodec(PARITY_LEN)
    columns = []
    for index in range(count):
        word = envelope[index : CODEWORD_LEN * count : count]
        try:
            columns.append(bytes(codec.decode(word)[0]))
        except reedsolo.ReedSolomonError as error:
            raise Damage("label is rotten past correction") from error
    return bytes(itertools.chain.from_iterable(zip(*columns, strict=True)))


def _codeword_count(envelope: bytes) -> int:
    length = len(envelope)
    if length % BLOCK_LEN or not CODEWORDS_MIN * CODEWORD_LEN <= length <= LABEL_LEN_MAX:
        raise Damage(f"a label cannot be {length} bytes long")
    return length // CODEWORD_LEN


def _parity(data: bytes, count: int) -> bytes:
    """Parity rows of all codewords at once: an LFSR whose cells are vectors of `count` bytes.

    A vector times a constant is `bytes.translate`; a sum is the XOR of two integers. That is some
    40 times faster than coding each word by itself.
    """
    tables = [_multiplication_table(factor) for factor in _generator()[1:]]
    zero = bytes(count)
    cells = zero * PARITY_LEN
    for row in range(DATA_LEN):
        feedback = _xor(data[row * count : (row + 1) * count], cells[:count])
        cells = _xor(cells[count:] + zero, b"".join(map(feedback.translate, tables)))
    return cells


def _xor(left: bytes, right: bytes) -> bytes:
    value = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return value.to_bytes(len(left), "little")


def _multiply(left: int, right: int) -> int:
    product = 0
    while right:
        if right & 1:
            product ^= left
        left = left << 1 ^ (_POLYNOMIAL if left & 0x80 else 0)
        right >>= 1
    return product


def _multiplication_table(factor: int) -> bytes:
    products = [0]
    for _ in range(8):
        products += [product ^ factor for product in products]
        factor = factor << 1 ^ (_POLYNOMIAL if factor & 0x80 else 0)
    return bytes(products)


def _generator() -> list[int]:
    """Coefficients of the product of (x - alpha^i) for i in 0..31, highest power first."""
    coefficients = [1]
    root = 1
    for _ in range(PARITY_LEN):
        shifted = [*coefficients, 0]
        for index, coefficient in enumerate(coefficients):
            shifted[index + 1] ^= _multiply(coefficient, root)
        coefficients = shifted
        root = _multiply(root, 2)
    return coefficients
