"""Rows of what is durable: extents, maps and sizes, entered into the open transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ecfs.base.errors import Damage, FsError
from ecfs.base.ids import InodeId
from ecfs.base.rope import copied
from ecfs.content.index import StripeIndex
from ecfs.content.lateness import note_behind
from ecfs.content.state import FileState, InodeTable, Piece
from ecfs.formats import ExtentNote, SegmentEntry
from ecfs.metadata import (
    ContentTables,
    Database,
    ExtentRow,
    Hidden,
    LiveRun,
    NewPiece,
    StripeRow,
)
from ecfs.stripes import StripeStore, Written
from ecfs.targets import Buffer


@dataclass(frozen=True, slots=True)
class Move:
    """An extent that is written anew elsewhere; `note` as the stripe's directory will have it.

    `low`: only a run of it, which begins so far in; all live runs of an extent follow one another
    in one stripe, and each is an extent of its own afterwards. None: all of it, as it is.
    """

    extent: int
    data: Buffer
    note: ExtentNote
    low: int | None = None


class RowEntry:
    """Enters the rows of pieces in the order in which their bytes were taken.

    `stuck`: files whose rows cannot be entered, for a page of the database that they need is lost.
    Their pieces are left out, so that the rows of all other files come in; none of a file is
    entered while an older one is left out. `birth` is the commit in which extents are born.
    """

    def __init__(self, database: Database, tables: ContentTables, index: StripeIndex,
                 store: StripeStore, inodes: InodeTable, states: Mapping[int, FileState],
                 birth: Callable[[], int]) -> None:
        self._database = database
        self._tables = tables
        self._index = index
        self._store = store
        self._inodes = inodes
        self._states = states
        self._birth = birth
        self.stuck: dict[int, Damage] = {}
        self._next_stripe, self._next_extent = tables.next_ids()

    def enter(self, groups: Sequence[list[Piece]], stripes: Sequence[Written]) -> None:
        """The rows of durable stripes, one for each group."""
        self._enter_segments(stripes)
        if not any(piece.inode in self.stuck for group in groups for piece in group):
            try:
                self._enter_all(groups, stripes, apart=False)
                return
            except (Damage, FsError):
                # Once more, each piece apart from the others.
                pass
        self._enter_all(groups, stripes, apart=True)

    def _enter_all(self, groups: Sequence[list[Piece]], stripes: Sequence[Written], *,
                   apart: bool) -> None:
        hidden: list[Hidden] | None = None if apart else []
        with self._database.change():
            for group, stripe in zip(groups, stripes, strict=True):
                self._enter_stripe(group, stripe, hidden)
            if hidden:
                # Many small writes into one old extent reduce it once.
                self._tables.reduce_extents(hidden)

    def enter_inline(self, pieces: Sequence[Piece]) -> None:
        """Pieces as rows of the database itself."""
        with self._database.change():
            for piece in pieces:
                if piece.limit:
                    self._apart(piece, self._enter_inline, piece)

    def enter_moved(self, moves: Sequence[Move], stripe: Written) -> None:
        """These extents lie in a durable stripe now."""
        self._enter_segments([stripe])
        with self._database.change():
            stripe_id = self._add_stripe(stripe, 0)
            any_moved = False
            for extent, group in groupby(zip(moves, stripe.starts, strict=True),
                                         lambda pair: pair[0].extent):
                pairs = list(group)
                if pairs[0][0].low is None:
                    moved = self._tables.move_extent(extent, stripe=stripe_id, start=pairs[0][1])
                else:
                    moved = self._enter_runs(extent, pairs, stripe_id)
                any_moved = any_moved or moved
            if not any_moved:
                self._tables.drop_stripe(stripe_id)

    def _enter_runs(self, extent: int, pairs: list[tuple[Move, int]], stripe_id: int) -> bool:
        """What lives of an extent, cut into extents of their own; False when it stays where it is:
        it is gone, or was copied meanwhile."""
        runs = []
        for move, start in pairs:
            runs.append(LiveRun(move.low or 0, len(move.data), self._next_extent, start))
            self._next_extent += 1
        first = pairs[0][0]
        left = self._tables.split_extent(
            extent, inode=first.note.inode, offset=first.note.offset - (first.low or 0),
            stripe=stripe_id, runs=runs)
        if left is None:
            return False
        self._tables.forget_mapped_len(first.note.inode)
        self._tables.give_up(*left)
        return True

    def _enter_segments(self, stripes: Iterable[Written]) -> None:
        """By themselves: what comes after may be rolled back, and memory knows segments too.

        With who is behind: `missed` goes with a stripe's row, which may be gone before this is
        committed, while its shards are compared for as long as the segment is there.
        """
        for stripe in stripes:
            self._store.fleet.note_missed(stripe.missed)
            with self._database.change():
                note_behind(self._store.fleet, self._tables, self._database)
                self.enter_segment(stripe)

    def _enter_stripe(self, group: list[Piece], stripe: Written,
                      hidden: list[Hidden] | None) -> None:
        live = sum(piece.limit for piece in group)
        if not live:
            return
        stripe_id = self._add_stripe(stripe, live)
        pairs = [(piece, start) for piece, start in zip(group, stripe.starts, strict=True)
                 if piece.limit]
        if hidden is not None:
            self._enter_together(pairs, stripe_id, hidden)
            return
        for piece, start in pairs:
            if not self._apart(piece, self._enter_piece, piece, stripe_id, start):
                self._tables.give_up(stripe_id, piece.limit)

    def _enter_together(self, pairs: list[tuple[Piece, int]], stripe_id: int,
                        hidden: list[Hidden]) -> None:
        first, self._next_extent = self._next_extent, self._next_extent + len(pairs)
        self._tables.add_extents(
            [(extent, stripe_id, start, len(piece.data), piece.limit)
             for extent, (piece, start) in enumerate(pairs, first)], birth=self._birth())
        ends: dict[int, int] = {}
        run: list[NewPiece] = []
        inode = end = 0
        for extent, (piece, _) in enumerate(pairs, first):
            if run and (piece.inode != inode or piece.offset < end):
                # Of another file, or over what came before.
                self._tables.map_pieces(inode, run, hidden)
                run = []
            run.append((piece.offset, piece.limit, extent))
            inode, end = piece.inode, piece.end
            ends[inode] = max(ends.get(inode, 0), end)
        self._tables.map_pieces(inode, run, hidden)
        for inode, end in ends.items():
            self._enter_size(inode, end)

    def _apart(self, piece: Piece, enter: Callable[..., None], *args: object) -> bool:
        """Enter one piece; False when it is left out."""
        if piece.inode in self.stuck:
            return False
        try:
            with self._database.change():
                enter(*args)
        except (Damage, FsError) as error:
            self.stuck[piece.inode] = error if isinstance(error, Damage) else (
                Damage(f"inode {piece.inode} is not in the metadata: {error}"))
            return False
        return True

    def _add_stripe(self, stripe: Written, live: int) -> int:
        entry = self.enter_segment(stripe)
        stripe_id, self._next_stripe = self._next_stripe, self._next_stripe + 1
        ref = stripe.ref
        self._tables.add_stripe(StripeRow(stripe_id, entry.id, ref.offset, ref.body_len, ref.salt,
                                          ref.digest, live))
        self._tables.add_missed(stripe_id, stripe.missed)
        return stripe_id

    def _enter_piece(self, piece: Piece, stripe_id: int, start: int) -> None:
        extent, self._next_extent = self._next_extent, self._next_extent + 1
        self._tables.add_extent(ExtentRow(extent, stripe_id, start, len(piece.data), piece.limit),
                                birth=self._birth())
        self._tables.map_range(piece.inode, piece.offset, piece.limit, extent)
        self._enter_size(piece.inode, piece.end)

    def _enter_inline(self, piece: Piece) -> None:
        extent, self._next_extent = self._next_extent, self._next_extent + 1
        self._tables.add_inline(
            extent, copied(piece.data, 0, piece.limit), inode=piece.inode, offset=piece.offset,
            order=piece.order, birth=self._birth())
        self._enter_size(piece.inode, piece.end)

    def _enter_size(self, number: int, end: int) -> None:
        """The file reaches at least to `end`: bytes before it are in the map."""
        inode = InodeId(number)
        state = self._states[number]
        size = max(self._inodes.size_of(inode), end)
        self._inodes.settle(inode, size=size, mtime_ns=state.mtime_ns, ctime_ns=state.ctime_ns)

    def enter_segment(self, stripe: Written) -> SegmentEntry:
        """The segment of a durable stripe reaches at least to its end."""
        segment = stripe.ref.segment
        length = stripe.ref.offset + stripe.ref.record_len
        known = self._index.segments.get(segment.id)
        if known is not None and known.length >= length:
            return known
        entry = SegmentEntry(segment.id, segment.epoch, segment.data, segment.parity,
                             known.columns if known else segment.columns, length)
        self._tables.put_segment(entry)
        self._index.put_segment(entry)
        return entry
