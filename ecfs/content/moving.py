"""Writing extents anew elsewhere: what commits carried, what is compacted, what can be rescued."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ecfs.base.errors import Damage
from ecfs.base.limits import (
    EXTENTS_PER_STRIPE_MAX,
    STRIPE_CONTENT_LEN_MAX,
    STRIPE_DIRECTORY_MAX,
    STRIPE_PAYLOAD_MAX,
)
from ecfs.base.units import BLOCK_LEN
from ecfs.content.entering import Move
from ecfs.content.flusher import Flusher
from ecfs.content.index import StripeIndex
from ecfs.formats import POSITION_MAX, ExtentNote, decode_directory
from ecfs.metadata import ContentTables, ExtentRow
from ecfs.stripes import ShardFault, StripeRef, StripeStore
from ecfs.targets import Buffer

MOVES_AT_ONCE = 256
SHOWN_ROWS_MAX = 16 * EXTENTS_PER_STRIPE_MAX
RUNS_MAX = EXTENTS_PER_STRIPE_MAX // 2
NOTE_LEN = 96
"""About what an extent costs besides its bytes: its note, and tags of units."""


@dataclass(slots=True)
class MovedOut:
    """What came of moving stripes: bytes that were written anew; stripes that are left as they are,
    since next to nothing is gained by them; those that cannot be read, and why."""

    moved_len: int = 0
    kept: list[int] = field(default_factory=list)
    unreadable: dict[int, Damage] = field(default_factory=dict)


class Mover:
    """Moves extents of one mounted volume. `mend` is told of damage that is met."""

    def __init__(self, tables: ContentTables, index: StripeIndex, store: StripeStore,
                 flusher: Flusher,
                 mend: Callable[[StripeRef, Sequence[ShardFault]], None]) -> None:
        self._tables = tables
        self._index = index
        self._store = store
        self._flusher = flusher
        self._mend = mend

    async def move_inline(self) -> None:
        """Content that a commit carried in the database goes into stripes."""
        while rows := self._tables.inline_extents(limit=MOVES_AT_ONCE):
            moves: list[Move] = []
            length = 0
            for extent, inode, offset, order, data in rows:
                if moves and length + len(data) > STRIPE_PAYLOAD_MAX:
                    break
                length += len(data)
                moves.append(Move(extent, data, self._flusher.note(inode, offset, order=order)))
            await self._flusher.move(moves)

    async def move_out(self, stripe_ids: Iterable[int], *, reserve: bool = False,
                       gain_percent_min: int | None = None,
                       length_max: int | None = None) -> MovedOut:
        """Move what lives in these stripes elsewhere, with `reserve` also into the room that is
        kept: of an extent that is partly dead only what lives, where one file shows that.

        With `gain_percent_min` those are left alone, each or all together, that would take nearly
        as much room again. At most `length_max` bytes are moved: extents that come after stay.
        Those that cannot be read are left.
        """
        done = MovedOut()
        moves: list[Move] = []
        tried = []
        freed_len = 0
        for stripe_id in stripe_ids:
            try:
                room_len, found = await self._moves_of(stripe_id)
            except Damage as damage:
                if self._tables.extents_of(stripe_id):
                    # Else it died while it was read, and may have been given back since.
                    done.unreadable[stripe_id] = damage
                continue
            if not found:
                continue
            if gain_percent_min is not None and (
                    _room_of(found) * 100 > room_len * (100 - gain_percent_min)):
                done.kept.append(stripe_id)
                continue
            tried.append(stripe_id)
            freed_len += room_len
            moves += found
        chosen = _first(moves, length_max)
        groups = list(_grouped(chosen))
        if gain_percent_min is not None and tried and len(chosen) == len(moves):
            # Each new stripe has its padding.
            data = self._store.content_geometry.data
            taken_len = _room_of(moves) + len(groups) * data * BLOCK_LEN
            if taken_len * 100 > freed_len * (100 - gain_percent_min):
                done.kept += tried
                return done
        for group in groups:
            await self._flusher.move(group, reserve=reserve)
            done.moved_len += sum(len(move.data) for move in group)
        return done

    async def rescue(self, stripe_id: int, *, move: bool) -> set[int]:
        """What still reads of a stripe that lost more than its parity: with `move` it is written
        anew elsewhere. Inodes of the files of which bytes are lost."""
        shown: dict[int, list[tuple[int, int]]] = {}
        for number, inode, offset in self._tables.shown_of_stripe(stripe_id, SHOWN_ROWS_MAX):
            shown.setdefault(number, []).append((inode, offset))
        extents = self._tables.extents_of(stripe_id)
        if not extents:
            return set()
        ref = self._index.ref(stripe_id)
        lost: set[int] = set()
        moves = []
        for extent in extents:
            places = shown.get(extent.id, [(0, 0)])
            try:
                units = self._store.layout(ref).units_of(extent.start, extent.length)
                data = (await self._store.read(ref, units)).data
            except Damage:
                left = self._tables.extent(extent.id)
                if left is not None and left.stripe == stripe_id:
                    # Else it died, or moved, while it was read.
                    lost |= {inode for inode, _ in places}
            else:
                moves.append(Move(extent.id, data, self._flusher.note(*places[0])))
        if moves and move:
            await self._flusher.move(moves)
        return lost - {0}

    async def _moves_of(self, stripe_id: int) -> tuple[int, list[Move]]:
        """What a stripe takes of content's room, and what is to be written of it."""
        extents = self._tables.extents_of(stripe_id)
        if not extents:
            return 0, []
        ref = self._index.ref(stripe_id)
        layout = self._store.layout(ref)
        head, directory = await self._store.read_directory(ref)
        notes = {note.start: note for note in decode_directory(directory)}
        moves: list[Move] = []
        for extent in extents:
            result = await self._store.read(ref, layout.units_of(extent.start, extent.length))
            if result.faults:
                self._mend(ref, result.faults)
            note = notes.get(extent.start, self._flusher.note(0, 0))
            note = note._replace(order=note.order or head.order)
            moves += self._cut(extent, result.data, note)
        return ref.body_len * ref.segment.data, moves

    def _cut(self, extent: ExtentRow, data: Buffer, note: ExtentNote) -> list[Move]:
        """What is to be written of an extent: the runs of it that the file shows for which it was
        written, if nothing else shows any of it and some is dead; else all of it."""
        if extent.live < extent.length and note.inode:
            runs: list[tuple[int, int]] = []
            for _, length, low in self._tables.runs_shown(note.inode, note.offset, extent.id,
                                                          extent.length):
                if runs and runs[-1][1] == low:
                    runs[-1] = runs[-1][0], low + length
                else:
                    runs.append((low, low + length))
            if 0 < len(runs) <= RUNS_MAX and (
                    sum(high - low for low, high in runs) == extent.live):
                view = memoryview(data)
                return [Move(extent.id, view[low:high],
                             note._replace(offset=note.offset + low, length=high - low), low)
                        for low, high in runs]
        return [Move(extent.id, data, note)]


def _room_of(moves: list[Move]) -> int:
    """About what these take in a stripe."""
    return sum(len(move.data) + NOTE_LEN + len(move.note.name) for move in moves)


def _by_extent(moves: list[Move]) -> Iterator[list[Move]]:
    """The moves of one extent after the other: they go into one stripe, or none."""
    group: list[Move] = []
    for move in moves:
        if group and group[0].extent != move.extent:
            yield group
            group = []
        group.append(move)
    if group:
        yield group


def _first(moves: list[Move], length_max: int | None) -> list[Move]:
    """Those of the first extents that are not longer than `length_max` together."""
    if length_max is None:
        return moves
    chosen: list[Move] = []
    left = length_max
    for group in _by_extent(moves):
        left -= _room_of(group)
        if left < 0:
            break
        chosen += group
    return chosen


def _grouped(moves: list[Move]) -> Iterator[list[Move]]:
    """Moves in stripes, within the limits of payload and directory."""
    stripe: list[Move] = []
    payload_len = directory_len = 0
    for group in _by_extent(moves):
        length = sum(len(move.data) for move in group)
        notes_len = sum(move.note.of_place(POSITION_MAX, len(move.data),
                                           move.note.offset).packed_len for move in group)
        if stripe and (payload_len + length > STRIPE_CONTENT_LEN_MAX
                       or directory_len + notes_len > STRIPE_DIRECTORY_MAX - BLOCK_LEN
                       or len(stripe) + len(group) >= EXTENTS_PER_STRIPE_MAX):
            yield stripe
            stripe, payload_len, directory_len = [], 0, 0
        stripe += group
        payload_len += length
        directory_len += notes_len
    if stripe:
        yield stripe
