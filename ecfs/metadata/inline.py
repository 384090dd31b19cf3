"""SQL for extents whose bytes are in the database itself, until they are moved into a stripe."""

from ecfs.base.errors import Damage
from ecfs.metadata.database import Database


class InlineExtents:
    """Statements over what lies in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def inline_data(self, extent: int) -> bytes:
        """Bytes of an extent in the database; Damage when they are not there."""
        data = self._database.value("SELECT data FROM inline WHERE extent=?", (extent,))
        if not isinstance(data, bytes):
            raise Damage(f"inline extent {extent} has no bytes")
        return data

    def inline_extents(self, limit: int) -> list[tuple[int, int, int, int, bytes]]:
        """(extent, inode, offset, order, bytes) of extents that wait to be moved into a stripe."""
        return [(row[0], row[1], row[2], row[3], row[4]) for row in self._database.rows(
            "SELECT n.extent, n.inode, n.offset, n.written, n.data FROM inline n "
            "JOIN extents e ON e.id=n.extent WHERE e.stripe IS NULL ORDER BY n.extent LIMIT ?",
            (limit,))]

    def inline_len(self) -> int:
        """Bytes of content in the database."""
        return int(self._database.value("SELECT ifnull(sum(length(data)), 0) FROM inline"))
