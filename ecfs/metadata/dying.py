"""SQL for deleted files whose maps are too long to go at once."""

from ecfs.metadata.database import Database


class DyingFiles:
    """Files that have no inode any more, but still rows of a map."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_dying(self, inode: int) -> None:
        """Remember a deleted file whose maps are dropped bit by bit."""
        self._database.run("INSERT OR IGNORE INTO dying VALUES(?)", (inode,))

    def dying(self, limit: int) -> list[int]:
        """Deleted files with maps left."""
        return [row[0] for row in self._database.rows("SELECT inode FROM dying LIMIT ?", (limit,))]

    def forget_dying(self, inode: int) -> None:
        """Nothing of a deleted file is left."""
        self._database.run("DELETE FROM dying WHERE inode=?", (inode,))
