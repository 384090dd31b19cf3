"""Many pieces written into the map of one file at once, as random writes come out of a flush.

Piece by piece, each costs a search and a row that is cut and stored again for the next piece. Here
the rows that are there are read once, and what becomes of them is worked out before it is stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ecfs.metadata.database import Database, Row

TOGETHER_MIN = 4
"""Pieces; fewer are as fast one by one."""
ROWS_PER_PIECE_MAX = 4
"""Where more rows than so many for each piece lie in between, one by one is faster."""

NewPiece = tuple[int, int, int]
"""`(offset, length, extent)`: bytes of a file that are the first of an extent from now on."""
Hidden = Sequence[int]
"""`(length, extent)`: so many bytes that a file has shown of an extent."""


@dataclass(slots=True)
class Remapped:
    """What becomes of map rows, each `(offset, len, extent, extent_offset)`: `stored` are new or
    take the place of what began at their offset, `dropped` are offsets of rows that go."""

    stored: list[Row] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)


def remapped(rows: Iterable[Row], pieces: Iterable[NewPiece]) -> Remapped:
    """Pieces over rows, both in order and none over another of its kind."""
    result = Remapped()
    stored = result.stored
    coming = iter(rows)
    row = next(coming, None)
    # Whether `row` is what a piece has left over of one, and not yet stored.
    is_rest = False
    for low, length, extent in pieces:
        high = low + length
        while row is not None and row[0] < high:
            offset, row_len, row_extent, extent_offset = row
            end = offset + row_len
            if end <= low:
                if is_rest:
                    stored.append(row)
            else:
                result.hidden.append((min(end, high) - max(offset, low), row_extent))
                if offset < low:
                    stored.append((offset, low - offset, row_extent, extent_offset))
                elif not is_rest and offset != low:
                    result.dropped.append(offset)
                if end > high:
                    row = high, end - high, row_extent, extent_offset + high - offset
                    is_rest = True
                    break
            row, is_rest = next(coming, None), False
        stored.append((low, length, extent, 0))
    if row is not None and is_rest:
        stored.append(row)
    return result


def map_together(database: Database, inode: int, pieces: Sequence[NewPiece],
                 hidden: list[Hidden]) -> bool:
    """Map pieces that lie in order, none over another. False, and nothing done, where that would
    not be worth it. What is `hidden` by them is for the caller to reduce."""
    low, high = pieces[0][0], pieces[-1][0] + pieces[-1][1]
    rows_max = ROWS_PER_PIECE_MAX * len(pieces)
    rows = database.rows(
        "SELECT offset, len, extent, extent_offset FROM maps WHERE inode=? AND offset<? AND "
        "offset>=ifnull((SELECT max(offset) FROM maps WHERE inode=? AND offset<=?), ?) "
        "ORDER BY offset LIMIT ?", (inode, high, inode, low, low, rows_max + 1))
    if len(rows) > rows_max:
        return False
    result = remapped(rows, pieces)
    hidden += result.hidden
    if result.dropped:
        database.run_many("DELETE FROM maps WHERE inode=? AND offset=?",
                          [(inode, offset) for offset in result.dropped])
    database.run_many("INSERT OR REPLACE INTO maps VALUES(?,?,?,?,?)",
                      [(inode, *row) for row in result.stored])
    return True
