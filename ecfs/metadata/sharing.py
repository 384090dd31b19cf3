"""SQL for showing the same extent more than once, and for where a file has bytes at all.

Accounting stays as in `content`: `extents.live` sums the bytes of all map rows, so it may exceed
the extent's length, and an extent goes when nothing shows it any more.
"""

from ecfs.base.errors import Damage
from ecfs.metadata.database import Database
from ecfs.metadata.whole_maps import MapPiece


class SharingTables:
    """Statements over maps and extents. Writers call them inside `database.change()`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def share(self, piece: MapPiece, low: int, high: int, inode: int, offset: int) -> None:
        """Bytes [low, high) of a file, all in `piece`, are shown by another at `offset` too.

        That place must be a hole.
        """
        length = high - low
        self._database.run("UPDATE extents SET live=live+? WHERE id=?", (length, piece.extent))
        if not self._database.changed_rows():
            raise Damage(f"a file names extent {piece.extent}, which is not in the metadata")
        if piece.stripe is not None:
            self._database.run("UPDATE stripes SET live=live+? WHERE id=?", (length, piece.stripe))
        self._database.run("INSERT INTO maps VALUES(?,?,?,?,?)", (
            inode, offset, length, piece.extent, piece.extent_offset + low - piece.offset))

    def spans(self, inode: int, offset: int, limit: int) -> list[tuple[int, int]]:
        """`(begin, end)` of the first mapped bytes that end after `offset`, in order."""
        return [(row[0], row[0] + row[1]) for row in self._database.rows(
            "SELECT offset, len FROM maps WHERE inode=? "
            "AND offset>=ifnull((SELECT max(offset) FROM maps WHERE inode=? AND offset<=?), ?) "
            "AND offset+len>? ORDER BY offset LIMIT ?",
            (inode, inode, offset, offset, offset, limit))]

    def mapped_within(self, inode: int, begin: int, end: int) -> int:
        """How many bytes of [begin, end) are not holes."""
        return int(self._database.value(
            "SELECT ifnull(sum(min(offset+len, ?)-max(offset, ?)), 0) FROM maps WHERE inode=? "
            "AND offset>=ifnull((SELECT max(offset) FROM maps WHERE inode=? AND offset<=?), ?) "
            "AND offset<? AND offset+len>?", (end, begin, inode, inode, begin, begin, end, begin)))
