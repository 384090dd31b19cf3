"""What each file system request means, for any transport: tree, bytes, lookup counts."""

import errno
import stat
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import trio

from ecfs.base.errors import FsError, NoSpace
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.limits import FILE_LEN_MAX
from ecfs.base.promises import keep_all
from ecfs.base.units import NS_PER_S
from ecfs.driver.access_times import AccessTimes
from ecfs.driver.admitting import admitted
from ecfs.driver.attributes import Change, Stat
from ecfs.driver.capabilities import CAPABILITY, FileCapabilities
from ecfs.driver.directories import DirectoryRequests
from ecfs.driver.errnos import errno_of
from ecfs.driver.lookups import TOLD_FOR_S_MAX, LookupCounts
from ecfs.driver.orphans import drop_orphans, has_room
from ecfs.driver.ranges import RangeRequests
from ecfs.driver.volume_protocol import Mounted, VolumeSpace
from ecfs.namespace import RENAME_EXCHANGE, Attributes
from ecfs.targets import Buffer

_TRUSTED = b"trusted."

TIDIED_AT_ONCE = 64
TIDY_AFTER_S = 0.002


class Requests:
    """The requests of one mount. All run on the event loop; the async ones may wait.

    What must not be torn apart stands between two awaits: every change of the tree is one
    synchronous call after the last wait. Each method raises EcfsError with the errno to answer.
    `stale` is told of an inode whose mode changed behind the kernel's back.

    A file is named by its inode, and nothing is kept of who has it open: the kernel checks what may
    be done through which descriptor, and does not forget an inode that is open.
    """

    def __init__(self, mounted: Mounted, stale: Callable[[InodeId], None], *,
                 relatime: bool = False, told_for_s: float = TOLD_FOR_S_MAX) -> None:
        self._mounted = mounted
        self._tree = mounted.tree
        self._files = mounted.files
        self._stale = stale
        self._lookups = LookupCounts(self._tree.monotonic_ns, int(told_for_s * NS_PER_S))
        self._capabilities = FileCapabilities(self._tree)
        self._leaving: list[InodeId] = []
        self._left = trio.Event()
        self._unnamed: set[InodeId] = set()
        self._access = AccessTimes(mounted) if relatime else None
        self.directories = DirectoryRequests(mounted, self._lookups, self._access, self._seen)
        self.ranges = RangeRequests(mounted, self._access, self.stat, self.change, self._changed,
                                    stale, self.tidy)

    # --- looking ---

    def lookup(self, parent: InodeId, name: bytes) -> Stat | None:
        """The inode behind a name, one more lookup of it counted; None if there is none."""
        attributes = self._tree.find(parent, name)
        if attributes is None:
            return None
        if not attributes.nlink:
            # By its number (`.`), so the kernel has it no more: what is open it would not ask for.
            # It is about to go, though its FORGET may come after this.
            return None
        found = self._seen(attributes)
        self._lookups.add(attributes.inode, settled=found.settled)
        return found

    def stat(self, inode: InodeId) -> Stat:
        """The attributes of an inode."""
        return self._seen(self._tree.attributes(inode))

    def readlink(self, inode: InodeId) -> bytes:
        """The target of a symbolic link."""
        if self._access is not None:
            self._access.note(inode)
        return self._tree.readlink(inode)

    def space(self) -> VolumeSpace:
        """Total and free space."""
        return self._mounted.space()

    def forget(self, inode: InodeId, count: int) -> None:
        """The kernel dropped `count` lookups. What is gone for good with it goes at `tidy`."""
        self._lookups.forget(inode, count)
        if self._lookups.is_nameless(inode) and not self._lookups.is_known(inode):
            self._leaving.append(inode)
            self._left.set()

    async def tidy(self) -> None:
        """Drop the inodes without a name that the kernel has forgotten. Never fails."""
        room = True
        while leaving := self._leaving[:TIDIED_AT_ONCE]:
            del self._leaving[:TIDIED_AT_ONCE]
            room = room and await has_room(self._mounted)
            gone = [inode for inode in dict.fromkeys(leaving) if self._lookups.is_nameless(inode)]
            if room:
                drop_orphans(self._mounted, gone)
            for inode in gone:
                self._unnamed.discard(inode)
                self._lookups.dropped(inode)

    async def keep_tidy(self) -> NoReturn:
        """`tidy` for as long as this runs, some at once, a moment after they were forgotten."""
        while True:
            await self._left.wait()
            await trio.sleep(TIDY_AFTER_S)
            self._left = trio.Event()
            try:
                await self.tidy()
            except Exception as error:
                errno_of(error, "tidy")

    # --- names ---

    async def create(self, parent: InodeId, name: bytes, *, mode: int, uid: int, gid: int,
                     rdev: int = 0, symlink: bytes | None = None, umask: int = 0) -> Stat:
        """A new inode of any type; its lookup is counted."""
        await self._admitted(grows=True)
        attributes = self._tree.create(parent, name, mode=mode, uid=uid, gid=gid, rdev=rdev,
                                       symlink=symlink, umask=umask)
        self._lookups.add(attributes.inode)
        self._changed(parent)
        return self._seen(attributes)

    async def create_file(self, parent: InodeId, name: bytes, *, mode: int, uid: int, gid: int,
                          umask: int = 0) -> Stat:
        """A new regular file; its lookup is counted."""
        created = await self.create(parent, name, mode=stat.S_IFREG | stat.S_IMODE(mode), uid=uid,
                                    gid=gid, umask=umask)
        self._capabilities.note_lacking(created.attributes.inode)
        return created

    async def create_unnamed(self, parent: InodeId, *, mode: int, uid: int, gid: int,
                             umask: int) -> Stat:
        """O_TMPFILE: a file that goes with its last descriptor, unless `link` names it before."""
        await self._admitted(grows=True)
        attributes = self._tree.create_unnamed(parent, mode=mode, uid=uid, gid=gid, umask=umask)
        self._lookups.add(attributes.inode)
        self._lookups.lost_name(attributes.inode)
        self._unnamed.add(attributes.inode)
        return self._seen(attributes)

    async def link(self, inode: InodeId, parent: InodeId, name: bytes) -> Stat:
        """One more name for an inode; its lookup is counted.

        A file of `create_unnamed` gets its first; one that was unlinked stays without (ENOENT).
        """
        await self._admitted(grows=True)
        attributes = self._tree.link(inode, parent, name, unnamed=inode in self._unnamed)
        self._unnamed.discard(inode)
        self._lookups.found_name(inode)
        found = self._seen(attributes)
        self._lookups.add(inode, settled=found.settled)
        self._changed(parent)
        return found

    async def unlink(self, parent: InodeId, name: bytes) -> None:
        """Remove a name; the inode goes with its last name and lookup."""
        await self._admitted(grows=False)
        self._changed(parent)
        await self._lost_name(self._tree.unlink(parent, name))

    async def rmdir(self, parent: InodeId, name: bytes) -> None:
        """Remove an empty directory."""
        await self._admitted(grows=False)
        self._changed(parent)
        await self._lost_name(self._tree.rmdir(parent, name))

    async def rename(self, old_parent: InodeId, old_name: bytes, new_parent: InodeId,
                     new_name: bytes, flags: int, *, uid: int = 0, gid: int = 0) -> None:
        """Move or exchange names; `uid` and `gid` own a whiteout.

        A file that replaces another is flushed first, so that one commit holds its bytes and its
        name: after a crash the name shows the old file or the new one, never an empty one.
        """
        await self._admitted(grows=False)
        if not flags & RENAME_EXCHANGE:
            await self._flush_replacement(old_parent, old_name, new_parent, new_name)
        renamed = self._tree.rename(old_parent, old_name, new_parent, new_name, flags, uid=uid,
                                    gid=gid)
        self._changed(old_parent, new_parent, *renamed.moved)
        if renamed.victim is not None:
            await self._lost_name(renamed.victim)

    # --- attributes ---

    async def change(self, inode: InodeId, change: Change) -> Stat:
        """setattr(2)'s family: chmod, chown, truncate, utimens."""
        size = change.size
        if size is None:
            await self._admitted(grows=False)
        else:
            attributes = self._tree.attributes(inode)
            await self._admitted(grows=size > self._seen(attributes).attributes.size)
            self._check_size(attributes, size)
            await self._files.truncate(inode, size)
        if change.mode is None and change.kill_privileges:
            self._tree.drop_privileges(inode)
        if size is not None or change.uid is not None or change.gid is not None:
            self._capabilities.drop(inode)
        now_ns = self._tree.now_ns()
        attributes = self._tree.set_attributes(
            inode, mode=change.mode, uid=change.uid, gid=change.gid, size=size,
            atime_ns=now_ns if change.atime_now else change.atime_ns,
            mtime_ns=now_ns if change.mtime_now else change.mtime_ns, ctime_ns=change.ctime_ns)
        if attributes.is_regular and (
                size is not None or change.mtime_now or change.mtime_ns is not None):
            self._files.times_were_set(inode)
        return self._seen(attributes)

    def get_xattr(self, inode: InodeId, name: bytes) -> bytes:
        """The value of an extended attribute. Capabilities are asked for before each chown."""
        if name == CAPABILITY and self._capabilities.lacks(inode):
            raise FsError(errno.ENODATA)
        return self._tree.get_xattr(inode, name)

    def list_xattrs(self, inode: InodeId, *, uid: int) -> list[bytes]:
        """The names of extended attributes that the caller may see: trusted ones are root's."""
        names = self._tree.list_xattrs(inode)
        return names if uid == 0 else [name for name in names if not name.startswith(_TRUSTED)]

    async def set_xattr(self, inode: InodeId, name: bytes, value: bytes, flags: int, *,
                        kill_set_group_id: bool = False) -> None:
        """Set an extended attribute; flags CREATE=1, REPLACE=2. Modes follow access ACLs."""
        await self._admitted(grows=True)
        if name == CAPABILITY:
            self._capabilities.note_set(inode)
        self._changed(inode)
        self._tree.set_xattr(inode, name, value, flags, kill_set_group_id=kill_set_group_id)

    async def remove_xattr(self, inode: InodeId, name: bytes) -> None:
        """Remove an extended attribute."""
        await self._admitted(grows=False)
        self._changed(inode)
        self._tree.remove_xattr(inode, name)

    # --- bytes of files ---

    @property
    def notes_access(self) -> bool:
        """Whether access times are kept, so that the kernel is to ask at each open (relatime)."""
        return self._access is not None

    async def empty(self, inode: InodeId, *, kill_privileges: bool) -> None:
        """O_TRUNC of an open."""
        await self.change(inode, Change(size=0, kill_privileges=kill_privileges))

    def may_keep_cache(self, inode: InodeId) -> bool:
        """Whether what the kernel has of a file's or directory's content may serve who opens it."""
        return self._access is None or not self._access.is_due(inode)

    def begin_read(self, inode: InodeId, offset: int, length: int, *,
                   flags: int = 0) -> Buffer | Coroutine[Any, Any, Buffer]:
        """The bytes of the range that lie before the end of the file, or who waits for them.
        `flags` are those of the descriptor, as in open(2)."""
        self._tree.attributes(inode).check_regular()
        if self._access is not None:
            self._access.note(inode, flags)
        return self._files.begin_read(inode, offset, length)

    async def read(self, inode: InodeId, offset: int, length: int, *, flags: int = 0) -> Buffer:
        """As `begin_read`, of what may have to be waited for."""
        found = self.begin_read(inode, offset, length, flags=flags)
        return await found if isinstance(found, Coroutine) else found

    def begin_write(self, inode: InodeId, offset: int, data: Buffer, *,
                    kill_privileges: bool) -> Coroutine[Any, Any, None] | None:
        """Write all of `data`, now (None), or once there is room: then it is who waits for that.
        EFBIG past the largest offset. `kill_privileges`: set-user-id and set-group-id go."""
        self._tree.attributes(inode).check_regular()
        if offset + len(data) > FILE_LEN_MAX:
            raise FsError(errno.EFBIG)
        try:
            self._mounted.admit(grows=True)
        except NoSpace:
            return self._write_admitted(inode, offset, data, kill_privileges)
        self._changed(inode)
        waiting = self._files.begin_write(inode, offset, data)
        if waiting is not None:
            return self._write_waiting(waiting, inode, kill_privileges)
        self._wrote(inode, kill_privileges)
        return None

    async def _write_admitted(self, inode: InodeId, offset: int, data: Buffer,
                              kill_privileges: bool) -> None:
        await self._admitted(grows=True)
        self._tree.attributes(inode).check_regular()
        waiting = self._files.begin_write(inode, offset, data)
        self._changed(inode)
        if waiting is not None:
            await waiting
        self._wrote(inode, kill_privileges)

    async def _write_waiting(self, waiting: Coroutine[Any, Any, None], inode: InodeId,
                             kill_privileges: bool) -> None:
        await waiting
        self._wrote(inode, kill_privileges)

    def _wrote(self, inode: InodeId, kill_privileges: bool) -> None:
        if kill_privileges and self._tree.drop_privileges(inode):
            self._stale(inode)
        self._capabilities.drop(inode)

    async def write(self, inode: InodeId, offset: int, data: Buffer, *,
                    kill_privileges: bool) -> int:
        """As `begin_write`, of what may have to be waited for; the length."""
        waiting = self.begin_write(inode, offset, data, kill_privileges=kill_privileges)
        if waiting is not None:
            await waiting
        return len(data)

    async def fsync(self, inode: InodeId) -> None:
        """Everything about a file is durable, or this raises."""
        await self._mounted.fsync(inode)

    # --- the end ---

    async def finish(self) -> None:
        """The kernel is gone: forget everything, and drop what only it kept alive."""
        self.directories.clear()
        self._leaving = self._lookups.forget_all()
        await self.tidy()

    # --- parts ---

    def _changed(self, *inodes: InodeId) -> None:
        """The kernel knows that their attributes have changed, and not to what."""
        for inode in inodes:
            self._lookups.changed(inode)

    async def _admitted(self, *, grows: bool) -> None:
        await admitted(self._mounted, self.tidy, grows=grows)

    def _seen(self, attributes: Attributes) -> Stat:
        if not attributes.is_regular:
            return Stat(attributes, 0, True)
        pending = self._files.pending(attributes.inode)
        if pending is not None:
            size, mtime_ns, ctime_ns = pending
            attributes = attributes.with_content(size, mtime_ns or attributes.mtime_ns, ctime_ns)
        return Stat(attributes, self._files.blocks(attributes.inode, attributes.size),
                    pending is None)

    def _check_size(self, attributes: Attributes, size: int) -> None:
        attributes.check_regular()
        if size < 0:
            raise FsError(errno.EINVAL)
        if size > FILE_LEN_MAX:
            raise FsError(errno.EFBIG)

    async def _flush_replacement(self, old_parent: InodeId, old_name: bytes, new_parent: InodeId,
                                 new_name: bytes) -> None:
        try:
            if self._tree.find(new_parent, new_name) is None:
                return
            source = self._tree.lookup(old_parent, old_name)
        except FsError:
            return
        if source.is_regular and self._files.pending(source.inode) is not None:
            # With the commit that renames it, at the latest.
            await self._files.flush(source.inode, inline=True)
            self._mounted.admit(grows=False)

    async def _lost_name(self, victim: Attributes) -> None:
        self._changed(victim.inode)
        if victim.nlink or victim.inode == ROOT_INODE:
            return
        if self._lookups.is_known(victim.inode):
            self._lookups.lost_name(victim.inode)
            return
        # By who can be told: `tidy` never fails.
        keep_all(self._mounted.promises, answered=False)
        self._lookups.lost_name(victim.inode)
        self._leaving.append(victim.inode)
        await self.tidy()
