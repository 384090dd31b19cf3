"""pyfuse3's requests in terms of `Requests`: converts arguments, results and errors, no more."""

import errno
import functools
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.units import BLOCK_LEN
from ecfs.driver.attributes import Change, Stat
from ecfs.driver.errnos import errno_of
from ecfs.driver.kernel import root_may
from ecfs.driver.listing import DOTS
from ecfs.driver.lookups import told_for_s
from ecfs.driver.requests import Requests
from ecfs.driver.volume_protocol import Mounted

UNSETTLED_TIMEOUT_S = 1.0
BLOCK_HINT_LEN = 32 * BLOCK_LEN
SYMLINK_MODE = stat.S_IFLNK | 0o777
_ACL_PREFIX = b"system.posix_acl_"

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Handler = Callable[Concatenate["Operations", _Arguments], Coroutine[Any, Any, _Result]]


def _answered(handler: _Handler[_Arguments, _Result]) -> _Handler[_Arguments, _Result]:
    """Let nothing but FUSEError (and trio's Cancelled) out: pyfuse3's main loop ends otherwise."""

    @functools.wraps(handler)
    async def answer(self: "Operations", /, *args: _Arguments.args,
                     **kwargs: _Arguments.kwargs) -> _Result:
        self.served()
        try:
            return await handler(self, *args, **kwargs)
        except Exception as error:
            raise pyfuse3.FUSEError(errno_of(error, handler.__name__)) from None

    return answer


class Operations(pyfuse3.Operations):
    """The handlers of one mount. Kernel caches hold for the timeouts: there is no other client.
    `served` is told of each request."""

    supports_dot_lookup = True

    def __init__(self, mounted: Mounted, served: Callable[[], None], *, writeback: bool,
                 entry_timeout_s: float, attribute_timeout_s: float,
                 relatime: bool = False) -> None:
        super().__init__()
        self.served = served
        self.enable_writeback_cache = writeback
        self.requests = Requests(
            mounted, stale=_mode_is_stale, relatime=relatime,
            told_for_s=told_for_s(entry_timeout_s, attribute_timeout_s))
        self._entry_timeout_s = entry_timeout_s
        self._attribute_timeout_s = attribute_timeout_s

    # --- looking ---

    @_answered
    async def lookup(self, parent_inode: int, name: bytes,
                     ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Inode 0 says that there is no such name, and may be cached."""
        found = self.requests.lookup(InodeId(parent_inode), name)
        if found is not None:
            return self._entry(found)
        missing = pyfuse3.EntryAttributes()
        missing.st_ino = 0
        missing.entry_timeout = self._entry_timeout_s
        return missing

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Has no reply, so errors end in the log."""
        try:
            for inode, count in inode_list:
                self.requests.forget(InodeId(inode), count)
        except Exception as error:
            errno_of(error, "forget")

    @_answered
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes by inode."""
        return self._entry(self.requests.stat(InodeId(inode)))

    @_answered
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """Asked for where the kernel compares no modes, which is so for root alone."""
        return root_may(self.requests.stat(InodeId(inode)).attributes.mode, mode)

    @_answered
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """Target of a symbolic link."""
        return self.requests.readlink(InodeId(inode))

    @_answered
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Space in blocks of 4 KiB."""
        space = self.requests.space()
        answer = pyfuse3.StatvfsData()
        answer.f_bsize = answer.f_frsize = BLOCK_LEN
        answer.f_blocks = space.total_len // BLOCK_LEN
        answer.f_bfree = space.free_len // BLOCK_LEN
        answer.f_bavail = space.available_len // BLOCK_LEN
        answer.f_files = space.inodes_count + space.inodes_free
        answer.f_ffree = answer.f_favail = space.inodes_free
        answer.f_namemax = 255
        return answer

    # --- names ---

    @_answered
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int,
                    ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """FIFO, socket, device or regular file."""
        return self._entry(await self.requests.create(
            InodeId(parent_inode), name, mode=mode, uid=ctx.uid, gid=ctx.gid, rdev=rdev))

    @_answered
    async def mkdir(self, parent_inode: int, name: bytes, mode: int,
                    ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Directory; pyfuse3 puts the type into the mode."""
        return self._entry(await self.requests.create(
            InodeId(parent_inode), name, mode=mode, uid=ctx.uid, gid=ctx.gid))

    @_answered
    async def symlink(self, parent_inode: int, name: bytes, target: bytes,
                      ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Symbolic link."""
        return self._entry(await self.requests.create(
            InodeId(parent_inode), name, mode=SYMLINK_MODE, uid=ctx.uid, gid=ctx.gid,
            symlink=target))

    @_answered
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes,
                   ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Hard link."""
        return self._entry(await self.requests.link(
            InodeId(inode), InodeId(new_parent_inode), new_name))

    @_answered
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove a name."""
        await self.requests.unlink(InodeId(parent_inode), name)

    @_answered
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove a directory."""
        await self.requests.rmdir(InodeId(parent_inode), name)

    @_answered
    async def rename(self, parent_inode_old: int, name_old: bytes, parent_inode_new: int,
                     name_new: bytes, flags: int, ctx: pyfuse3.RequestContext) -> None:
        """Rename with the flags of renameat2(2)."""
        await self.requests.rename(InodeId(parent_inode_old), name_old,
                                   InodeId(parent_inode_new), name_new, flags, uid=ctx.uid,
                                   gid=ctx.gid)

    # --- attributes ---

    @_answered
    async def setattr(self, inode: int, attr: pyfuse3.EntryAttributes,
                      fields: pyfuse3.SetattrFields, fh: int | None,
                      ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Whatever `fields` names; none: chown(-1, -1), which only kills privileges."""
        change = Change(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            ctime_ns=attr.st_ctime_ns if fields.update_ctime else None,
            kill_privileges=(fields.update_size and ctx.uid != 0) or not any((
                fields.update_mode, fields.update_uid, fields.update_gid, fields.update_size,
                fields.update_atime, fields.update_mtime, fields.update_ctime)))
        return self._entry(await self.requests.change(InodeId(inode), change))

    @_answered
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """Value of an extended attribute."""
        _refuse_acls(name)
        return self.requests.get_xattr(InodeId(inode), name)

    @_answered
    async def setxattr(self, inode: int, name: bytes, value: bytes,
                       ctx: pyfuse3.RequestContext) -> None:
        """Set an extended attribute; pyfuse3 has seen to the flags by asking for it before."""
        _refuse_acls(name)
        await self.requests.set_xattr(InodeId(inode), name, value, 0)

    @_answered
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """Names of extended attributes."""
        return [name for name in self.requests.list_xattrs(InodeId(inode), uid=ctx.uid)
                if not name.startswith(_ACL_PREFIX)]

    @_answered
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove an extended attribute."""
        _refuse_acls(name)
        await self.requests.remove_xattr(InodeId(inode), name)

    # --- open files ---

    @_answered
    async def create(self, parent_inode: int, name: bytes, mode: int, flags: int,
                     ctx: pyfuse3.RequestContext
                     ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Create and open."""
        created = await self.requests.create_file(
            InodeId(parent_inode), name, mode=mode, uid=ctx.uid, gid=ctx.gid)
        fh = _handle(created.attributes.inode, flags, ctx.uid)
        return pyfuse3.FileInfo(fh=fh, keep_cache=True), self._entry(created)

    @_answered
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open, with O_TRUNC if asked for; the kernel may keep the pages it has."""
        if flags & os.O_TRUNC:
            await self.requests.empty(InodeId(inode), kill_privileges=ctx.uid != 0)
        return pyfuse3.FileInfo(fh=_handle(inode, flags, ctx.uid),
                                keep_cache=self.requests.may_keep_cache(InodeId(inode)))

    @_answered
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes, short only at the end of the file. pyfuse3 does not tell the descriptor's flags:
        O_NOATIME counts if it was opened with it."""
        return bytes(await self.requests.read(_inode_of(fh), off, size,
                                              flags=_read_flags(fh)))

    @_answered
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """All of `buf`. Root's writes leave set-user-id alone, as Linux does; pyfuse3 does not say
        who writes, so it is who opened it."""
        return await self.requests.write(_inode_of(fh), off, buf, kill_privileges=not fh & 1)

    async def release(self, fh: int) -> None:
        """The last close."""

    @_answered
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Durable content and metadata."""
        await self.requests.fsync(_inode_of(fh))

    # --- open directories ---

    @_answered
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A handle on a directory."""
        return self.requests.directories.open(InodeId(inode))

    @_answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with attributes until the kernel's buffer is full."""
        for name, inode, _, found, next_id in self.requests.directories.entries(fh, start_id):
            seen = found or self.requests.stat(inode)
            if not pyfuse3.readdir_reply(token, name, self._entry(seen), next_id):
                return
            if name not in DOTS:
                self.requests.directories.count_lookup(seen)

    @_answered
    async def releasedir(self, fh: int) -> None:
        """The last close."""
        self.requests.directories.close(fh)

    @_answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Durable metadata."""
        await self.requests.directories.fsync(fh)

    def _entry(self, found: Stat) -> pyfuse3.EntryAttributes:
        attributes = found.attributes
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = attributes.inode
        entry.entry_timeout = self._entry_timeout_s
        entry.attr_timeout = (self._attribute_timeout_s if found.settled
                              else min(UNSETTLED_TIMEOUT_S, self._attribute_timeout_s))
        entry.st_mode = attributes.mode
        entry.st_nlink = attributes.nlink
        entry.st_uid = attributes.uid
        entry.st_gid = attributes.gid
        entry.st_rdev = attributes.rdev
        entry.st_size = attributes.size
        entry.st_blksize = BLOCK_HINT_LEN
        entry.st_blocks = found.blocks
        entry.st_atime_ns = attributes.atime_ns
        entry.st_mtime_ns = attributes.mtime_ns
        entry.st_ctime_ns = attributes.ctime_ns
        return entry


def _handle(inode: int, flags: int, uid: int) -> int:
    """An open file: which, whether with O_NOATIME, and in the lowest bit whether by root."""
    return inode << 2 | bool(flags & os.O_NOATIME) << 1 | (uid == 0)


def _inode_of(fh: int) -> InodeId:
    return InodeId(fh >> 2)


def _read_flags(fh: int) -> int:
    return os.O_NOATIME if fh & 2 else 0


def _refuse_acls(name: bytes) -> None:
    """pyfuse3 lets the kernel apply the umask before us, which default ACLs must be able to stop.

    Those that are stored stay, but nobody checks them here.
    """
    if name.startswith(_ACL_PREFIX):
        raise FsError(errno.EOPNOTSUPP)


def _mode_is_stale(inode: InodeId) -> None:
    """Let the kernel ask for the attributes again; with attr_only this never waits for anything."""
    pyfuse3.invalidate_inode(inode, attr_only=True)
