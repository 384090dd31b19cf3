"""Arithmetic in GF(2^8) with the polynomial x^8+x^4+x^3+x^2+1 (0x11d), on rows of bytes.

Addition is xor. A row is multiplied by a constant with `bytes.translate`, so that a matrix of
sixteen rows is inverted in well under a millisecond without any native code.
"""

from collections.abc import Sequence

from ecfs.base.errors import Bug

POLYNOMIAL = 0x11D


def add(row: bytes, other: bytes) -> bytes:
    """The sum of two rows of one length."""
    total = int.from_bytes(row, "big") ^ int.from_bytes(other, "big")
    return total.to_bytes(len(row), "big")


def _multiples() -> tuple[bytes, ...]:
    """Row c holds c*x for every x. Multiplication is linear in c, so rows are sums of rows."""
    double = bytes((x << 1) ^ (POLYNOMIAL if x & 0x80 else 0) for x in range(256))
    rows = [bytes(256), bytes(range(256))]
    for c in range(2, 256):
        half = rows[c // 2].translate(double)
        rows.append(add(half, rows[1]) if c & 1 else half)
    return tuple(rows)


MULTIPLES = _multiples()
INVERSES = bytes([0]) + bytes(row.index(1) for row in MULTIPLES[1:])


def inverse(value: int) -> int:
    """1/value; a Bug for zero."""
    if value == 0:
        raise Bug("zero has no inverse")
    return INVERSES[value]


def combine(factors: bytes, rows: Sequence[bytes]) -> bytes:
    """The sum of factor times row, one factor for each row."""
    total = bytes(len(rows[0]))
    for factor, row in zip(factors, rows, strict=True):
        if factor:
            total = add(total, row.translate(MULTIPLES[factor]))
    return total


def inverted(matrix: Sequence[bytes]) -> list[bytes]:
    """The inverse of a square matrix, by Gauss-Jordan elimination; a Bug when it is singular."""
    size = len(matrix)
    rows = [row + unit for row, unit in zip(matrix, identity(size), strict=True)]
    for column in range(size):
        pivot_at = next((i for i in range(column, size) if rows[i][column]), None)
        if pivot_at is None:
            raise Bug("singular matrix")
        pivot = rows[pivot_at]
        pivot = pivot.translate(MULTIPLES[INVERSES[pivot[column]]])
        rows[pivot_at] = rows[column]
        for i, row in enumerate(rows):
            if row[column] and i != column:
                rows[i] = add(row, pivot.translate(MULTIPLES[row[column]]))
        rows[column] = pivot
    return [row[size:] for row in rows]


def identity(size: int) -> list[bytes]:
    """The identity matrix."""
    return [bytes(int(i == j) for j in range(size)) for i in range(size)]


def cauchy(data: int, parity: int) -> list[bytes]:
    """All rows of the code: the identity, then a[i][j] = 1/(i^j) for i from data on.

    Any `data` of its rows are independent, because every square part of a Cauchy matrix is
    regular; i^j is never zero since i >= data > j.
    """
    rows = identity(data)
    rows.extend(bytes(inverse(i ^ j) for j in range(data)) for i in range(data, data + parity))
    return rows
