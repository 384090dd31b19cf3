"""An independent Reed-Solomon code: the arithmetic of `reedsolo`, byte by byte."""

from collections.abc import Callable

import pytest
import reedsolo

Reference = Callable[[list[bytes], int], list[bytes]]


@pytest.fixture(scope="session")
def reference() -> Reference:
    """Parity bodies from data bodies and a parity count."""
    reedsolo.init_tables(prim=0x11D)

    def encode(data: list[bytes], parity: int) -> list[bytes]:
        bodies = []
        for i in range(len(data), len(data) + parity):
            body = bytearray(len(data[0]))
            for j, shard in enumerate(data):
                factor = reedsolo.gf_inverse(i ^ j)
                for at, value in enumerate(shard):
                    body[at] ^= reedsolo.gf_mul(factor, value)
            bodies.append(bytes(body))
        return bodies

    return encode
