"""Names that are about to be looked up: those behind the last ones, in order."""

from ecfs.base.errors import Damage
from ecfs.base.ids import InodeId
from ecfs.metadata import TreeTables
from ecfs.metadata.database import Database, Row

RUN_MIN = 3
AHEAD_COUNT_MIN = 8
AHEAD_COUNT_MAX = 64
DIRECTORIES_MAX = 32
TRUST_MAX = 8
TRUSTED_MIN = 4
"""What is read at once costs one point of trust, and gives two when half of it is asked for."""
TRUSTING_COUNT = 16

_NOTHING: tuple[InodeId, bytes, Row | None] = (InodeId(0), b"", None)
"""No name is empty."""


class _Walk:
    """How somebody looks through one directory, and what was read ahead for him."""

    __slots__ = ("ahead_count", "last", "rows", "run_count", "used_count")

    def __init__(self, name: bytes) -> None:
        self.begin(name)

    def begin(self, name: bytes) -> None:
        """Nothing is known but that `name` was asked for."""
        self.last = name
        self.run_count = self.used_count = 0
        self.ahead_count = AHEAD_COUNT_MIN
        self.rows: dict[bytes, Row] = {}


class NamesAhead:
    """Rows of the inodes behind names of the directories that are being looked through.

    Who looks up one name after the other gets them some at once, which costs a quarter; several
    may do so, as the threads of `git status`. What was read holds until anything changes. As many
    again are read when most were asked for, and none for a while when they were not. Where it has
    paid lately, some are read at the first name of a directory already.

    The last two that were looked up are known for a change that follows: the kernel looks up what
    it then has made, renamed or removed.
    """

    def __init__(self, database: Database, tables: TreeTables) -> None:
        self._database = database
        self._tables = tables
        self._version = (-1, -1)
        self._walks: dict[InodeId, _Walk] = {}
        self._last = self._before = _NOTHING
        self._trust = 0

    def row(self, parent: InodeId, name: bytes) -> Row | None:
        """As `TreeTables.entry_row`, but None without an inode, too."""
        row = self._row(parent, name)
        self._before = self._last
        self._last = (parent, name, row)
        return row if row is not None and row[1] is not None else None

    def inode(self, parent: InodeId, name: bytes) -> InodeId | None:
        """As `TreeTables.entry`."""
        database = self._database
        if (database.change_count, database.undo_count) == self._version:
            for asked_parent, asked_name, row in (self._last, self._before):
                if asked_name == name and asked_parent == parent:
                    return None if row is None else InodeId(row[0])
        return self._tables.entry(parent, name)

    def _row(self, parent: InodeId, name: bytes) -> Row | None:
        database = self._database
        version = (database.change_count, database.undo_count)
        if version != self._version:
            self._version = version
            self._walks.clear()
            self._last = _NOTHING
        walk = self._walks.get(parent)
        if walk is None:
            if len(self._walks) >= DIRECTORIES_MAX:
                del self._walks[next(iter(self._walks))]
            walk = self._walks[parent] = _Walk(name)
            if self._trust < TRUSTED_MIN:
                return self._tables.entry_row(parent, name)
            walk.ahead_count = TRUSTING_COUNT
            return self._read_ahead(walk, parent, name)
        row = walk.rows.get(name)
        if row is not None:
            walk.last = name
            walk.used_count += 1
            self._count_paid(walk)
            return row
        if name <= walk.last or 2 * walk.used_count < len(walk.rows):
            walk.begin(name)
            return self._tables.entry_row(parent, name)
        walk.last = name
        walk.run_count += 1
        if walk.run_count < RUN_MIN:
            return self._tables.entry_row(parent, name)
        return self._read_ahead(walk, parent, name)

    def _read_ahead(self, walk: _Walk, parent: InodeId, name: bytes) -> Row | None:
        try:
            walk.rows = self._tables.entry_rows(parent, name, walk.ahead_count)
        except Damage:
            # Of a row that nobody has asked for, it may be.
            walk.begin(name)
            return self._tables.entry_row(parent, name)
        self._trust = max(self._trust - 1, 0)
        walk.used_count = 1
        walk.ahead_count = min(2 * walk.ahead_count, AHEAD_COUNT_MAX)
        self._count_paid(walk)
        return walk.rows.get(name)

    def _count_paid(self, walk: _Walk) -> None:
        """Once for what was read at once, when half of it has been asked for."""
        if walk.used_count == len(walk.rows) + 1 >> 1:
            self._trust = min(self._trust + 2, TRUST_MAX)
