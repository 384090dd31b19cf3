"""Queries of a check of the whole database, and the statements that put it right.

Most of what must hold is a `RowCheck`, declared in `checks_of_tree` and `checks_of_content`; here
is what runs them, and what a row alone cannot tell.
"""

import json
import re
from collections.abc import Iterable

from ecfs.base.errors import Bug
from ecfs.base.ids import ROOT_INODE
from ecfs.base.limits import NAME_LEN_MAX
from ecfs.metadata.checks_of_content import (
    CONTENT_CHECKS,
    EXTENT_CHECKS,
    MAP_CHECKS,
    SEGMENT_CHECKS,
)
from ecfs.metadata.checks_of_tree import ATTRIBUTE_CHECKS, ROOT_CHECKS, TREE_CHECKS
from ecfs.metadata.database import Database, Row
from ecfs.metadata.rowcheck import RowCheck

LOST_AND_FOUND = b"lost+found"
NAMES_TRIED_MAX = 1000
_PARAMETER = re.compile(r"\?(\d+)")

__all__ = ["ATTRIBUTE_CHECKS", "CONTENT_CHECKS", "EXTENT_CHECKS", "LOST_AND_FOUND", "MAP_CHECKS",
           "ROOT_CHECKS", "SEGMENT_CHECKS", "TREE_CHECKS", "CheckQueries", "RowCheck"]


class CheckQueries:
    """Finds and repairs. Callers wrap a repair in `database.change()`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, check: RowCheck, limit: int) -> list[Row]:
        """At most `limit` rows that are not as they should be."""
        return self._database.rows(check.find, (limit,))

    def repair(self, check: RowCheck, row: Row) -> None:
        """Put one row right, as the check's statements say."""
        if not check.repairs:
            raise Bug(f"{check.id} is not repaired by statements")
        for statement in check.repairs:
            count = max((int(number) for number in _PARAMETER.findall(statement)), default=0)
            self._database.run(statement, row[:count])

    def rebuild_indexes(self) -> None:
        """Make all indexes anew from their tables."""
        self._database.run("REINDEX")

    # -- names -------------------------------------------------------------------------------

    def lost_and_found(self, now_ns: int) -> int:
        """The directory that takes in what has no name; made where it is not there."""
        for name in _numbered(LOST_AND_FOUND):
            row = self._database.one(
                "SELECT i.id, i.mode FROM entries e LEFT JOIN inodes i ON i.id = e.inode "
                "WHERE e.parent = ? AND e.name = ?", (ROOT_INODE, name))
            if row is None:
                return self._make(ROOT_INODE, name, 0o040700, 2, now_ns)
            if row[0] is not None and row[1] & 0o170000 == 0o040000:
                return int(row[0])
        raise Bug("no name is left for lost+found")

    def take_in(self, inode: int, now_ns: int) -> bytes:
        """Give an inode a name in lost+found; the name. Counts of links are put right later."""
        folder = self.lost_and_found(now_ns)
        for name in _numbered(b"#%d" % inode):
            if self._is_free(folder, name):
                self._database.run("INSERT INTO entries VALUES(?,?,?)", (folder, name, inode))
                self._database.run("UPDATE inodes SET parent = ? WHERE id = ?", (folder, inode))
                return name
        raise Bug(f"no name is left in lost+found for inode {inode}")

    def remove_entry(self, parent: int, name: bytes) -> None:
        """Take a name away."""
        self._database.run("DELETE FROM entries WHERE parent = ? AND name = ?", (parent, name))

    def rename_entry(self, parent: int, name: bytes) -> bytes:
        """Replace what a name must not have by underscores; the new name."""
        plain = re.sub(rb"[/\0]", b"_", name)[: NAME_LEN_MAX - 8] or b"_"
        if plain.strip(b".") == b"":
            plain = plain.replace(b".", b"_")
        for candidate in _numbered(plain):
            if self._is_free(parent, candidate):
                self._database.run("UPDATE entries SET name = ? WHERE parent = ? AND name = ?",
                                   (candidate, parent, name))
                return candidate
        raise Bug(f"no name is left in directory {parent}")

    def _is_free(self, parent: int, name: bytes) -> bool:
        return self._database.one(
            "SELECT 1 FROM entries WHERE parent = ? AND name = ?", (parent, name)) is None

    def _make(self, parent: int, name: bytes, mode: int, nlink: int, now_ns: int) -> int:
        self._database.run(
            "INSERT INTO inodes(parent, mode, nlink, uid, gid, atime_ns, mtime_ns, ctime_ns, "
            "btime_ns) VALUES(?,?,?,0,0,?,?,?,?)",
            (parent, mode, nlink, now_ns, now_ns, now_ns, now_ns))
        inode = self._database.last_row_id()
        self._database.run("INSERT INTO entries VALUES(?,?,?)", (parent, name, inode))
        return inode

    def split_content(self, inode: int, now_ns: int) -> bytes:
        """Give content that hangs on something else than a file a file in lost+found; its name."""
        size = self._database.value(
            "SELECT ifnull(max(offset + len), 0) FROM maps WHERE inode = ?", (inode,))
        folder = self.lost_and_found(now_ns)
        for name in _numbered(b"#%d.content" % inode):
            if self._is_free(folder, name):
                made = self._make(folder, name, 0o100600, 1, now_ns)
                self._database.run("UPDATE inodes SET size = ? WHERE id = ?", (size, made))
                self._database.run("UPDATE maps SET inode = ? WHERE inode = ?", (made, inode))
                return name
        raise Bug(f"no name is left in lost+found for the content of inode {inode}")

    def member_of_cycle(self, inode: int) -> tuple[int, int, bytes] | None:
        """Up from a directory that is not below the root: (directory, its parent, its name) of one
        that holds itself. None when the way up ends, so that there is no cycle any more."""
        seen: set[int] = set()
        while inode != ROOT_INODE and inode not in seen:
            seen.add(inode)
            row = self._database.one("SELECT parent FROM inodes WHERE id = ?", (inode,))
            if row is None:
                return None
            inode = row[0]
        row = self._database.one(
            "SELECT parent, name FROM entries WHERE inode = ? AND parent = "
            "(SELECT parent FROM inodes WHERE id = ?)", (inode, inode))
        return None if row is None or inode == ROOT_INODE else (inode, row[0], row[1])

    # -- places ------------------------------------------------------------------------------

    def extents_to_place(self, after: int, limit: int) -> list[Row]:
        """(id, stripe, start, len, data shards, body_len) of extents past `after`, in order, but
        for those that obviously lie within one unit."""
        return self._database.rows(
            "SELECT e.id, e.stripe, e.start, e.len, g.data, s.body_len FROM extents e "
            "CROSS JOIN stripes s ON s.id = e.stripe CROSS JOIN segments g ON g.id = s.segment "
            "WHERE e.id > ? AND NOT (e.start >= 0 AND e.len BETWEEN 1 AND 65536 "
            "AND e.start < g.data * s.body_len "
            "AND e.start % s.body_len + e.len + 16 <= s.body_len) ORDER BY e.id LIMIT ?",
            (after, limit))

    def file_of_extent(self, extent: int) -> int:
        """An inode that shows an extent, 0 for none; reads all maps."""
        return int(self._database.value(
            "SELECT inode FROM maps WHERE extent = ? LIMIT 1", (extent,)) or 0)

    def drop_extent(self, extent: int) -> None:
        """Forget an extent; what shows it is found by the checks that follow."""
        self._database.run("DELETE FROM extents WHERE id = ?", (extent,))

    def drop_stripe(self, stripe: int) -> None:
        """Forget a stripe; what lies in it is found by the checks that follow."""
        self._database.run("DELETE FROM stripes WHERE id = ?", (stripe,))

    def segment_rows(self, after: int, limit: int) -> list[Row]:
        """(id, epoch, data, parity, columns, len) as they stand, in order of ids past `after`."""
        return self._database.rows(
            "SELECT id, epoch, data, parity, columns, len FROM segments WHERE id > ? "
            "ORDER BY id LIMIT ?", (after, limit))

    def replace_segment(self, segment: int, *, epoch: int, data: int, parity: int,
                        columns: Iterable[bytes], length: int) -> None:
        """Put a segment's row, whatever was there."""
        self._database.run("INSERT OR REPLACE INTO segments VALUES(?,?,?,?,?,?)",
                           (segment, epoch, data, parity, b"".join(columns), length))

    def drop_segment(self, segment: int) -> None:
        """Forget a segment; its stripes are found by the checks that follow."""
        self._database.run("DELETE FROM segments WHERE id = ?", (segment,))

    def stripe_place(self, stripe: int) -> int | None:
        """The segment that a stripe lies in."""
        row = self._database.one("SELECT segment FROM stripes WHERE id = ?", (stripe,))
        return None if row is None else int(row[0])

    # -- who lacks what ----------------------------------------------------------------------

    def missed_by_strangers(self, targets: Iterable[bytes], limit: int) -> list[bytes]:
        """Targets of which shards are said to be missed, but which are not among `targets`."""
        return [row[0] for row in self._database.rows(
            "SELECT DISTINCT target FROM missed WHERE hex(target) NOT IN "
            "(SELECT value FROM json_each(?)) LIMIT ?", (_hex_list(targets), limit))]

    def forget_missed(self, target: bytes) -> None:
        """Nothing is said of what a target has missed any more."""
        self._database.run("DELETE FROM missed WHERE target = ?", (target,))

    def stripes_short_of(self, targets: Iterable[bytes], segment: int, lacking_max: int) -> int:
        """How many stripes of a segment more than `lacking_max` of `targets` have missed."""
        return int(self._database.value(
            "SELECT count(*) FROM (SELECT s.id FROM stripes s JOIN missed m ON m.stripe = s.id "
            "WHERE s.segment = ? AND hex(m.target) IN (SELECT value FROM json_each(?)) "
            "GROUP BY s.id HAVING count(*) > ?)", (segment, _hex_list(targets), lacking_max)))

    def stripes_in(self, segment: int) -> int:
        """How many stripes a segment has."""
        return int(self._database.value("SELECT count(*) FROM stripes WHERE segment = ?",
                                        (segment,)))

    def misses_anything(self) -> bool:
        """Whether any target has missed any shard."""
        return self._database.one("SELECT 1 FROM missed LIMIT 1") is not None


def _numbered(name: bytes) -> Iterable[bytes]:
    """The name, then with .1, .2, ... appended."""
    yield name
    for number in range(1, NAMES_TRIED_MAX):
        yield b"%s.%d" % (name, number)


def _hex_list(targets: Iterable[bytes]) -> str:
    return json.dumps([target.hex().upper() for target in targets])
