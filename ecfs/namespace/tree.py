"""The tree of names and inodes, with the rules of POSIX and the habits of Linux."""

import errno
import stat

from ecfs.base.errors import Bug, FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.limits import (
    ATTRIBUTE_CACHE_COUNT_MAX,
    DIRECTORY_LISTING_MAX,
    FILE_LEN_MAX,
    LINKS_MAX,
    NAME_LEN_MAX,
)
from ecfs.base.world import Clock
from ecfs.metadata import TreeTables
from ecfs.metadata.database import Database
from ecfs.namespace import paths, renaming, xattrs
from ecfs.namespace.attributes import Attributes, without_privileges
from ecfs.namespace.cache import AttributeCache
from ecfs.namespace.names import check_new_name, check_symlink_target, check_victim_name

_FILE_TYPES = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK,
                         stat.S_IFCHR, stat.S_IFBLK})


class Tree:
    """All changes of inodes and entries. Not thread-safe; no method waits.

    Every changing method is one `Database.change()`: it happens or it raises and nothing happened.
    Refusals are `FsError` with the errno that Linux gives; an inode that does not exist is ENOENT.
    Access times are set at creation and by `set_attributes` only (noatime).
    """

    def __init__(self, database: Database, clock: Clock, *,
                 cache_count_max: int = ATTRIBUTE_CACHE_COUNT_MAX) -> None:
        self._database = database
        self._clock = clock
        self._tables = TreeTables(database)
        self._cache = AttributeCache(database, cache_count_max)
        self._count: int | None = None
        self._count_undo = database.undo_count

    # --- looking ---

    def lookup(self, parent: InodeId, name: bytes) -> Attributes:
        """The inode behind a name; `.` and `..` work too. ENOENT, ENOTDIR, ENAMETOOLONG."""
        inode = self._tables.entry(parent, name)
        if inode is None:
            return self._lookup_special(parent, name)
        self._cache.put_name(inode, parent, name)
        return self.attributes(inode)

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

    def now_ns(self) -> int:
        """The time that a change made now would carry."""
        return self._clock.wall_ns()

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

    # --- names ---

    def format_root(self, uid: int, gid: int, mode: int) -> None:
        """Make the root directory of a fresh file system; `mode` is permission bits."""
        with self._database.change():
            self._tables.insert_root(ROOT_INODE, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid,
                                     self._clock.wall_ns())

    def create(self, parent: InodeId, name: bytes, *, mode: int, uid: int, gid: int, rdev: int = 0,
               symlink: bytes | None = None) -> Attributes:
        """Make an inode of the type in `mode` (regular without one) under a new name.

        A set-group-id directory hands down its group, and the bit to directories. `symlink` is the
        target, and goes with S_IFLNK only. EEXIST, ENOTDIR, ENOENT, ENAMETOOLONG, EINVAL.
        """
        directory = self._directory(parent)
        check_new_name(name)
        if self._tables.entry(parent, name) is not None:
            raise FsError(errno.EEXIST)
        if not directory.nlink:
            raise FsError(errno.ENOENT)
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        if kind not in _FILE_TYPES or (symlink is not None) != (kind == stat.S_IFLNK):
            raise FsError(errno.EINVAL)
        if symlink is not None:
            check_symlink_target(symlink)
        is_directory = kind == stat.S_IFDIR
        mode = kind | stat.S_IMODE(mode)
        if directory.mode & stat.S_ISGID:
            gid = directory.gid
            if is_directory:
                mode |= stat.S_ISGID
        if kind not in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = 0
        nlink, size = 2 if is_directory else 1, len(symlink) if symlink is not None else 0
        now_ns = self._clock.wall_ns()
        with self._database.change():
            inode = self._tables.insert_inode(
                parent, mode=mode, nlink=nlink, uid=uid, gid=gid, rdev=rdev, size=size,
                now_ns=now_ns, symlink=symlink)
            self._tables.insert_entry(parent, name, inode)
            changed = self._changed_directory(directory, 1 if is_directory else 0, now_ns)
        created = Attributes(inode, mode, nlink, uid, gid, rdev, size, now_ns, now_ns, now_ns,
                             now_ns)
        self._cache.put(created)
        self._cache.put(changed)
        self._cache.put_name(inode, parent, name)
        self._count_changed(1)
        return created

    def link(self, inode: InodeId, parent: InodeId, name: bytes) -> Attributes:
        """Give an inode one more name. EPERM (directories), EEXIST, EMLINK, ENOENT (orphans)."""
        directory = self._directory(parent)
        check_new_name(name)
        target = self.attributes(inode)
        if self._tables.entry(parent, name) is not None:
            raise FsError(errno.EEXIST)
        if target.is_directory:
            raise FsError(errno.EPERM)
        if not target.nlink or not directory.nlink:
            raise FsError(errno.ENOENT)
        if target.nlink >= LINKS_MAX:
            raise FsError(errno.EMLINK)
        now_ns = self._clock.wall_ns()
        linked = target.with_links(target.nlink + 1, now_ns)
        with self._database.change():
            self._tables.insert_entry(parent, name, inode)
            self._tables.update_links(inode, nlink=linked.nlink, ctime_ns=now_ns)
            changed = self._changed_directory(directory, 0, now_ns)
        self._cache.put(linked)
        self._cache.put(changed)
        self._cache.put_name(inode, parent, name)
        return linked

    def unlink(self, parent: InodeId, name: bytes) -> Attributes:
        """Remove a name that is not a directory's; returns the inode as it is afterwards.

        With its last name gone the inode is an orphan, to be dropped when nobody has it open.
        ENOENT, ENOTDIR, EISDIR.
        """
        directory = self._directory(parent)
        check_victim_name(name)
        victim = self._entry(parent, name)
        if victim.is_directory:
            raise FsError(errno.EISDIR)
        return self._remove(directory, name, victim, 0)

    def rmdir(self, parent: InodeId, name: bytes) -> Attributes:
        """Remove an empty directory; it is an orphan then. ENOENT, ENOTDIR, ENOTEMPTY, EINVAL."""
        directory = self._directory(parent)
        if name == b"..":
            raise FsError(errno.ENOTEMPTY)
        check_victim_name(name)
        victim = self._entry(parent, name)
        if not victim.is_directory:
            raise FsError(errno.ENOTDIR)
        if self._tables.has_entries(victim.inode):
            raise FsError(errno.ENOTEMPTY)
        return self._remove(directory, name, victim, -1)

    def rename(self, old_parent: InodeId, old_name: bytes, new_parent: InodeId, new_name: bytes,
               flags: int) -> Attributes | None:
        """Move or exchange names; flags of renameat2(2): NOREPLACE=1, EXCHANGE=2.

        Returns the inode that lost the new name, as it is afterwards, or None. Two names of one
        inode: nothing happens. EINVAL (flags, a directory into itself), EEXIST, ENOENT, ENOTDIR,
        EISDIR, ENOTEMPTY, ENAMETOOLONG.
        """
        renaming.check_flags(flags)
        old_directory = self._directory(old_parent)
        new_directory = self._directory(new_parent)
        check_victim_name(old_name)
        check_victim_name(new_name)
        source = self._entry(old_parent, old_name)
        target_inode = self._tables.entry(new_parent, new_name)
        target = None if target_inode is None else self.attributes(target_inode)
        if target is None and not new_directory.nlink:
            raise FsError(errno.ENOENT)
        outcome = renaming.decide(renaming.Situation(
            source=source, target=target, same_parent=old_parent == new_parent,
            source_holds_target=paths.holds(self._tables, source, new_parent, old_parent),
            target_holds_source=(target is not None and paths.holds(
                self._tables, target, old_parent, new_parent)),
            target_is_empty=(target is not None and target.is_directory
                             and not self._tables.has_entries(target.inode))), flags)
        if outcome.nothing:
            return None
        now_ns = self._clock.wall_ns()
        move = renaming.Move(source, target, old_parent, old_name, new_parent, new_name,
                             outcome.exchange)
        with self._database.change():
            changed, victim = renaming.carry_out(self._tables, move, now_ns)
            if old_parent == new_parent:
                links = outcome.old_parent_links + outcome.new_parent_links
                changed.append(self._changed_directory(old_directory, links, now_ns))
            else:
                changed.append(self._changed_directory(
                    old_directory, outcome.old_parent_links, now_ns))
                changed.append(self._changed_directory(
                    new_directory, outcome.new_parent_links, now_ns))
        for attributes in changed:
            self._cache.put(attributes)
        self._cache.put_name(source.inode, new_parent, new_name)
        if outcome.exchange and target is not None:
            self._cache.put_name(target.inode, old_parent, old_name)
        return victim

    # --- attributes ---

    def set_attributes(self, inode: InodeId, *, mode: int | None = None, uid: int | None = None,
                       gid: int | None = None, size: int | None = None, atime_ns: int | None = None,
                       mtime_ns: int | None = None, ctime_ns: int | None = None) -> Attributes:
        """Set what is given. The change time is now unless given, and with a new size so is mtime.

        `mode`: permission bits. A new owner or group takes set-user-id and set-group-id away unless
        a mode is given too; a new size alone does not (see `drop_privileges`). EISDIR or EINVAL for
        the size of something else than a regular file, EFBIG, EINVAL for a negative size.
        """
        old = self.attributes(inode)
        now_ns = self._clock.wall_ns()
        if mode is not None:
            mode = stat.S_IFMT(old.mode) | stat.S_IMODE(mode)
        elif uid is not None or gid is not None:
            mode = without_privileges(old.mode)
        if size is not None:
            if not old.is_regular:
                raise FsError(errno.EISDIR if old.is_directory else errno.EINVAL)
            if not 0 <= size <= FILE_LEN_MAX:
                raise FsError(errno.EINVAL if size < 0 else errno.EFBIG)
            if mtime_ns is None:
                mtime_ns = now_ns
        return self._store(Attributes(
            inode, old.mode if mode is None else mode, old.nlink, old.uid if uid is None else uid,
            old.gid if gid is None else gid, old.rdev, old.size if size is None else size,
            old.atime_ns if atime_ns is None else atime_ns,
            old.mtime_ns if mtime_ns is None else mtime_ns,
            now_ns if ctime_ns is None else ctime_ns, old.btime_ns))

    def record_content(self, inode: InodeId, *, size: int, mtime_ns: int | None,
                       ctime_ns: int | None) -> Attributes:
        """What flushed content means for its inode: no rules apply, ctime never goes back.

        A time that is None stays.
        """
        old = self.attributes(inode)
        return self._store(old.with_content(
            size, old.mtime_ns if mtime_ns is None else mtime_ns, ctime_ns or 0))

    def drop_privileges(self, inode: InodeId) -> bool:
        """Take set-user-id and set-group-id away, as a write or truncate does; whether any was."""
        mode = self.attributes(inode).mode
        cleared = without_privileges(mode)
        if cleared == mode:
            return False
        self.set_attributes(inode, mode=cleared)
        return True

    # --- extended attributes ---

    def get_xattr(self, inode: InodeId, name: bytes) -> bytes:
        """The value. ENODATA; ENOTSUP outside user., trusted. and security."""
        return xattrs.get(self._tables, inode, name)

    def set_xattr(self, inode: InodeId, name: bytes, value: bytes, flags: int = 0) -> None:
        """Set a value; flags CREATE=1, REPLACE=2.

        EEXIST, ENODATA, ENOTSUP, E2BIG (value), ERANGE (name), ENOSPC (the list of names).
        """
        attributes = self.attributes(inode)
        with self._database.change():
            xattrs.put(self._tables, inode, name, value, flags)
            self._store(attributes.with_links(attributes.nlink, self._clock.wall_ns()))

    def list_xattrs(self, inode: InodeId) -> list[bytes]:
        """The names, in order. ENOENT."""
        self.attributes(inode)
        return self._tables.xattr_names(inode)

    def remove_xattr(self, inode: InodeId, name: bytes) -> None:
        """Remove one. ENODATA, ENOTSUP."""
        attributes = self.attributes(inode)
        with self._database.change():
            xattrs.remove(self._tables, inode, name)
            self._store(attributes.with_links(attributes.nlink, self._clock.wall_ns()))

    # --- orphans ---

    def orphans(self, limit: int) -> list[InodeId]:
        """At most `limit` inodes without a name, the lowest first."""
        return self._tables.orphans(limit)

    def drop_orphan(self, inode: InodeId) -> None:
        """Delete an inode that has no name and that nobody has open. EBUSY if it has a name."""
        if self.attributes(inode).nlink:
            raise FsError(errno.EBUSY)
        with self._database.change():
            self._tables.delete_inode(inode)
        self._cache.drop(inode)
        self._count_changed(-1)

    # --- parts ---

    def _directory(self, inode: InodeId) -> Attributes:
        attributes = self.attributes(inode)
        if not attributes.is_directory:
            raise FsError(errno.ENOTDIR)
        return attributes

    def _entry(self, parent: InodeId, name: bytes) -> Attributes:
        inode = self._tables.entry(parent, name)
        if inode is None:
            raise FsError(errno.ENOENT)
        return self.attributes(inode)

    def _lookup_special(self, parent: InodeId, name: bytes) -> Attributes:
        directory = self._directory(parent)
        if name == b".":
            return directory
        if name == b"..":
            return self.attributes(self.parent_of(parent))
        if len(name) > NAME_LEN_MAX:
            raise FsError(errno.ENAMETOOLONG)
        raise FsError(errno.ENOENT)

    def _changed_directory(self, directory: Attributes, links: int, now_ns: int) -> Attributes:
        changed = directory.with_entries_changed(directory.nlink + links, now_ns)
        self._tables.update_directory(directory.inode, nlink=changed.nlink, now_ns=now_ns)
        return changed

    def _remove(self, directory: Attributes, name: bytes, victim: Attributes,
                parent_links: int) -> Attributes:
        now_ns = self._clock.wall_ns()
        with self._database.change():
            self._tables.delete_entry(directory.inode, name)
            removed = renaming.lose_name(self._tables, victim, now_ns)
            changed = self._changed_directory(directory, parent_links, now_ns)
        self._cache.put(removed)
        self._cache.put(changed)
        return removed

    def _store(self, new: Attributes) -> Attributes:
        self._tables.update_inode(
            new.inode, mode=new.mode, uid=new.uid, gid=new.gid, size=new.size,
            atime_ns=new.atime_ns, mtime_ns=new.mtime_ns, ctime_ns=new.ctime_ns)
        self._cache.put(new)
        return new

    def _count_changed(self, by: int) -> None:
        if self._count is not None:
            self._count += by
