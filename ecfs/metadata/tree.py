"""Every SQL statement of the tree: inodes, entries, xattrs, orphans. No POSIX rules here."""

from collections.abc import Sequence

from ecfs.base.ids import InodeId
from ecfs.base.units import KIB
from ecfs.metadata.database import Database, Row
from ecfs.metadata.places import in_places

_INODE_COLUMNS = "id,mode,nlink,uid,gid,rdev,size,atime_ns,mtime_ns,ctime_ns,btime_ns"
_JOINED_COLUMNS = ",".join(["e.inode", *(f"i.{column}"
                                         for column in _INODE_COLUMNS.split(",")[1:])])

BARE_COUNT_MAX = 32 * KIB


class TreeTables:
    """The rows of the tree. Wrap what belongs together in `Database.change()`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bare: set[InodeId] = set()
        self._next_inode = 0
        self._undo_count = database.undo_count
        self._one = database.one
        self._run = database.run
        self._step = database.step
        self._rows = database.rows
        self._changed_rows = database.changed_rows

    def inode_row(self, inode: InodeId) -> Row | None:
        """`(id, mode, nlink, uid, gid, rdev, size, atime, mtime, ctime, btime)`, times in ns."""
        return self._one(f"SELECT {_INODE_COLUMNS} FROM inodes WHERE id=?", (inode,))

    def inode_rows(self, inodes: Sequence[InodeId]) -> list[Row]:
        """Rows as of `inode_row`, of those that exist, in no order."""
        return in_places(self._database,
                         f"SELECT {_INODE_COLUMNS} FROM inodes WHERE id IN {{}}", inodes)

    def find_bare(self, inodes: Sequence[InodeId]) -> None:
        """Find out which of these have no extended attribute; that is remembered."""
        with_xattrs = {row[0] for row in in_places(
            self._database, "SELECT DISTINCT inode FROM xattrs WHERE inode IN {}", inodes)}
        for inode in inodes:
            if inode not in with_xattrs:
                self._note_bare(inode)

    def insert_root(self, inode: InodeId, mode: int, uid: int, gid: int, now_ns: int) -> None:
        """Add the root directory under a given number; it is its own parent."""
        self._run(
            f"INSERT INTO inodes({_INODE_COLUMNS},parent) VALUES(?,?,2,?,?,0,0,?,?,?,?,?)",
            (inode, mode, uid, gid, now_ns, now_ns, now_ns, now_ns, inode))

    def new_inode(self) -> InodeId:
        """A number that no inode ever had, nor was to have in a change that was undone."""
        if not self._next_inode:
            row = self._one("SELECT max(ifnull((SELECT max(id) FROM inodes),0),ifnull("
                            "(SELECT seq FROM sqlite_sequence WHERE name='inodes'),0))")
            self._next_inode = row[0] if row else 0
        self._next_inode += 1
        return InodeId(self._next_inode)

    def insert_inode(self, parent: InodeId, inode: InodeId, *, mode: int, nlink: int, uid: int,
                     gid: int, rdev: int, size: int, now_ns: int, symlink: bytes | None) -> None:
        """Add an inode of a number that `new_inode` gave."""
        self._run(
            f"INSERT INTO inodes({_INODE_COLUMNS},parent,symlink) "
            "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (inode, mode, nlink, uid, gid, rdev, size, now_ns, now_ns, now_ns, now_ns, parent,
             symlink))
        self._note_bare(inode)

    def update_inode(self, inode: InodeId, *, mode: int, uid: int, gid: int, size: int,
                     atime_ns: int, mtime_ns: int, ctime_ns: int) -> None:
        """Overwrite what a system call can set; a change by itself."""
        self._step(
            "UPDATE inodes SET mode=?,uid=?,gid=?,size=?,atime_ns=?,mtime_ns=?,ctime_ns=? "
            "WHERE id=?", (mode, uid, gid, size, atime_ns, mtime_ns, ctime_ns, inode))

    def update_links(self, inode: InodeId, *, nlink: int, ctime_ns: int) -> None:
        """Overwrite the number of names and the change time."""
        self._run("UPDATE inodes SET nlink=?,ctime_ns=? WHERE id=?", (nlink, ctime_ns, inode))

    def update_directory(self, inode: InodeId, *, nlink: int, now_ns: int) -> None:
        """A directory's entries changed: its number of links, mtime and ctime."""
        self._run("UPDATE inodes SET nlink=?,mtime_ns=?,ctime_ns=? WHERE id=?",
                  (nlink, now_ns, now_ns, inode))

    def delete_inodes(self, inodes: Sequence[InodeId]) -> None:
        """Remove inodes with their xattrs and their places among the orphans."""
        in_places(self._database, "DELETE FROM xattrs WHERE inode IN {}",
                  [inode for inode in inodes if not self._is_bare(inode)])
        in_places(self._database, "DELETE FROM orphans WHERE inode IN {}", inodes)
        in_places(self._database, "DELETE FROM inodes WHERE id IN {}", inodes)

    def inode_count(self) -> int:
        """Number of inodes; reads the whole table."""
        row = self._one("SELECT count(*) FROM inodes")
        return int(row[0]) if row else 0

    def symlink(self, inode: InodeId) -> bytes | None:
        """The target of a symbolic link, or None."""
        row = self._one("SELECT symlink FROM inodes WHERE id=?", (inode,))
        return row[0] if row else None

    def parent(self, inode: InodeId) -> InodeId | None:
        """The directory of a directory, a hint for all others; None without such an inode."""
        row = self._one("SELECT parent FROM inodes WHERE id=?", (inode,))
        return InodeId(row[0]) if row else None

    def update_parent(self, inode: InodeId, parent: InodeId, *, ctime_ns: int) -> None:
        """Note the directory that an inode was moved into, and when."""
        self._run("UPDATE inodes SET parent=?,ctime_ns=? WHERE id=?", (parent, ctime_ns, inode))

    def entry(self, parent: InodeId, name: bytes) -> InodeId | None:
        """The inode behind a name, or None."""
        row = self._one("SELECT inode FROM entries WHERE parent=? AND name=?", (parent, name))
        return InodeId(row[0]) if row else None

    def entry_row(self, parent: InodeId, name: bytes) -> Row | None:
        """The row of the inode behind a name, as of `inode_row`; None without a name. All but the
        inode's number is None where a fault left the name without its inode."""
        return self._one(
            f"SELECT {_JOINED_COLUMNS} FROM entries e LEFT JOIN inodes i ON i.id=e.inode "
            "WHERE e.parent=? AND e.name=?", (parent, name))

    def entry_rows(self, parent: InodeId, name: bytes, limit: int) -> dict[bytes, Row]:
        """By name what `entry_row` gives, of up to `limit` names, from `name` on in order."""
        return {row[0]: row[1:] for row in self._database.rows(
            f"SELECT name,{_JOINED_COLUMNS} FROM entries e LEFT JOIN inodes i ON i.id=e.inode "
            "WHERE e.parent=? AND name>=? ORDER BY name LIMIT ?", (parent, name, limit))}

    def insert_entry(self, parent: InodeId, name: bytes, inode: InodeId) -> None:
        """Add a name that is not there."""
        self._run("INSERT INTO entries VALUES(?,?,?)", (parent, name, inode))

    def move_entry(self, old_parent: InodeId, old_name: bytes, parent: InodeId,
                   name: bytes) -> None:
        """Let an inode have another name, which is not there, in place of one that is."""
        self._run("UPDATE entries SET parent=?,name=? WHERE parent=? AND name=?",
                  (parent, name, old_parent, old_name))

    def replace_entry(self, parent: InodeId, name: bytes, inode: InodeId) -> None:
        """Let a name that is there mean another inode."""
        self._run("UPDATE entries SET inode=? WHERE parent=? AND name=?", (inode, parent, name))

    def delete_entry(self, parent: InodeId, name: bytes) -> None:
        """Remove a name."""
        self._run("DELETE FROM entries WHERE parent=? AND name=?", (parent, name))

    def has_entries(self, parent: InodeId) -> bool:
        """Whether a directory holds any name."""
        return self._one("SELECT 1 FROM entries WHERE parent=? LIMIT 1", (parent,)) is not None

    def listing(self, parent: InodeId, limit: int) -> list[Row]:
        """`(name, inode, mode)` ordered by name."""
        return self._rows(
            "SELECT e.name,e.inode,i.mode FROM entries e CROSS JOIN inodes i ON i.id=e.inode "
            "WHERE e.parent=? ORDER BY e.name LIMIT ?", (parent, limit))

    def name_within(self, parent: InodeId, inode: InodeId) -> bytes | None:
        """One name of an inode in one directory; reads that directory."""
        row = self._one("SELECT name FROM entries WHERE parent=? AND inode=? LIMIT 1",
                        (parent, inode))
        return row[0] if row else None

    def name_anywhere(self, inode: InodeId) -> tuple[InodeId, bytes] | None:
        """One name of an inode in any directory; reads all entries."""
        row = self._one("SELECT parent,name FROM entries WHERE inode=? LIMIT 1", (inode,))
        return (InodeId(row[0]), row[1]) if row else None

    def insert_orphan(self, inode: InodeId) -> None:
        """Note that an inode has no name left."""
        self._run("INSERT INTO orphans VALUES(?)", (inode,))

    def delete_orphan(self, inode: InodeId) -> None:
        """An inode has a name again."""
        self._run("DELETE FROM orphans WHERE inode=?", (inode,))

    def orphans(self, limit: int) -> list[InodeId]:
        """Inodes without a name, the lowest first."""
        return [InodeId(row[0]) for row in
                self._rows("SELECT inode FROM orphans ORDER BY inode LIMIT ?", (limit,))]

    def xattr(self, inode: InodeId, name: bytes) -> bytes | None:
        """The value of an extended attribute, or None. Costs nothing for an inode without any."""
        if self._is_bare(inode):
            return None
        row = self._one("SELECT value FROM xattrs WHERE inode=? AND name=?", (inode, name))
        if row is not None:
            value: bytes = row[0]
            return value
        if self._one("SELECT 1 FROM xattrs WHERE inode=? LIMIT 1", (inode,)) is None:
            self._note_bare(inode)
        return None

    def _is_bare(self, inode: InodeId) -> bool:
        if self._undo_count != self._database.undo_count:
            self._undo_count = self._database.undo_count
            self._bare.clear()
        return inode in self._bare

    def _note_bare(self, inode: InodeId) -> None:
        """Remember that an inode has no extended attribute, which most are asked for often."""
        if len(self._bare) >= BARE_COUNT_MAX:
            self._bare.clear()
        self._bare.add(inode)

    def put_xattr(self, inode: InodeId, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        self._bare.discard(inode)
        self._run("INSERT INTO xattrs VALUES(?,?,?) ON CONFLICT DO UPDATE SET value=excluded.value",
                  (inode, name, value))

    def delete_xattr(self, inode: InodeId, name: bytes) -> bool:
        """Remove an extended attribute; whether it was there."""
        self._run("DELETE FROM xattrs WHERE inode=? AND name=?", (inode, name))
        return self._changed_rows() > 0

    def xattr_names(self, inode: InodeId) -> list[bytes]:
        """The names of an inode's extended attributes, in order."""
        return [row[0] for row in
                self._rows("SELECT name FROM xattrs WHERE inode=? ORDER BY name", (inode,))]
