"""The tree of names and inodes, with the rules of POSIX and the habits of Linux."""

import errno
import stat
from collections.abc import Sequence
from functools import partial

from ecfs.base.errors import FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.limits import FILE_LEN_MAX, LINKS_MAX
from ecfs.namespace import acls, renaming, xattrs
from ecfs.namespace.attributes import Attributes, without_privileges
from ecfs.namespace.looking import TreeView
from ecfs.namespace.names import check_new_name, check_symlink_target, check_victim_name

_FILE_TYPES = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK,
                         stat.S_IFCHR, stat.S_IFBLK})

_Stored = list[tuple[bytes, bytes]]


class Tree(TreeView):
    """All changes of inodes and entries. Not thread-safe; no method waits.

    Every changing method is one `Database.change()`: it happens or it raises and nothing happened.
    What it decided it may only promise (`Database.promise`); whoever asks next finds it made.
    Refusals are `FsError` with the errno that Linux gives; an inode that does not exist is ENOENT.
    Access times change only by `set_attributes` and `record_access`.
    """

    # --- names ---

    def format_root(self, uid: int, gid: int, mode: int) -> None:
        """Make the root directory of a fresh file system; `mode` is permission bits."""
        with self._database.change():
            self._tables.insert_root(ROOT_INODE, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid,
                                     self._clock.wall_ns())

    def create(self, parent: InodeId, name: bytes, *, mode: int, uid: int, gid: int, rdev: int = 0,
               symlink: bytes | None = None, umask: int = 0) -> Attributes:
        """Make an inode of the type in `mode` (regular without one) under a new name.

        A set-group-id directory hands down its group, and the bit to directories. A default ACL
        of the directory takes the place of `umask`. `symlink` is the target, and goes with S_IFLNK
        only. EEXIST, ENOTDIR, ENOENT, ENAMETOOLONG, EINVAL.
        """
        directory = self._directory(parent)
        check_new_name(name)
        if self._names_ahead.inode(parent, name) is not None:
            raise FsError(errno.EEXIST)
        if not directory.nlink:
            raise FsError(errno.ENOENT)
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        if kind not in _FILE_TYPES or (symlink is not None) != (kind == stat.S_IFLNK):
            raise FsError(errno.EINVAL)
        if symlink is not None:
            check_symlink_target(symlink)
        is_directory = kind == stat.S_IFDIR
        now_ns = self._clock.wall_ns()
        created, stored = self._new_inode(
            directory, kind | stat.S_IMODE(mode), uid=uid, gid=gid, rdev=rdev, symlink=symlink,
            umask=umask, now_ns=now_ns, nlink=2 if is_directory else 1)
        changed = directory.with_entries_changed(directory.nlink + is_directory, now_ns)

        def make() -> None:
            with self._database.change():
                self._insert_inode(parent, created, symlink, stored)
                self._tables.insert_entry(parent, name, created.inode)
                self._update_directory(changed)

        self._database.promise(make)
        self._cache.put(created)
        self._cache.put(changed)
        self._cache.put_name(created.inode, parent, name)
        self._count_changed(1)
        return created

    def create_unnamed(self, parent: InodeId, *, mode: int, uid: int, gid: int,
                       umask: int = 0) -> Attributes:
        """Make a regular file without a name: an orphan, which `link` can name. ENOTDIR, ENOENT."""
        directory = self._directory(parent)
        if not directory.nlink:
            raise FsError(errno.ENOENT)
        created, stored = self._new_inode(
            directory, stat.S_IFREG | stat.S_IMODE(mode), uid=uid, gid=gid, rdev=0, symlink=None,
            umask=umask, nlink=0, now_ns=self._clock.wall_ns())

        def make() -> None:
            with self._database.change():
                self._insert_inode(parent, created, None, stored)
                self._tables.insert_orphan(created.inode)

        self._database.promise(make)
        self._cache.put(created)
        self._count_changed(1)
        return created

    def _new_inode(self, directory: Attributes, mode: int, *, uid: int, gid: int, rdev: int,
                   symlink: bytes | None, umask: int, nlink: int, now_ns: int,
                   ) -> tuple[Attributes, _Stored]:
        """What is to be of an inode that is made in a directory: attributes and ACLs."""
        if directory.mode & stat.S_ISGID:
            gid = directory.gid
            if stat.S_ISDIR(mode):
                mode |= stat.S_ISGID
        stored: _Stored = []
        if symlink is None:
            value = self._tables.xattr(directory.inode, acls.DEFAULT)
            default = acls.parse(value) if value is not None else None
            if default is None:
                mode &= ~umask
            else:
                mode, access, default = acls.inherited(default, mode)
                stored = [(name, acl.to_bytes()) for name, acl in
                          ((acls.ACCESS, access), (acls.DEFAULT, default)) if acl is not None]
        if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            rdev = 0
        size = len(symlink) if symlink is not None else 0
        return Attributes(self._tables.new_inode(), mode, nlink, uid, gid, rdev, size, now_ns,
                          now_ns, now_ns, now_ns), stored

    def _insert_inode(self, parent: InodeId, new: Attributes, symlink: bytes | None,
                      stored: _Stored) -> None:
        """The rows of an inode, inside a change."""
        self._tables.insert_inode(
            parent, new.inode, mode=new.mode, nlink=new.nlink, uid=new.uid, gid=new.gid,
            rdev=new.rdev, size=new.size, now_ns=new.btime_ns, symlink=symlink)
        for name, value in stored:
            self._tables.put_xattr(new.inode, name, value)

    def link(self, inode: InodeId, parent: InodeId, name: bytes, *,
             unnamed: bool = False) -> Attributes:
        """Give an inode one more name, or with `unnamed` its first.

        EPERM (directories), EEXIST, EMLINK, ENOENT (orphans, unless `unnamed`).
        """
        directory = self._directory(parent)
        check_new_name(name)
        target = self.attributes(inode)
        if self._names_ahead.inode(parent, name) is not None:
            raise FsError(errno.EEXIST)
        if target.is_directory:
            raise FsError(errno.EPERM)
        if not (target.nlink or unnamed) or not directory.nlink:
            raise FsError(errno.ENOENT)
        if target.nlink >= LINKS_MAX:
            raise FsError(errno.EMLINK)
        now_ns = self._clock.wall_ns()
        linked = target.with_links(target.nlink + 1, now_ns)
        changed = directory.with_entries_changed(directory.nlink, now_ns)

        def make() -> None:
            with self._database.change():
                if not target.nlink:
                    self._tables.delete_orphan(inode)
                    self._tables.update_parent(inode, parent, ctime_ns=now_ns)
                self._tables.insert_entry(parent, name, inode)
                self._tables.update_links(inode, nlink=linked.nlink, ctime_ns=now_ns)
                self._update_directory(changed)

        self._database.promise(make)
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
               flags: int, *, uid: int = 0, gid: int = 0) -> renaming.Renamed:
        """Move or exchange names; flags of renameat2(2): NOREPLACE=1, EXCHANGE=2, WHITEOUT=4.

        A whiteout, a device 0:0 that belongs to `uid` and `gid`, takes the old name.

        Two names of one inode: nothing happens. EINVAL (flags, a directory into itself), EEXIST,
        ENOENT, ENOTDIR, EISDIR, ENOTEMPTY, ENAMETOOLONG.
        """
        renaming.check_flags(flags)
        old_directory = self._directory(old_parent)
        new_directory = self._directory(new_parent)
        check_victim_name(old_name)
        check_victim_name(new_name)
        source = self._entry(old_parent, old_name)
        target_inode = self._names_ahead.inode(new_parent, new_name)
        target = None if target_inode is None else self.attributes(target_inode)
        if target is None and not new_directory.nlink:
            raise FsError(errno.ENOENT)
        outcome = renaming.decide(renaming.situation(
            self._tables, source, target, old_parent=old_parent, new_parent=new_parent), flags)
        if outcome.nothing:
            return renaming.Renamed()
        now_ns = self._clock.wall_ns()
        move = renaming.Move(source, target, old_parent, old_name, new_parent, new_name,
                             outcome.exchange)
        changed, victim = renaming.changed_by(move, now_ns)
        whiteout = (self._new_inode(old_directory, stat.S_IFCHR, uid=uid, gid=gid, rdev=0,
                                    symlink=None, umask=0, nlink=1, now_ns=now_ns)
                    if flags & renaming.RENAME_WHITEOUT else None)
        if old_parent == new_parent:
            links = outcome.old_parent_links + outcome.new_parent_links
            directories = [old_directory.with_entries_changed(old_directory.nlink + links, now_ns)]
        else:
            directories = [
                directory.with_entries_changed(directory.nlink + links, now_ns)
                for directory, links in ((old_directory, outcome.old_parent_links),
                                         (new_directory, outcome.new_parent_links))]

        def make() -> None:
            with self._database.change():
                renaming.carry_out(self._tables, move, now_ns)
                if whiteout is not None:
                    made, stored = whiteout
                    self._insert_inode(old_parent, made, None, stored)
                    self._tables.insert_entry(old_parent, old_name, made.inode)
                for directory in directories:
                    self._update_directory(directory)

        self._database.promise(make)
        for attributes in (*changed, *directories):
            self._cache.put(attributes)
        if whiteout is not None:
            self._cache.put(whiteout[0])
            self._count_changed(1)
        self._cache.put_name(source.inode, new_parent, new_name)
        if outcome.exchange and target is not None:
            self._cache.put_name(target.inode, old_parent, old_name)
            return renaming.Renamed((source.inode, target.inode))
        return renaming.Renamed((source.inode,), victim)

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
            old.check_regular()
            if not 0 <= size <= FILE_LEN_MAX:
                raise FsError(errno.EINVAL if size < 0 else errno.EFBIG)
            if mtime_ns is None:
                mtime_ns = now_ns
        if mode is not None and (mode ^ old.mode) & 0o777:
            self._let_acl_follow(inode, mode)
        return self._store(Attributes(
            inode, old.mode if mode is None else mode, old.nlink, old.uid if uid is None else uid,
            old.gid if gid is None else gid, old.rdev, old.size if size is None else size,
            old.atime_ns if atime_ns is None else atime_ns,
            old.mtime_ns if mtime_ns is None else mtime_ns,
            now_ns if ctime_ns is None else ctime_ns, old.btime_ns))

    def _let_acl_follow(self, inode: InodeId, mode: int) -> None:
        value = self._tables.xattr(inode, acls.ACCESS)
        acl = acls.parse(value) if value is not None else None
        if acl is not None:
            with self._database.change():
                self._tables.put_xattr(inode, acls.ACCESS, acl.with_mode(mode).to_bytes())

    def record_access(self, inode: InodeId) -> None:
        """Somebody reads now: the access time, and nothing else."""
        read = self.attributes(inode)._replace(atime_ns=self._clock.wall_ns())
        # At once: who reads is not to hear of it where that fails.
        self._update(read)
        self._cache.put(read)

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

    def set_xattr(self, inode: InodeId, name: bytes, value: bytes, flags: int = 0, *,
                  kill_set_group_id: bool = False) -> None:
        """Set a value; flags CREATE=1, REPLACE=2. The mode follows an access ACL.

        `kill_set_group_id`: who sets an access ACL may not keep that bit. EEXIST, ENODATA, ENOTSUP,
        E2BIG (value), ERANGE (name), ENOSPC (the list of names); EINVAL, EACCES for an ACL.
        """
        old = self.attributes(inode)
        mode = old.mode
        with self._database.change():
            if name in acls.NAMES:
                mode = xattrs.put_acl(self._tables, old, name, value)
                if name == acls.ACCESS and kill_set_group_id:
                    mode &= ~stat.S_ISGID
            else:
                xattrs.put(self._tables, inode, name, value, flags)
            self._store(old.with_mode(mode, self._clock.wall_ns()))

    def remove_xattr(self, inode: InodeId, name: bytes) -> None:
        """Remove one. ENODATA, ENOTSUP."""
        attributes = self.attributes(inode)
        with self._database.change():
            if xattrs.remove(self._tables, inode, name):
                self._store(attributes.with_links(attributes.nlink, self._clock.wall_ns()))

    # --- orphans ---

    def check_orphans(self, inodes: Sequence[InodeId]) -> None:
        """EBUSY if any of these has a name."""
        if any(self.attributes(inode).nlink for inode in inodes):
            raise FsError(errno.EBUSY)

    def drop_orphans(self, inodes: Sequence[InodeId]) -> None:
        """Delete inodes that have no name and that nobody has open. EBUSY if any has a name."""
        self.check_orphans(inodes)
        with self._database.change():
            self._tables.delete_inodes(inodes)
        for inode in inodes:
            self._cache.drop(inode)
        self._count_changed(-len(inodes))

    # --- parts ---

    def _update_directory(self, changed: Attributes) -> None:
        self._tables.update_directory(changed.inode, nlink=changed.nlink, now_ns=changed.mtime_ns)

    def _remove(self, directory: Attributes, name: bytes, victim: Attributes,
                parent_links: int) -> Attributes:
        now_ns = self._clock.wall_ns()
        removed = renaming.without_name(victim, now_ns)
        changed = directory.with_entries_changed(directory.nlink + parent_links, now_ns)

        def make() -> None:
            with self._database.change():
                self._tables.delete_entry(directory.inode, name)
                renaming.lose_name(self._tables, removed)
                self._update_directory(changed)

        self._database.promise(make)
        self._cache.put(removed)
        self._cache.put(changed)
        return removed

    def _store(self, new: Attributes) -> Attributes:
        self._database.promise(partial(self._update, new))
        self._cache.put(new)
        return new

    def _update(self, new: Attributes) -> None:
        self._tables.update_inode(
            new.inode, mode=new.mode, uid=new.uid, gid=new.gid, size=new.size,
            atime_ns=new.atime_ns, mtime_ns=new.mtime_ns, ctime_ns=new.ctime_ns)

    def _count_changed(self, by: int) -> None:
        if self._count is not None:
            self._count += by
