"""Maps of files that are read here and there, in memory for as long as nothing changes."""

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from ecfs.base.errors import Damage
from ecfs.metadata.database import Database

ASKED_MIN = 64
"""A map is read when its file was asked about so often: by then that has cost as much."""
ROWS_MAX = 1024
MAPS_MAX = 8
COUNTED_MAX = 256


class MapPiece(NamedTuple):
    """Bytes [offset, offset + length) of a file are bytes of an extent from `extent_offset` on.

    `stripe` is None for an extent whose bytes are in the database itself.
    """

    offset: int
    length: int
    extent: int
    extent_offset: int
    stripe: int | None
    start: int
    extent_len: int


@dataclass(frozen=True, slots=True)
class _WholeMap:
    offsets: list[int]
    pieces: list[MapPiece]


class WholeMaps:
    """Answers what lies in one piece of a file whose map is in memory. No map of more than ROWS_MAX
    rows is, and none outlives any change of anything."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._version = (-1, -1)
        self._asked: dict[int, int] = {}
        self._maps: OrderedDict[int, _WholeMap] = OrderedDict()

    def piece(self, inode: int, low: int, high: int) -> MapPiece | None:
        """The piece that [low, high) lies in; None where it lies in none, or that is not known."""
        version = self._database.change_count, self._database.undo_count
        if version != self._version:
            self._version = version
            self._asked.clear()
            self._maps.clear()
        found = self._maps.get(inode)
        if found is None:
            found = self._count(inode)
            if found is None:
                return None
        index = bisect_right(found.offsets, low) - 1
        if index < 0:
            return None
        piece = found.pieces[index]
        return piece if low < high <= piece.offset + piece.length else None

    def _count(self, inode: int) -> _WholeMap | None:
        asked = self._asked[inode] = self._asked.get(inode, 0) + 1
        if len(self._asked) > COUNTED_MAX:
            self._asked.clear()
        # What a change has done so far is not what it will have done.
        if asked != ASKED_MIN or self._database.is_changing:
            return None
        try:
            rows = self._database.rows(
                "SELECT m.offset, m.len, m.extent, m.extent_offset, e.stripe, e.start, e.len "
                "FROM maps m LEFT JOIN extents e ON e.id=m.extent WHERE m.inode=? "
                "ORDER BY m.offset LIMIT ?", (inode, ROWS_MAX + 1))
        except Damage:
            # What was asked for may be well.
            return None
        if len(rows) > ROWS_MAX:
            return None
        made = self._maps[inode] = _WholeMap([row[0] for row in rows],
                                             [MapPiece._make(row) for row in rows])
        if len(self._maps) > MAPS_MAX:
            self._maps.popitem(last=False)
        return made
