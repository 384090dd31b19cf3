"""Versions of the database's pages: what is committed, what changed, and where the rest lies.

Between two checkpoints changed pages live in `overlay`; everything else is read from metadata
stripes through the page map. A page in the map is a 64-bit place: stripe number << 32 | position,
0 for a page that no stripe holds.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ecfs.base.errors import Damage
from ecfs.base.limits import PAGE_CACHE_LEN_MAX
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import PageDelta
from ecfs.metadata.deltas import decode_delta, encode_delta

CHUNK_PLACES = 4096
CHUNK_LEN = CHUNK_PLACES * 8
_ZERO_PAGE = bytes(BLOCK_LEN)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one SQLite transaction changed: deltas in page order, and the length afterwards."""

    deltas: tuple[PageDelta, ...]
    page_count: int


class PageMap:
    """Page number (from 1) -> place. Chunks that changed since `clean` are remembered."""

    def __init__(self) -> None:
        self._places = array("Q")
        self.changed: set[int] = set()

    @classmethod
    def from_chunks(cls, chunks: Iterable[bytes], page_count: int) -> "PageMap":
        """The map that `chunk` made; Damage when it is too short."""
        page_map = cls()
        for chunk in chunks:
            if len(chunk) > CHUNK_LEN or len(chunk) % 8 or len(page_map) % CHUNK_PLACES:
                raise Damage("a chunk of the page map has a wrong length")
            places = array("Q")
            places.frombytes(chunk)
            page_map._places.extend(places)
        if len(page_map._places) < page_count:
            raise Damage("the page map is too short")
        del page_map._places[page_count:]
        return page_map

    def __len__(self) -> int:
        return len(self._places)

    def place(self, page: int) -> int:
        """Where a page lies, 0 when no stripe holds it."""
        return self._places[page - 1] if page <= len(self._places) else 0

    def set_place(self, page: int, place: int) -> None:
        """Note that a page lies elsewhere from now on."""
        if page > len(self._places):
            # The last chunk grows, even where none of its own pages is placed.
            self.changed.update(range(len(self._places) // CHUNK_PLACES, page // CHUNK_PLACES))
            self._places.extend([0] * (page - len(self._places)))
        self._places[page - 1] = place
        self.changed.add((page - 1) // CHUNK_PLACES)

    def truncate(self, page_count: int) -> None:
        """Forget pages past the end."""
        if page_count < len(self._places):
            for chunk in range(page_count // CHUNK_PLACES, self.chunks_count()):
                self.changed.add(chunk)
            del self._places[page_count:]

    def chunks_count(self) -> int:
        """How many chunks the map has."""
        return -(-len(self._places) // CHUNK_PLACES)

    def chunk(self, number: int) -> bytes:
        """Bytes of a chunk: native array of unsigned 64-bit little-endian places."""
        return self._places[number * CHUNK_PLACES : (number + 1) * CHUNK_PLACES].tobytes()

    def live_pages(self) -> dict[int, int]:
        """How many pages each metadata stripe still holds."""
        counts: dict[int, int] = {}
        for place in self._places:
            if place:
                counts[place >> 32] = counts.get(place >> 32, 0) + 1
        return counts

    def pages_in(self, stripes: set[int]) -> list[int]:
        """Pages that lie in one of these stripes."""
        return [number for number, place in enumerate(self._places, 1) if place >> 32 in stripes]


class PageStore:
    """Committed pages and the batch that SQLite is writing. Used by one thread.

    `load` reads a page from a metadata stripe, given its place; it raises Damage and nothing else
    when it cannot.
    """

    def __init__(self, load: Callable[[int], bytes],
                 cache_len: int = PAGE_CACHE_LEN_MAX // 4) -> None:
        self._load = load
        self._cache_pages_max = cache_len // BLOCK_LEN
        self._clean: OrderedDict[int, bytes] = OrderedDict()
        self._batch: dict[int, bytes] = {}
        self._batch_count: int | None = None
        self.overlay: dict[int, bytes] = {}
        self.page_count = 0
        self.map = PageMap()
        self.damage: Damage | None = None
        self.frozen: list[Batch] = []

    def read(self, page: int) -> bytes:
        """The page as SQLite sees it. Damage when no stripe yields it."""
        if (data := self._batch.get(page)) is not None:
            return data
        return self.committed(page)

    def committed(self, page: int) -> bytes:
        """The page as of the last commit."""
        if (data := self.overlay.get(page)) is not None:
            return data
        if (data := self._clean.get(page)) is not None:
            self._clean.move_to_end(page)
            return data
        place = self.map.place(page)
        if not place:
            # SQLite leaves out pages that were freed before they were ever written.
            return _ZERO_PAGE
        data = self._load(place)
        self.remember(page, data)
        return data

    def remember(self, page: int, data: bytes) -> None:
        """Cache a page that equals what its stripe holds."""
        self._clean[page] = data
        if len(self._clean) > self._cache_pages_max:
            self._clean.popitem(last=False)

    @property
    def length(self) -> int:
        """Length of the database in bytes, as SQLite sees it."""
        count = self.page_count if self._batch_count is None else self._batch_count
        return count * BLOCK_LEN

    def write(self, page: int, data: bytes) -> None:
        """SQLite writes a whole page of the transaction that it is committing."""
        self._batch[page] = data
        count = self.page_count if self._batch_count is None else self._batch_count
        self._batch_count = max(count, page)

    def truncate(self, page_count: int) -> None:
        """SQLite shortens the database."""
        self._batch_count = page_count
        self._batch = {page: data for page, data in self._batch.items() if page <= page_count}

    def abandon(self) -> None:
        """The transaction was rolled back after it had written."""
        self._batch = {}
        self._batch_count = None

    def freeze(self) -> None:
        """The transaction is committed as far as SQLite goes: make its deltas."""
        if self._batch_count is None:
            return
        deltas = [self._delta(page, data) for page, data in sorted(self._batch.items())]
        self.overlay.update(self._batch)
        self.page_count = self._batch_count
        self._cut()
        self.frozen.append(Batch(tuple(deltas), self.page_count))
        self.abandon()

    def take_frozen(self) -> list[Batch]:
        """Batches that no record holds yet; the caller takes over."""
        frozen, self.frozen = self.frozen, []
        return frozen

    def _delta(self, page: int, data: bytes) -> PageDelta:
        try:
            before = self.committed(page) if page <= self.page_count else None
        except Damage:
            before = None
        return encode_delta(page, before, data)

    def apply(self, deltas: Iterable[PageDelta], page_count: int) -> None:
        """Replay a record. Damage when a delta does not fit its page."""
        for delta in deltas:
            before = self.committed(delta.page) if delta.based else None
            self.overlay[delta.page] = decode_delta(delta, before)
        self.page_count = page_count
        self._cut()

    def _cut(self) -> None:
        for page in [page for page in self.overlay if page > self.page_count]:
            del self.overlay[page]
        for page in [page for page in self._clean if page > self.page_count]:
            del self._clean[page]

    def settle(self, places: dict[int, tuple[bytes, int]]) -> None:
        """A checkpoint is durable: pages (content, place) now lie in stripes.

        A page that changed since stays in the overlay; its place in the map is the checkpoint's.
        """
        for page, (data, place) in places.items():
            if page > self.page_count:
                continue
            self.map.set_place(page, place)
            if self.overlay.get(page) is data:
                del self.overlay[page]
                self.remember(page, data)
            elif page in self._clean:
                self._clean.pop(page)
