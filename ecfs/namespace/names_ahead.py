"""Names that are about to be looked up: those behind the last ones, in order."""

from ecfs.base.errors import Damage
from ecfs.base.ids import InodeId
from ecfs.metadata import TreeTables
from ecfs.metadata.database import Database, Row

RUN_MIN = 3
AHEAD_COUNT_MIN = 8
AHEAD_COUNT_MAX = 64


class NamesAhead:
    """Rows of the inodes behind names of the directory that is being looked through.

    Who looks up one name after the other, as `git status` does, gets them some at once, which
    costs a quarter. What was read holds until anything changes. As many again are read when most
    were asked for, and none for a while when they were not.
    """

    def __init__(self, database: Database, tables: TreeTables) -> None:
        self._database = database
        self._tables = tables
        self._version = (-1, -1)
        self._parent = InodeId(0)
        self._begin(b"")

    def row(self, parent: InodeId, name: bytes) -> Row | None:
        """As `TreeTables.entry_row`."""
        database = self._database
        version = (database.change_count, database.undo_count)
        if parent != self._parent or version != self._version:
            self._parent, self._version = parent, version
            self._begin(name)
            return self._tables.entry_row(parent, name)
        row = self._rows.get(name)
        if row is not None:
            self._last = name
            self._used_count += 1
            return row
        if name <= self._last or 2 * self._used_count < len(self._rows):
            self._begin(name)
            return self._tables.entry_row(parent, name)
        self._last = name
        self._run_count += 1
        if self._run_count < RUN_MIN:
            return self._tables.entry_row(parent, name)
        return self._read_ahead(parent, name)

    def _begin(self, name: bytes) -> None:
        self._last = name
        self._run_count = self._used_count = 0
        self._ahead_count = AHEAD_COUNT_MIN
        self._rows: dict[bytes, Row] = {}

    def _read_ahead(self, parent: InodeId, name: bytes) -> Row | None:
        try:
            self._rows = self._tables.entry_rows(parent, name, self._ahead_count)
        except Damage:
            # Of a row that nobody has asked for, it may be.
            self._begin(name)
            return self._tables.entry_row(parent, name)
        self._used_count = 1
        self._ahead_count = min(2 * self._ahead_count, AHEAD_COUNT_MAX)
        return self._rows.get(name)
