"""SQL for the bytes of files: maps, extents, stripes, segments, and who missed which shard.

Accounting: `extents.live` is how many bytes of an extent some file still shows; `stripes.live` is
the sum over a stripe's extents. An extent that nothing shows is deleted, and so is a stripe without
extents; its segment keeps the dead bytes until it is reclaimed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ecfs.base.errors import Bug, Damage
from ecfs.formats import SegmentEntry
from ecfs.metadata.database import Database, Row
from ecfs.metadata.dead import DeadSpace
from ecfs.metadata.dying import DyingFiles
from ecfs.metadata.inline import InlineExtents
from ecfs.metadata.mapped import MappedLens
from ecfs.metadata.mapping import TOGETHER_MIN, Hidden, NewPiece, map_together
from ecfs.metadata.missed import MissedShards
from ecfs.metadata.places import in_places
from ecfs.metadata.whole_maps import MapPiece, WholeMaps


@dataclass(frozen=True, slots=True)
class StripeRow:
    """A stripe of content as the database knows it."""

    id: int
    segment: int
    offset: int
    body_len: int
    salt: bytes
    digest: bytes
    live: int


NewExtent = tuple[int, int | None, int, int, int]
"""The fields of an `ExtentRow`, of which there are many at once."""


@dataclass(frozen=True, slots=True)
class ExtentRow:
    """An extent and where it lies."""

    id: int
    stripe: int | None
    start: int
    length: int
    live: int


class ContentTables(MissedShards, DyingFiles, InlineExtents, DeadSpace):
    """Statements over the content tables. Writers call them inside `database.change()`.

    `reduced_count` grows whenever bytes of a stripe die."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.mapped_lens = MappedLens(database)
        self._whole_maps = WholeMaps(database)
        self.reduced_count = 0

    def history_hash(self, seq: int) -> bytes | None:
        """The hash of an acknowledged commit, None for one that the history does not hold."""
        value = self._database.value("SELECT hash FROM history WHERE seq=?", (seq,))
        return value if isinstance(value, bytes) else None

    # -- segments and stripes ----------------------------------------------------------------

    def put_segment(self, entry: SegmentEntry) -> None:
        """Store a segment, or its new length and columns."""
        self._database.run(
            "INSERT INTO segments VALUES(?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET "
            "columns=excluded.columns, len=max(len, excluded.len)",
            (entry.id, entry.epoch, entry.data, entry.parity, b"".join(entry.columns),
             entry.length))

    def segments(self) -> list[SegmentEntry]:
        """All content segments; some thousands for a terabyte."""
        return [_segment(row) for row in self._database.rows(
            "SELECT id, epoch, data, parity, columns, len FROM segments ORDER BY id")]

    def segment(self, segment_id: int) -> SegmentEntry | None:
        """One segment."""
        row = self._database.one(
            "SELECT id, epoch, data, parity, columns, len FROM segments WHERE id=?", (segment_id,))
        return _segment(row) if row else None

    def drop_segment(self, segment_id: int) -> None:
        """Forget a segment without stripes."""
        self._database.run("DELETE FROM segments WHERE id=?", (segment_id,))

    def empty_segments(self) -> list[int]:
        """Segments in which no stripe is left."""
        return [row[0] for row in self._database.rows(
            "SELECT id FROM segments WHERE NOT EXISTS "
            "(SELECT 1 FROM stripes WHERE stripes.segment=segments.id)")]

    def live_by_segment(self) -> dict[int, int]:
        """Live bytes of every segment that has a stripe, those that files share counted once.

        Only where more is shown than a stripe holds are its extents looked at.
        """
        return dict(self._database.rows(
            "SELECT segment, SUM(CASE WHEN live > body_len THEN (SELECT SUM(min(e.live, e.len)) "
            "FROM extents e WHERE e.stripe = stripes.id) ELSE live END) FROM stripes "
            "GROUP BY segment"))

    def add_stripe(self, row: StripeRow) -> None:
        """Store a stripe that is durable."""
        self._database.run(
            "INSERT INTO stripes VALUES(?,?,?,?,?,?,?)",
            (row.id, row.segment, row.offset, row.body_len, row.salt, row.digest, row.live))

    def drop_stripe(self, stripe_id: int) -> None:
        """Forget a stripe in which nothing lives."""
        self._database.run("DELETE FROM stripes WHERE id=?", (stripe_id,))
        self._database.run("DELETE FROM missed WHERE stripe=?", (stripe_id,))

    def next_ids(self) -> tuple[int, int]:
        """Ids for the next stripe and the next extent; the caller counts on from there."""
        return (int(self._database.value("SELECT ifnull(max(id), 0) + 1 FROM stripes")),
                int(self._database.value("SELECT ifnull(max(id), 0) + 1 FROM extents")))

    def stripe(self, stripe_id: int) -> StripeRow:
        """One stripe; Damage when an extent names one that is not there."""
        row = self._database.one(
            "SELECT id, segment, offset, body_len, salt, digest, live FROM stripes WHERE id=?",
            (stripe_id,))
        if row is None:
            raise Damage(f"stripe {stripe_id} is not in the metadata")
        return StripeRow(*row)

    def stripes_of(self, segment_id: int) -> list[StripeRow]:
        """Stripes of a segment, in the order in which they lie."""
        return [StripeRow(*row) for row in self._database.rows(
            "SELECT id, segment, offset, body_len, salt, digest, live FROM stripes "
            "WHERE segment=? ORDER BY offset", (segment_id,))]

    def stripe_at(self, segment_id: int, offset: int) -> StripeRow | None:
        """The stripe at an address."""
        row = self._database.one(
            "SELECT id, segment, offset, body_len, salt, digest, live FROM stripes "
            "WHERE segment=? AND offset=?", (segment_id, offset))
        return StripeRow(*row) if row else None

    def stripes_count(self) -> int:
        """How many stripes of content there are."""
        return int(self._database.value("SELECT count(*) FROM stripes"))

    # -- extents and maps --------------------------------------------------------------------

    def add_extent(self, row: ExtentRow, *, birth: int) -> None:
        """Store an extent; `live` must equal the bytes that are mapped to it next."""
        self._database.run("INSERT INTO extents VALUES(?,?,?,?,?,?)",
                           (row.id, row.stripe, row.start, row.length, row.live, birth))

    def add_extents(self, rows: Sequence[NewExtent], *, birth: int) -> None:
        """As `add_extent`, of many."""
        self._database.run_many("INSERT INTO extents VALUES(?,?,?,?,?,?)",
                                [(*row, birth) for row in rows])

    def extents_of(self, stripe_id: int) -> list[ExtentRow]:
        """Extents in a stripe."""
        return [ExtentRow(*row) for row in self._database.rows(
            "SELECT id, stripe, start, len, live FROM extents WHERE stripe=? ORDER BY start",
            (stripe_id,))]

    def extent(self, extent_id: int) -> ExtentRow | None:
        """One extent."""
        row = self._database.one(
            "SELECT id, stripe, start, len, live FROM extents WHERE id=?", (extent_id,))
        return ExtentRow(*row) if row else None

    def move_extent(self, extent_id: int, *, stripe: int, start: int) -> bool:
        """An extent lies elsewhere now; False when it is gone meanwhile."""
        row = self._database.one("SELECT stripe, live FROM extents WHERE id=?", (extent_id,))
        if row is None:
            return False
        old_stripe, live = row
        self._database.run("UPDATE extents SET stripe=?, start=? WHERE id=?",
                           (stripe, start, extent_id))
        self._database.run("UPDATE stripes SET live=live+? WHERE id=?", (live, stripe))
        if old_stripe is None:
            self._database.run("DELETE FROM inline WHERE extent=?", (extent_id,))
        else:
            self._reduce_stripe(old_stripe, live)
        return True

    def map_range(self, inode: int, offset: int, length: int, extent: int,
                  hidden: list[Hidden] | None = None) -> None:
        """Bytes [offset, offset + length) of a file are the extent's first bytes from now on."""
        self.unmap_range(inode, offset, offset + length, hidden)
        self._database.run("INSERT INTO maps VALUES(?,?,?,?,?)", (inode, offset, length, extent, 0))

    def map_pieces(self, inode: int, pieces: Sequence[NewPiece], hidden: list[Hidden]) -> None:
        """As `map_range` of each piece, which lie in order and none over another."""
        if len(pieces) >= TOGETHER_MIN:
            self.forget_mapped_len(inode)
            if map_together(self._database, inode, pieces, hidden):
                return
        for offset, length, extent in pieces:
            self.map_range(inode, offset, length, extent, hidden)

    def unmap_range(self, inode: int, low: int, high: int,
                    hidden: list[Hidden] | None = None) -> None:
        """Bytes [low, high) of a file become a hole; extents that nothing shows are deleted, unless
        what is `hidden` is asked for: then the caller hands it to `reduce_extents`."""
        self.forget_mapped_len(inode)
        for offset, length, extent, extent_offset in self._rows_within(inode, low, high):
            end = offset + length
            cut_low, cut_high = max(offset, low), min(end, high)
            if offset < cut_low:
                self._database.run("UPDATE maps SET len=? WHERE inode=? AND offset=?",
                                   (cut_low - offset, inode, offset))
            else:
                self._database.run("DELETE FROM maps WHERE inode=? AND offset=?", (inode, offset))
            if cut_high < end:
                self._database.run("INSERT INTO maps VALUES(?,?,?,?,?)", (
                    inode, cut_high, end - cut_high, extent, extent_offset + cut_high - offset))
            if hidden is None:
                self._reduce_extent(extent, cut_high - cut_low)
            else:
                hidden.append((cut_high - cut_low, extent))

    def unmap_some(self, inode: int, rows_max: int) -> bool:
        """Drop up to `rows_max` map rows of a file that is gone; True when none are left."""
        rows = self._database.rows(
            "SELECT offset, len, extent FROM maps WHERE inode=? ORDER BY offset DESC LIMIT ?",
            (inode, rows_max))
        if rows:
            self.forget_mapped_len(inode)
            self._database.run("DELETE FROM maps WHERE inode=? AND offset>=?", (inode, rows[-1][0]))
        self.reduce_extents((length, extent) for _, length, extent in rows)
        return len(rows) < rows_max

    def unmap_files(self, inodes: Sequence[int], rows_max: int) -> bool:
        """Drop all map rows of files that are gone; False, and nothing done, where there are more
        than `rows_max` of them."""
        rows = in_places(self._database,
                         "SELECT len, extent FROM maps WHERE inode IN {} "
                         f"LIMIT {rows_max + 1}", inodes)
        if len(rows) > rows_max:
            return False
        if rows:
            for inode in inodes:
                self.forget_mapped_len(inode)
            in_places(self._database, "DELETE FROM maps WHERE inode IN {}", inodes)
            self.reduce_extents(rows)
        return True

    def tail_offset(self, inode: int, low: int, rows_max: int) -> int | None:
        """Where the last `rows_max` map rows past `low` begin, None when there are not so many."""
        value = self._database.value(
            "SELECT offset FROM maps WHERE inode=? AND offset>=? ORDER BY offset DESC "
            "LIMIT 1 OFFSET ?", (inode, low, rows_max))
        return None if value is None else int(value)

    def pieces(self, inode: int, low: int, high: int, limit: int = -1) -> list[MapPiece]:
        """What [low, high) of a file is made of, in order; holes are left out.

        All of it, or the first `limit` pieces; there are at most `high - low`.
        """
        known = self._whole_maps.piece(inode, low, high)
        if known is not None:
            return [known]
        first = self._row_at(inode, low)
        if first is not None and low < high <= first[0] + first[1]:
            # All of it lies in one, as for most reads: half as dear to find.
            place = self._database.one("SELECT stripe, start, len FROM extents WHERE id=?",
                                       (first[2],))
            return [MapPiece._make(first + (place or (None, None, None)))]
        return [MapPiece._make(row) for row in self._database.rows(
            "SELECT m.offset, m.len, m.extent, m.extent_offset, e.stripe, e.start, e.len "
            "FROM maps m LEFT JOIN extents e ON e.id=m.extent WHERE m.inode=? AND m.offset<? "
            "AND m.offset>=ifnull((SELECT max(offset) FROM maps WHERE inode=? AND offset<=?), ?) "
            "AND m.offset+m.len>? ORDER BY m.offset LIMIT ?",
            (inode, high, inode, low, low, low, limit))]

    def _row_at(self, inode: int, low: int) -> Row | None:
        """`(offset, len, extent, extent_offset)` of the last map row that begins at `low` or
        before."""
        return self._database.one(
            "SELECT offset, len, extent, extent_offset FROM maps WHERE inode=? AND offset<=? "
            "ORDER BY offset DESC LIMIT 1", (inode, low))

    def _rows_within(self, inode: int, low: int, high: int) -> list[Row]:
        """Map rows that show any of [low, high), in order."""
        first = self._row_at(inode, low)
        end = low if first is None else first[0] + first[1]
        if first is not None and low < high <= end:
            return [first]
        rows = self._database.rows(
            "SELECT offset, len, extent, extent_offset FROM maps WHERE inode=? AND offset>? "
            "AND offset<? ORDER BY offset", (inode, low, high))
        return rows if first is None or end <= low else [first, *rows]

    def mapped_len(self, inode: int) -> int:
        """Bytes of a file that are not holes."""
        return self.mapped_lens.of(inode)

    def forget_mapped_len(self, inode: int) -> None:
        """The map of a file changes, or has changed."""
        self.mapped_lens.forget(inode)

    def add_inline(self, extent: int, data: bytes, *, inode: int, offset: int, order: int = 0,
                   birth: int) -> None:
        """Store an extent whose bytes are in the database, and show it in a file."""
        self.add_extent(ExtentRow(extent, None, 0, len(data), len(data)), birth=birth)
        self._database.run("INSERT INTO inline VALUES(?,?,?,?,?)",
                           (extent, inode, offset, order, data))
        self.map_range(inode, offset, len(data), extent)

    def _reduce_extent(self, extent: int, length: int) -> None:
        """As `reduce_extents` of one, which would make an overwrite a third slower (measured)."""
        gone = self._database.rows("DELETE FROM extents WHERE id=? AND live=? RETURNING stripe",
                                   (extent, length))
        if gone:
            stripe = gone[0][0]
            if stripe is None:
                self._database.run("DELETE FROM inline WHERE extent=?", (extent,))
        else:
            left = self._database.rows(
                "UPDATE extents SET live=live-? WHERE id=? RETURNING stripe, live",
                (length, extent))
            if not left:
                raise Damage(f"a file names extent {extent}, which is not in the metadata")
            stripe, live = left[0]
            if live < 0:
                raise Bug(f"extent {extent} would have negative live bytes")
        if stripe is not None:
            self._reduce_stripe(stripe, length)

    def reduce_extents(self, rows: Iterable[Hidden]) -> None:
        """So many bytes of these extents are shown no longer."""
        lengths: dict[int, int] = {}
        for length, extent in rows:
            lengths[extent] = lengths.get(extent, 0) + length
        known = {row[0]: row for row in in_places(
            self._database, "SELECT id, stripe, live FROM extents WHERE id IN {}", [*lengths])}
        gone, inline, stripes = [], [], dict[int, int]()
        for extent, length in lengths.items():
            if extent not in known:
                raise Damage(f"a file names extent {extent}, which is not in the metadata")
            _, stripe, live = known[extent]
            if live < length:
                raise Bug(f"extent {extent} would have negative live bytes")
            if live > length:
                self._database.run("UPDATE extents SET live=live-? WHERE id=?", (length, extent))
            else:
                gone.append(extent)
                if stripe is None:
                    inline.append(extent)
            if stripe is not None:
                stripes[stripe] = stripes.get(stripe, 0) + length
        in_places(self._database, "DELETE FROM extents WHERE id IN {}", gone)
        in_places(self._database, "DELETE FROM inline WHERE extent IN {}", inline)
        for stripe, length in stripes.items():
            self._reduce_stripe(stripe, length)

    def _reduce_stripe(self, stripe: int, length: int) -> None:
        self.reduced_count += 1
        left = self._database.rows("UPDATE stripes SET live=live-? WHERE id=? RETURNING live",
                                   (length, stripe))
        if left and left[0][0] <= 0:
            self.drop_stripe(stripe)

    def give_up(self, stripe: int, length: int) -> None:
        """So many live bytes of a stripe are shown by no file after all."""
        self._reduce_stripe(stripe, length)

    def shown_of_stripe(self, stripe: int, limit: int) -> list[tuple[int, int, int]]:
        """(extent, inode, offset in the file) of what files show of a stripe; reads all maps, for
        damaged stripes only."""
        return [(row[0], row[1], row[2]) for row in self._database.rows(
            "SELECT extent, inode, offset FROM maps WHERE extent IN "
            "(SELECT id FROM extents WHERE stripe=?) LIMIT ?", (stripe, limit))]


def _segment(row: tuple[int, int, int, int, bytes | None, int]) -> SegmentEntry:
    identity, epoch, data, parity, columns, length = row
    if columns is None:
        # SQLite gives NULL for the columns of a row that is too short.
        raise Damage(f"metadata is damaged: segment {identity} has no columns")
    ids = tuple(columns[at : at + 16] for at in range(0, len(columns), 16))
    return SegmentEntry(identity, epoch, data, parity, ids, length)
