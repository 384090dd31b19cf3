"""Field arithmetic against `reedsolo`, and the matrix against ISA-L's own."""

import ctypes
import random

import pytest
import reedsolo

from ecfs.base.errors import Bug
from ecfs.erasure.galois import (
    MULTIPLES,
    add,
    cauchy,
    combine,
    identity,
    inverse,
    inverted,
)
from ecfs.erasure.native import library_paths


def test_every_product_and_inverse() -> None:
    reedsolo.init_tables(prim=0x11D)
    for a in range(256):
        for b in range(256):
            assert MULTIPLES[a][b] == reedsolo.gf_mul(a, b)
    for a in range(1, 256):
        assert inverse(a) == reedsolo.gf_inverse(a)
    with pytest.raises(Bug):
        inverse(0)


def test_rows_add_and_combine() -> None:
    assert add(b"\x00\x0f\xff", b"\x00\xf0\xff") == b"\x00\xff\x00"
    assert combine(b"\x01\x00\x02", [b"\x07\x01", b"\xff\xff", b"\x80\x01"]) == b"\x1a\x03"


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_an_inverse_undoes_its_matrix(size: int) -> None:
    chooser = random.Random(size)
    rows = cauchy(size, 8)
    for _ in range(20):
        matrix = [rows[i] for i in chooser.sample(range(size + 8), size)]
        undone = inverted(matrix)
        assert [combine(row, matrix) for row in undone] == identity(size)
        assert [combine(row, undone) for row in matrix] == identity(size)


def test_a_singular_matrix_is_a_bug() -> None:
    with pytest.raises(Bug, match="singular"):
        inverted([b"\x01\x02", b"\x02\x04"])


@pytest.mark.parametrize("data", range(1, 17))
def test_the_matrix_is_that_of_isal(data: int) -> None:
    for parity in range(9):
        native = (ctypes.c_ubyte * ((data + parity) * data))()
        ctypes.CDLL(library_paths()[-1]).gf_gen_cauchy1_matrix(native, data + parity, data)
        assert b"".join(cauchy(data, parity)) == bytes(native)
