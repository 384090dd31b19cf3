"""Reading extents: a bounded cache of extents and units, loads that are shared, reading ahead."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import trio

from ecfs.base.errors import Damage
from ecfs.base.limits import BLOCK_CACHE_LEN_MAX, STRIPE_PAYLOAD_MAX
from ecfs.content.index import StripeIndex
from ecfs.metadata import ContentTables, MapPiece
from ecfs.stripes import ShardFault, StripeRef, StripeStore, UnitRun
from ecfs.targets import Buffer

READ_AHEAD_LEN = 2 * STRIPE_PAYLOAD_MAX
WHOLE_EXTENT_LEN = 256 * 1024
STREAMS_MAX = 1024
STREAM_READS_MIN = 2
LONG_READ_LEN = 64 * 1024
LOADS_MAX = 8

CacheKey = int | tuple[int, int]
"""An extent, or a unit: its stripe and its nonce there. What lies in a stripe never changes."""

Mender = Callable[[StripeRef, Sequence[ShardFault]], None]


class ExtentReader:
    """Bytes of extents. `mend` is told of damage that a read met; it must not block."""

    def __init__(self, tables: ContentTables, index: StripeIndex, store: StripeStore,
                 nursery: trio.Nursery, *, cache_len: int = BLOCK_CACHE_LEN_MAX) -> None:
        self._tables = tables
        self._index = index
        self._store = store
        self._nursery = nursery
        self._cache_len_max = cache_len
        self._cache: OrderedDict[CacheKey, Buffer] = OrderedDict()
        self._cache_len = 0
        self._loads: dict[int, trio.Event] = {}
        self._ahead: OrderedDict[int, int] = OrderedDict()
        self._streams: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self.mend: Mender = lambda ref, faults: None

    def is_sequential(self, inode: int, offset: int, length: int) -> bool:
        """Whether the file is being read from one end to the other, give or take a window.

        The kernel's own read-ahead asks for much, and out of order; who asks for little must go on
        where the last read was twice, lest a read here and there load whole stripes.
        """
        last, count = self._streams.get(inode, (0, 0))
        near = last - STRIPE_PAYLOAD_MAX <= offset <= last + STRIPE_PAYLOAD_MAX
        count = count + 1 if near else 0
        self._streams[inode] = offset + length, count
        self._streams.move_to_end(inode)
        if len(self._streams) > STREAMS_MAX:
            self._streams.popitem(last=False)
        return near and (length >= LONG_READ_LEN or count >= STREAM_READS_MIN)

    async def read_piece(self, piece: MapPiece, low: int, high: int, *, whole: bool) -> Buffer:
        """Bytes [low, high) of a map piece, counted in the file. Damage when they are lost.

        A view where that spares a copy: what it shows never changes.
        """
        first = low - piece.offset + piece.extent_offset
        last = high - piece.offset + piece.extent_offset
        cached = await self._cached(piece)
        if cached is None and (whole or piece.extent_len <= WHOLE_EXTENT_LEN):
            try:
                cached = await self._load(piece)
            except Damage:
                # Some of the extent is lost; what was asked for need not be.
                pass
        if cached is not None:
            return memoryview(cached)[first:last]
        data, skip = await self._fetch(piece, first, last)
        return memoryview(data)[skip : skip + last - first]

    def read_now(self, piece: MapPiece, low: int, high: int) -> Buffer | None:
        """As `read_piece`, if what it needs is in memory, here or below: the whole extent where
        that is short, else one unit of it.

        Whatever is wrong is found again, and told, by who may wait.
        """
        if piece.stripe is None or piece.extent in self._loads:
            return None
        first = low - piece.offset + piece.extent_offset
        last = high - piece.offset + piece.extent_offset
        extent = self._known(piece.extent)
        if extent is not None:
            return memoryview(extent)[first:last]
        short = piece.extent_len <= WHOLE_EXTENT_LEN
        begin, end = (0, piece.extent_len) if short else (first, last)
        try:
            ref = self._index.ref(piece.stripe)
            units, skip = self._store.layout(ref).units_within(piece.start, piece.extent_len,
                                                               begin, end)
        except Damage:
            return None
        key = piece.extent if short else _unit_key(piece.stripe, units)
        found = None if key is None else self._known(key)
        if found is None and key is not None:
            found = self._store.read_now(ref, units)
            if found is not None:
                self.remember(key, found)
        skip += first - begin
        return None if found is None else memoryview(found)[skip : skip + last - first]

    def _known(self, key: CacheKey) -> Buffer | None:
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
        return found

    async def _cached(self, piece: MapPiece) -> Buffer | None:
        if piece.stripe is None:
            if piece.start is None:
                raise Damage(f"extent {piece.extent} is not in the metadata")
            return self._tables.inline_data(piece.extent)
        while (event := self._loads.get(piece.extent)) is not None:
            await event.wait()
        return self._known(piece.extent)

    async def _load(self, piece: MapPiece) -> Buffer:
        event = self._loads[piece.extent] = trio.Event()
        try:
            data, _ = await self._fetch(piece, 0, piece.extent_len)
            self.remember(piece.extent, data)
        finally:
            del self._loads[piece.extent]
            event.set()
        return data

    def remember(self, key: CacheKey, data: Buffer) -> None:
        """Cache a whole extent, or a unit; the oldest go when there is no room."""
        if key in self._cache or len(data) > self._cache_len_max:
            return
        self._cache[key] = data
        self._cache_len += len(data)
        while self._cache_len > self._cache_len_max:
            _, dropped = self._cache.popitem(last=False)
            self._cache_len -= len(dropped)

    async def _fetch(self, piece: MapPiece, first: int, last: int) -> tuple[Buffer, int]:
        """Units that hold bytes [first, last) of the extent; retried once if it moved meanwhile."""
        stripe, start = piece.stripe, piece.start
        for attempt in (1, 2):
            try:
                if stripe is None:
                    return self._tables.inline_data(piece.extent), first
                return await self._fetch_from(stripe, start, piece.extent_len, first, last)
            except Damage:
                row = self._tables.extent(piece.extent)
                if attempt == 2 or row is None or (row.stripe, row.start) == (stripe, start):
                    raise
                stripe, start = row.stripe, row.start
        raise AssertionError("unreachable")

    async def _fetch_from(self, stripe: int, start: int, extent_len: int, first: int,
                          last: int) -> tuple[Buffer, int]:
        ref = self._index.ref(stripe)
        units, skip = self._store.layout(ref).units_within(start, extent_len, first, last)
        key = _unit_key(stripe, units)
        if key is not None and (found := self._known(key)) is not None:
            return found, skip
        result = await self._store.read(ref, units)
        if result.faults:
            self.mend(ref, result.faults)
        if key is not None and units[0].length < extent_len:
            self.remember(key, result.data)
        return result.data, skip

    def read_ahead(self, inode: int, offset: int) -> None:
        """Begin to load what a sequential reader wants next; drops the wish when busy."""
        ahead = self._ahead.get(inode, 0)
        if offset + READ_AHEAD_LEN // 2 <= ahead <= offset + READ_AHEAD_LEN:
            return
        self._ahead[inode] = offset + READ_AHEAD_LEN
        self._ahead.move_to_end(inode)
        if len(self._ahead) > STREAMS_MAX:
            self._ahead.popitem(last=False)
        for piece in self._tables.pieces(inode, offset, offset + READ_AHEAD_LEN, limit=64):
            if len(self._loads) >= LOADS_MAX:
                return
            if piece.stripe is None or piece.extent in self._cache or piece.extent in self._loads:
                continue
            self._loads[piece.extent] = trio.Event()
            self._nursery.start_soon(self._load_ahead, piece)

    async def _load_ahead(self, piece: MapPiece) -> None:
        event = self._loads[piece.extent]
        try:
            data, _ = await self._fetch(piece, 0, piece.extent_len)
            self.remember(piece.extent, data)
        except Damage:
            # Nobody has asked for these bytes yet; whoever does gets the error.
            return
        finally:
            del self._loads[piece.extent]
            event.set()


def _unit_key(stripe: int, units: Sequence[UnitRun]) -> CacheKey | None:
    """Of a single unit: who reads here and there comes back to one that is longer than a page."""
    single = len(units) == 1 and units[0].length <= units[0].unit_len
    return (stripe, units[0].nonce) if single else None
