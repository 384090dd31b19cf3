"""Reed-Solomon coding of one geometry: k bodies in, m parity bodies out, and back."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ecfs.base.errors import Bug, Unreadable
from ecfs.base.limits import COLUMN_LEN_MAX, DECODE_TABLES_COUNT_MAX
from ecfs.base.memory import unwritten
from ecfs.erasure.galois import cauchy, combine, inverted
from ecfs.erasure.geometry import Geometry
from ecfs.erasure.native import BytesLike, Isal, Pinned, Tables, load_isal


class Code:
    """The code of one geometry. Thread-safe; native work runs without the GIL.

    Shards 0..k-1 are the data itself, k..k+m-1 are parity: row i of the matrix is
    a[i][j] = 1/(i^j) in GF(2^8) with polynomial 0x11d (a Cauchy matrix under the identity, as
    ISA-L's gf_gen_cauchy1_matrix makes it). All bodies of one call have the same length.
    """

    def __init__(self, geometry: Geometry, library: Isal | None = None) -> None:
        """EcfsError when ISA-L cannot be loaded."""
        self.geometry = geometry
        self._library = load_isal() if library is None else library
        self._rows = cauchy(geometry.data, geometry.parity)
        self._parity_tables = (
            self._library.tables(self._rows[geometry.data :]) if geometry.parity else None
        )
        self._decode_tables = lru_cache(DECODE_TABLES_COUNT_MAX)(self._make_decode_tables)

    def __repr__(self) -> str:
        return f"Code({self.geometry})"

    def encode(self, data: BytesLike, body_len: int) -> list[bytearray]:
        """The m parity bodies over `data`, one contiguous buffer of k * `body_len` bytes."""
        self._check(body_len, ())
        parity = [unwritten(body_len) for _ in range(self.geometry.parity)]
        with Pinned() as pinned:
            sources = self._sources(pinned, data, body_len)
            outputs = [pinned.address(body, body_len, writable=True) for body in parity]
            self._encode(sources, outputs, body_len)
        return parity

    def encode_into(self, data: BytesLike, parity: bytearray | memoryview, body_len: int) -> None:
        """Like `encode`, into one writable buffer of m * `body_len` bytes."""
        self._check(body_len, ())
        with Pinned() as pinned:
            sources = self._sources(pinned, data, body_len)
            start = pinned.address(parity, self.geometry.parity * body_len, writable=True)
            outputs = [start + i * body_len for i in range(self.geometry.parity)]
            self._encode(sources, outputs, body_len)

    def reconstruct(self, present: Mapping[int, BytesLike], wanted: Sequence[int],
                    body_len: int) -> dict[int, bytearray]:
        """Bodies of the `wanted` shards (data or parity), computed from k present ones.

        The k lowest indexes of `present` are used; with others at hand and not all of them right,
        the answer is wrong, so hand in verified bodies only. Unreadable with fewer than k.
        """
        wanted = tuple(dict.fromkeys(wanted))
        self._check(body_len, (*present, *wanted))
        if len(present) < self.geometry.data:
            raise Unreadable(f"{len(present)} good shards of {self.geometry.shards}, "
                             f"{self.geometry.data} are needed")
        if not wanted:
            return {}
        chosen = tuple(sorted(present)[: self.geometry.data])
        tables = self._decode_tables(chosen, wanted)
        bodies = {index: unwritten(body_len) for index in wanted}
        with Pinned() as pinned:
            sources = [pinned.address(present[index], body_len) for index in chosen]
            outputs = [pinned.address(body, body_len, writable=True) for body in bodies.values()]
            self._library.multiply(tables, sources, outputs, body_len)
        return bodies

    def _encode(self, sources: Sequence[int], outputs: Sequence[int], body_len: int) -> None:
        if self._parity_tables is not None:
            self._library.multiply(self._parity_tables, sources, outputs, body_len)

    def _sources(self, pinned: Pinned, data: BytesLike, body_len: int) -> list[int]:
        start = pinned.address(data, self.geometry.data * body_len)
        return [start + i * body_len for i in range(self.geometry.data)]

    def _check(self, body_len: int, indexes: Sequence[int]) -> None:
        if not 1 <= body_len <= COLUMN_LEN_MAX:
            raise Bug(f"a body cannot be {body_len} bytes long")
        for index in indexes:
            if not 0 <= index < self.geometry.shards:
                raise Bug(f"no shard {index} in {self.geometry}")

    def _make_decode_tables(self, chosen: tuple[int, ...], wanted: tuple[int, ...]) -> Tables:
        data_rows = inverted([self._rows[index] for index in chosen])
        return self._library.tables(
            [combine(self._rows[index], data_rows) for index in wanted])
