"""SQL for room that nothing needs any more: dead stripes, sparse ones, extents that are half dead.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ecfs.metadata.database import Database, Row

GIVEN_BACK_TO = "given_back_to"


class Stored(NamedTuple):
    """What a segment holds that some file shows: its stripes, their bodies, and live bytes."""

    stripes_count: int
    bodies_len: int
    live_len: int


class LiveRun(NamedTuple):
    """Bytes [low, low + length) of an extent that lie anew, as an extent of their own."""

    low: int
    length: int
    extent: int
    start: int


class DeadSpace:
    """Statements for whoever gives room back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stored_by_segment(self) -> dict[int, Stored]:
        """Every segment that has a stripe. Bytes that files share count once."""
        return {row[0]: Stored(*row[1:]) for row in self._database.rows(
            "SELECT segment, count(*), SUM(body_len), SUM(CASE WHEN live > body_len THEN "
            "(SELECT SUM(min(e.live, e.len)) FROM extents e WHERE e.stripe = stripes.id) "
            "ELSE live END) FROM stripes GROUP BY segment")}

    def places_of(self, segment_id: int) -> list[tuple[int, int]]:
        """(offset, body length) of a segment's stripes, in the order in which they lie."""
        return [(row[0], row[1]) for row in self._database.rows(
            "SELECT offset, body_len FROM stripes WHERE segment=? ORDER BY offset",
            (segment_id,))]

    def sparse_stripes(self, live_percent_max: int, limit: int) -> list[tuple[int, int, int]]:
        """(stripe, segment, live bytes) of those of whose room at most so much is live, the
        sparsest first. Those that lie in too few bytes to gain a block are left out."""
        return [(row[0], row[1], row[2]) for row in self._database.rows(
            "SELECT s.id, s.segment, s.live FROM stripes s JOIN segments g ON g.id=s.segment "
            "WHERE s.live*100 <= s.body_len*g.data*? AND s.body_len*g.data - s.live > 4096 "
            "ORDER BY CAST(s.live AS REAL)/(s.body_len*g.data), s.id LIMIT ?",
            (live_percent_max, limit))]

    def shorten_segment(self, segment_id: int, length: int) -> None:
        """Nothing of a segment that lies from `length` on is needed any more."""
        self._database.run("UPDATE segments SET len=min(len, ?) WHERE id=?", (length, segment_id))

    def given_back_to(self) -> int:
        """Up to this segment, dead stripes may have been given back already: holes there, also
        torn ones, are nobody's fault."""
        value = self._database.value("SELECT value FROM settings WHERE name=?", (GIVEN_BACK_TO,))
        return value if isinstance(value, int) else 0

    def set_given_back_to(self, segment_id: int) -> None:
        """Remember it; committed before anything of these segments is given back."""
        self._database.run(
            "INSERT INTO settings VALUES(?,?) ON CONFLICT DO UPDATE SET "
            "value=max(value, excluded.value)", (GIVEN_BACK_TO, segment_id))

    def runs_shown(self, inode: int, offset: int, extent: int, length: int) -> list[Row]:
        """(file offset, length, offset in the extent) of what a file shows of an extent where it
        was written, the extent's first byte at `offset`."""
        return self._database.rows(
            "SELECT offset, len, extent_offset FROM maps WHERE inode=? AND offset>=? AND offset<? "
            "AND extent=? AND offset-extent_offset=? ORDER BY offset",
            (inode, offset, offset + length, extent, offset))

    def split_extent(self, extent: int, *, inode: int, offset: int, stripe: int,
                     runs: Sequence[LiveRun]) -> tuple[int, int] | None:
        """Runs of an extent lie in `stripe` now, each an extent of its own; the old one is gone.

        `(old stripe, live bytes)`, which that stripe is still to be relieved of. None, and nothing
        is changed, where the extent is gone, or something else shows bytes of it by now.
        """
        found = self._database.one(
            "SELECT stripe, live, birth, len FROM extents WHERE id=?", (extent,))
        if found is None or found[0] is None:
            return None
        old_stripe, live, birth, length = found
        shown = self.runs_shown(inode, offset, extent, length)
        homes = [next((run for run in runs if run.low <= at and at + size <= run.low + run.length),
                      None) for _, size, at in shown]
        if sum(size for _, size, _ in shown) != live or None in homes:
            return None
        lives: dict[LiveRun, int] = {}
        for (where, size, at), run in zip(shown, homes, strict=True):
            assert run is not None
            lives[run] = lives.get(run, 0) + size
            self._database.run(
                "UPDATE maps SET extent=?, extent_offset=? WHERE inode=? AND offset=?",
                (run.extent, at - run.low, inode, where))
        self._database.run_many(
            "INSERT INTO extents VALUES(?,?,?,?,?,?)",
            [(run.extent, stripe, run.start, run.length, size, birth)
             for run, size in lives.items()])
        self._database.run("DELETE FROM extents WHERE id=?", (extent,))
        self._database.run("UPDATE stripes SET live=live+? WHERE id=?", (live, stripe))
        return old_stripe, live
