"""What the tree holds, for those who only look."""

import errno
import stat
from collections.abc import Sequence

from ecfs.base.errors import Bug, FsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import ATTRIBUTE_CACHE_COUNT_MAX, DIRECTORY_LISTING_MAX, NAME_LEN_MAX
from ecfs.base.world import Clock
from ecfs.metadata import TreeTables
from ecfs.metadata.database import Database
from ecfs.namespace import paths, xattrs
from ecfs.namespace.attributes import Attributes
from ecfs.namespace.cache import AttributeCache
from ecfs.namespace.names_ahead import NamesAhead


class TreeView:
    """Names, attributes, extended attributes and orphans, as they are now. No method waits."""

    def __init__(self, database: Database, clock: Clock, *,
                 cache_count_max: int = ATTRIBUTE_CACHE_COUNT_MAX) -> None:
        self._database = database
        self._clock = clock
        self._tables = TreeTables(database)
        self._cache = AttributeCache(database, cache_count_max)
        self._names_ahead = NamesAhead(database, self._tables)
        self._count: int | None = None
        self._count_undo = database.undo_count

    def lookup(self, parent: InodeId, name: bytes) -> Attributes:
        """The inode behind a name; `.` and `..` work too. ENOENT, ENOTDIR, ENAMETOOLONG."""
        found = self.find(parent, name)
        if found is None:
            raise FsError(errno.ENOENT)
        return found

    def find(self, parent: InodeId, name: bytes) -> Attributes | None:
        """As `lookup`, but None if there is no such name, as for each that is about to be made."""
        row = self._names_ahead.row(parent, name)
        if row is None:
            return self._find_special(parent, name)
        found = Attributes._make(row)
        self._cache.put(found)
        self._cache.put_name(found.inode, parent, name)
        return found

    def attributes(self, inode: InodeId) -> Attributes:
        """What the database says of an inode. ENOENT."""
        found = self._cache.get(inode)
        if found is None:
            row = self._tables.inode_row(inode)
            if row is None:
                raise FsError(errno.ENOENT)
            found = Attributes(*row)
            self._cache.put(found)
        return found

    @property
    def version(self) -> tuple[int, int]:
        """Changes with every change of anything; as long as it stays, what was read stays true."""
        return self._database.change_count, self._database.undo_count

    def load(self, inodes: Sequence[InodeId]) -> None:
        """Have the attributes of these in memory, at a fraction of what one each would cost."""
        wanted = [inode for inode in inodes if self._cache.get(inode) is None]
        for row in self._tables.inode_rows(wanted):
            self._cache.put(Attributes._make(row))
        # Who lists a directory asks each of its files for an ACL.
        self._tables.find_bare(wanted)

    def named(self, parent: InodeId, name: bytes, inode: InodeId) -> Attributes:
        """As `lookup`, of a name that is known to mean that inode."""
        self._cache.put_name(inode, parent, name)
        return self.attributes(inode)

    def now_ns(self) -> int:
        """The time that a change made now would carry."""
        return self._clock.wall_ns()

    def monotonic_ns(self) -> int:
        """A clock that never goes back."""
        return self._clock.monotonic_ns()

    def parent_of(self, inode: InodeId) -> InodeId:
        """The directory that holds a directory; the root holds itself. ENOENT, ENOTDIR."""
        self._directory(inode)
        parent = self._tables.parent(inode)
        if parent is None:
            raise Bug(f"directory {inode} has no parent")
        return parent

    def readlink(self, inode: InodeId) -> bytes:
        """Where a symbolic link points. EINVAL for anything else."""
        if not stat.S_ISLNK(self.attributes(inode).mode):
            raise FsError(errno.EINVAL)
        return self._tables.symlink(inode) or b""

    def list_directory(self, inode: InodeId) -> list[tuple[bytes, InodeId, int]]:
        """All `(name, inode, mode)` ordered by name, without dots. EOVERFLOW past the bound."""
        self._directory(inode)
        listing = self._tables.listing(inode, DIRECTORY_LISTING_MAX + 1)
        if len(listing) > DIRECTORY_LISTING_MAX:
            raise FsError(errno.EOVERFLOW)
        return [(name, InodeId(child), mode) for name, child, mode in listing]

    def count(self) -> int:
        """Number of inodes, orphans included. Cheap after the first call."""
        if self._count is None or self._count_undo != self._database.undo_count:
            self._count_undo = self._database.undo_count
            self._count = self._tables.inode_count()
        return self._count

    def name_hint(self, inode: InodeId) -> tuple[InodeId, bytes] | None:
        """`(parent, name)` that the inode had when last looked up, or None. Costs nothing."""
        return self._cache.name(inode)

    def path_of(self, inode: InodeId) -> bytes | None:
        """One path from the root, for messages; None without a name. May read all entries."""
        return paths.path_of(self._tables, inode)

    def get_xattr(self, inode: InodeId, name: bytes) -> bytes:
        """The value. ENODATA; ENOTSUP outside user., trusted. and security."""
        return xattrs.get(self._tables, inode, name)

    def list_xattrs(self, inode: InodeId) -> list[bytes]:
        """The names, in order. ENOENT."""
        self.attributes(inode)
        return self._tables.xattr_names(inode)

    def orphans(self, limit: int) -> list[InodeId]:
        """At most `limit` inodes without a name, the lowest first."""
        return self._tables.orphans(limit)

    def _directory(self, inode: InodeId) -> Attributes:
        attributes = self.attributes(inode)
        if not attributes.is_directory:
            raise FsError(errno.ENOTDIR)
        return attributes

    def _entry(self, parent: InodeId, name: bytes) -> Attributes:
        inode = self._names_ahead.inode(parent, name)
        if inode is None:
            raise FsError(errno.ENOENT)
        return self.attributes(inode)

    def _find_special(self, parent: InodeId, name: bytes) -> Attributes | None:
        if name == b".":
            # Also of what is no directory: so the kernel turns a file handle into an inode.
            return self.attributes(parent)
        self._directory(parent)
        if name == b"..":
            return self.attributes(self.parent_of(parent))
        if len(name) > NAME_LEN_MAX:
            raise FsError(errno.ENAMETOOLONG)
        return None
