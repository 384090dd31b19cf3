"""The kernel's FUSE requests in terms of `Requests`: unpacks, calls, packs, no more.

Of open files the kernel keeps account alone. OPEN is answered by ENOSYS, after which it asks for
none, nor tells when one is closed; FLUSH, which close(2) sends, is ENOSYS as well: it could tell of
nothing but what fsync(2) tells. So an open costs no round trip, nor does a close.
"""

import errno
import logging
import os
import stat
from collections.abc import Callable, Coroutine
from typing import Any

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import REQUEST_LEN_MAX
from ecfs.driver import fuse_protocol as fuse
from ecfs.driver.attributes import Change, Stat
from ecfs.driver.fuse_loop import Answer, Handler, Reply, Request
from ecfs.driver.fuse_protocol import Feature, Opcode, SetAttr
from ecfs.driver.fuse_replies import dirent, fields, sized, statfs, statx
from ecfs.driver.kernel import root_may
from ecfs.driver.kernel_ranges import KernelRanges
from ecfs.driver.listing import DOTS
from ecfs.driver.lookups import told_for_s
from ecfs.driver.requests import Requests
from ecfs.driver.volume_protocol import Mounted

_log = logging.getLogger("ecfs.driver")

UNSETTLED_TIMEOUT_S = 1.0
SYMLINK_MODE = stat.S_IFLNK | 0o777
BACKGROUND_MAX = 32
OPENED_KEEPING = fuse.OPEN_OUT.pack(0, fuse.OPEN_KEEP_CACHE, 0)
ENTRY_TOLD = bytes(fuse.ENTRY_OUT.size)
"""No attributes, in a READDIRPLUS, as in a READDIR."""

Waiting = Coroutine[Any, Any, Reply]


class KernelTransport:
    """The handlers of one mount, by opcode. Kernel caches hold for the timeouts.

    `notify(code, body)` sends an unasked message to the kernel. `checks_modes`: the kernel checks
    who may do what; else only root, who may do everything, gets in.
    """

    def __init__(self, mounted: Mounted, *, writeback: bool, entry_timeout_s: float,
                 attribute_timeout_s: float, read_ahead_len: int,
                 notify: Callable[[int, bytes], None], relatime: bool = False,
                 checks_modes: bool = True) -> None:
        self.requests = Requests(mounted, stale=self._mode_is_stale, relatime=relatime,
                                 told_for_s=told_for_s(entry_timeout_s, attribute_timeout_s))
        self._features = (
            fuse.WANTED | (Feature.WRITEBACK_CACHE if writeback else 0)
            # With it the kernel checks modes, whether it was mounted so or not.
            | (Feature.POSIX_ACL if checks_modes else 0)
            # Else it empties a file by a SETATTR once it is open. But only what it keeps of links
            # it reads unseen.
            | (Feature.ATOMIC_O_TRUNC if self.requests.notes_access else Feature.CACHE_SYMLINKS))
        self._checks_modes = checks_modes
        self._read_ahead_len = read_ahead_len
        self._notify = notify
        self._entry_timeout = fuse.seconds_and_ns(entry_timeout_s)
        self._settled_timeout = fuse.seconds_and_ns(attribute_timeout_s)
        self._unsettled_timeout = fuse.seconds_and_ns(min(UNSETTLED_TIMEOUT_S,
                                                          attribute_timeout_s))

    def handlers(self) -> dict[int, Handler]:
        """What to call for each opcode; the others are ENOSYS, which the kernel remembers."""
        return {
            Opcode.INIT: self._init, Opcode.LOOKUP: self._lookup, Opcode.FORGET: self._forget,
            Opcode.BATCH_FORGET: self._batch_forget, Opcode.GETATTR: self._getattr,
            Opcode.SETATTR: self._setattr, Opcode.READLINK: self._readlink,
            Opcode.SYMLINK: self._symlink, Opcode.MKNOD: self._mknod, Opcode.MKDIR: self._mkdir,
            Opcode.UNLINK: self._unlink, Opcode.RMDIR: self._rmdir, Opcode.RENAME: self._rename,
            Opcode.RENAME2: self._rename, Opcode.LINK: self._link, Opcode.OPEN: self._open,
            Opcode.CREATE: self._create, Opcode.READ: self._read, Opcode.WRITE: self._write,
            Opcode.RELEASE: self._release, Opcode.FSYNC: self._fsync,
            Opcode.TMPFILE: self._tmpfile, Opcode.STATX: self._statx, Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir, Opcode.READDIRPLUS: self._readdirplus,
            Opcode.RELEASEDIR: self._releasedir, Opcode.FSYNCDIR: self._fsyncdir,
            Opcode.STATFS: self._statfs, Opcode.GETXATTR: self._getxattr,
            Opcode.SETXATTR: self._setxattr, Opcode.LISTXATTR: self._listxattr,
            Opcode.REMOVEXATTR: self._removexattr, Opcode.INTERRUPT: self._nothing,
            Opcode.DESTROY: self._nothing, **KernelRanges(self.requests.ranges).handlers(),
            **({} if self._checks_modes else {Opcode.ACCESS: self._access}),
        }

    # --- the connection ---

    def _init(self, request: Request) -> Answer:
        major, minor, read_ahead_len, offered = fuse.INIT_IN.unpack_from(request.body)
        if major != fuse.MAJOR or minor < fuse.MINOR_MIN:
            _log.error("this kernel speaks FUSE %d.%d; %d.%d (Linux 5.12) is needed", major, minor,
                       fuse.MAJOR, fuse.MINOR_MIN)
            raise FsError(errno.EPROTO)
        return fuse.INIT_OUT.pack(
            fuse.MAJOR, min(minor, fuse.MINOR), max(read_ahead_len, self._read_ahead_len),
            self._features & offered, BACKGROUND_MAX, BACKGROUND_MAX * 3 // 4, REQUEST_LEN_MAX, 1,
            REQUEST_LEN_MAX // fuse.PAGE_LEN, 0, 0)

    def _nothing(self, request: Request) -> Answer:
        return None

    def _mode_is_stale(self, inode: InodeId) -> None:
        self._notify(fuse.NOTIFY_INVAL_INODE, fuse.INVAL_INODE_OUT.pack(inode, -1, 0))

    # --- looking ---

    def _lookup(self, request: Request) -> Answer:
        name, = fuse.names(request.body, 1)
        found = self.requests.lookup(InodeId(request.inode), name)
        if found is not None:
            return self._entry(found)
        seconds, ns = self._entry_timeout
        return fuse.ENTRY_VALID.pack(0, 0, seconds, 0, ns, 0) + bytes(fuse.ATTR.size)

    def _forget(self, request: Request) -> Answer:
        count, = fuse.FORGET_IN.unpack_from(request.body)
        self.requests.forget(InodeId(request.inode), count)
        return None

    def _batch_forget(self, request: Request) -> Answer:
        count, _ = fuse.BATCH_FORGET_IN.unpack_from(request.body)
        for inode, lookups_count in fuse.FORGET_ONE.iter_unpack(fuse.payload(
                request.body, fuse.BATCH_FORGET_IN.size, count * fuse.FORGET_ONE.size)):
            self.requests.forget(InodeId(inode), lookups_count)
        return None

    def _getattr(self, request: Request) -> Answer:
        return self._attributes(self.requests.stat(InodeId(request.inode)))

    def _statx(self, request: Request) -> Answer:
        found = self.requests.stat(InodeId(request.inode))
        return statx(found, self._timeout(found))

    def _readlink(self, request: Request) -> Answer:
        return self.requests.readlink(InodeId(request.inode))

    def _statfs(self, request: Request) -> Answer:
        return statfs(self.requests.space())

    def _access(self, request: Request) -> Answer:
        mask, = fuse.ACCESS_IN.unpack_from(request.body)
        if not root_may(self.requests.stat(InodeId(request.inode)).attributes.mode, mask):
            raise FsError(errno.EACCES)
        return b""

    # --- names ---

    def _mknod(self, request: Request) -> Answer:
        mode, rdev, umask, _ = fuse.MKNOD_IN.unpack_from(request.body)
        name, = fuse.names(request.body[fuse.MKNOD_IN.size:], 1)
        return self._made(request, name, mode, rdev=rdev, umask=umask)

    def _mkdir(self, request: Request) -> Answer:
        mode, umask = fuse.MKDIR_IN.unpack_from(request.body)
        name, = fuse.names(request.body[fuse.MKDIR_IN.size:], 1)
        return self._made(request, name, stat.S_IFDIR | stat.S_IMODE(mode), umask=umask)

    def _symlink(self, request: Request) -> Answer:
        name, target = fuse.names(request.body, 2)
        return self._made(request, name, SYMLINK_MODE, symlink=target)

    async def _made(self, request: Request, name: bytes, mode: int, *, rdev: int = 0,
                    symlink: bytes | None = None, umask: int = 0) -> Reply:
        return self._entry(await self.requests.create(
            InodeId(request.inode), name, mode=mode, uid=request.uid, gid=request.gid, rdev=rdev,
            symlink=symlink, umask=umask))

    def _create(self, request: Request) -> Answer:
        _, mode, umask, _ = fuse.CREATE_IN.unpack_from(request.body)
        name, = fuse.names(request.body[fuse.CREATE_IN.size:], 1)
        return self._created(self.requests.create_file(
            InodeId(request.inode), name, mode=mode, uid=request.uid, gid=request.gid,
            umask=umask))

    def _tmpfile(self, request: Request) -> Answer:
        _, mode, umask, _ = fuse.CREATE_IN.unpack_from(request.body)
        return self._created(self.requests.create_unnamed(
            InodeId(request.inode), mode=mode, uid=request.uid, gid=request.gid, umask=umask))

    async def _created(self, making: Coroutine[Any, Any, Stat]) -> Reply:
        # Not FOPEN_DIRECT_IO: what others have in the page cache, or map, would come apart from it.
        return self._entry(await making) + OPENED_KEEPING

    def _link(self, request: Request) -> Answer:
        inode, = fuse.LINK_IN.unpack_from(request.body)
        name, = fuse.names(request.body[fuse.LINK_IN.size:], 1)
        return self._linked(fuse.inode_of(inode), InodeId(request.inode), name)

    async def _linked(self, inode: InodeId, parent: InodeId, name: bytes) -> Reply:
        return self._entry(await self.requests.link(inode, parent, name))

    def _unlink(self, request: Request) -> Answer:
        name, = fuse.names(request.body, 1)
        return _emptied(self.requests.unlink(InodeId(request.inode), name))

    def _rmdir(self, request: Request) -> Answer:
        name, = fuse.names(request.body, 1)
        return _emptied(self.requests.rmdir(InodeId(request.inode), name))

    def _rename(self, request: Request) -> Answer:
        if request.opcode == Opcode.RENAME:
            parent, = fuse.RENAME_IN.unpack_from(request.body)
            flags, start = 0, fuse.RENAME_IN.size
        else:
            parent, flags, _ = fuse.RENAME2_IN.unpack_from(request.body)
            start = fuse.RENAME2_IN.size
        old_name, new_name = fuse.names(request.body[start:], 2)
        return _emptied(self.requests.rename(
            InodeId(request.inode), old_name, fuse.inode_of(parent), new_name, flags,
            uid=request.uid, gid=request.gid))

    # --- attributes ---

    def _setattr(self, request: Request) -> Answer:
        """Without any field it is chown(-1, -1) or comes before a write: it may kill privileges.

        Only the owner's does so: a write by others tells it once more.
        """
        (valid, _, size, atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns, mode, uid,
         gid) = fuse.SETATTR_IN.unpack_from(request.body)
        kills = bool(valid & SetAttr.KILL_SUIDGID)
        if not valid & SetAttr.ANY:
            owner = self.requests.stat(InodeId(request.inode)).attributes.uid
            kills = request.uid in (0, owner)
        return self._changed(InodeId(request.inode), Change(
            mode=mode if valid & SetAttr.MODE else None,
            uid=uid if valid & SetAttr.UID else None, gid=gid if valid & SetAttr.GID else None,
            size=size if valid & SetAttr.SIZE else None,
            atime_ns=fuse.time_ns(atime, atime_ns) if valid & SetAttr.ATIME else None,
            mtime_ns=fuse.time_ns(mtime, mtime_ns) if valid & SetAttr.MTIME else None,
            ctime_ns=fuse.time_ns(ctime, ctime_ns) if valid & SetAttr.CTIME else None,
            atime_now=bool(valid & SetAttr.ATIME_NOW), mtime_now=bool(valid & SetAttr.MTIME_NOW),
            kill_privileges=kills))

    async def _changed(self, inode: InodeId, change: Change) -> Reply:
        return self._attributes(await self.requests.change(inode, change))

    def _getxattr(self, request: Request) -> Answer:
        size, _ = fuse.GETXATTR_IN.unpack_from(request.body)
        name, = fuse.names(request.body[fuse.GETXATTR_IN.size:], 1)
        return sized(self.requests.get_xattr(InodeId(request.inode), name), size)

    def _listxattr(self, request: Request) -> Answer:
        size, _ = fuse.GETXATTR_IN.unpack_from(request.body)
        names = self.requests.list_xattrs(InodeId(request.inode), uid=request.uid)
        return sized(b"".join(name + b"\0" for name in names), size)

    def _setxattr(self, request: Request) -> Answer:
        size, flags, extra, _ = fuse.SETXATTR_IN.unpack_from(request.body)
        rest = request.body[fuse.SETXATTR_IN.size:]
        name, = fuse.names(rest, 1)
        value = bytes(fuse.payload(rest, len(name) + 1, size))
        return _emptied(self.requests.set_xattr(
            InodeId(request.inode), name, value, flags,
            kill_set_group_id=bool(extra & fuse.SETXATTR_ACL_KILL_SGID)))

    def _removexattr(self, request: Request) -> Answer:
        name, = fuse.names(request.body, 1)
        return _emptied(self.requests.remove_xattr(InodeId(request.inode), name))

    # --- open files ---

    def _open(self, request: Request) -> Answer:
        """Where access times are kept, the kernel's copy is dropped for a read that is noted."""
        if not self.requests.notes_access:
            raise FsError(errno.ENOSYS)
        flags, open_flags = fuse.OPEN_IN.unpack_from(request.body)
        return self._opened(InodeId(request.inode), flags,
                            bool(open_flags & fuse.OPEN_IN_KILL_SUIDGID))

    async def _opened(self, inode: InodeId, flags: int, kill: bool) -> Reply:
        """The handle is that flag of which COPY_FILE_RANGE, unlike READ, does not tell itself."""
        if flags & os.O_TRUNC:
            await self.requests.empty(inode, kill_privileges=kill)
        kept = fuse.OPEN_KEEP_CACHE if self.requests.may_keep_cache(inode) else 0
        return fuse.OPEN_OUT.pack(flags & os.O_NOATIME, kept, 0)

    def _read(self, request: Request) -> Answer:
        _, offset, size, _, _, flags, _ = fuse.READ_IN.unpack_from(request.body)
        _check_size(size)
        return self.requests.begin_read(InodeId(request.inode), offset, size, flags=flags)

    def _write(self, request: Request) -> Answer:
        _, offset, size, flags, _, _, _ = fuse.WRITE_IN.unpack_from(request.body)
        data = fuse.payload(request.body, fuse.WRITE_IN.size, size)
        waiting = self.requests.begin_write(
            InodeId(request.inode), offset, data,
            kill_privileges=bool(flags & fuse.WRITE_IN_KILL_SUIDGID))
        if waiting is None:
            return fuse.WRITE_OUT.pack(size, 0)
        return self._written(waiting, size)

    async def _written(self, waiting: Coroutine[Any, Any, None], size: int) -> Reply:
        await waiting
        return fuse.WRITE_OUT.pack(size, 0)

    def _release(self, request: Request) -> Answer:
        """Asked for until the first OPEN was refused, and where it is not."""
        return b""

    def _fsync(self, request: Request) -> Answer:
        return _emptied(self.requests.fsync(InodeId(request.inode)))

    # --- open directories ---

    def _opendir(self, request: Request) -> Answer:
        # Not FOPEN_CACHE_DIR: where readers overlap with changes the kernel keeps wrong listings.
        return fuse.OPEN_OUT.pack(self.requests.directories.open(InodeId(request.inode)), 0, 0)

    def _readdir(self, request: Request) -> Answer:
        fh, start, size, _, _, flags, _ = fuse.READ_IN.unpack_from(request.body)
        _check_size(size)
        reply = bytearray()
        rows = self.requests.directories.plain_entries(fh, start, flags=flags)
        for name, inode, mode, cookie in rows:
            entry = dirent(name, inode, mode, cookie)
            if len(reply) + len(entry) > size:
                break
            reply += entry
        return reply

    def _readdirplus(self, request: Request) -> Answer:
        fh, start, size, _, _, flags, _ = fuse.READ_IN.unpack_from(request.body)
        _check_size(size)
        reply = bytearray()
        rows = self.requests.directories.entries(fh, start, flags=flags)
        for name, inode, mode, found, cookie in rows:
            entry = dirent(name, inode, mode, cookie)
            if len(reply) + fuse.ENTRY_OUT.size + len(entry) > size:
                break
            reply += ENTRY_TOLD if found is None else self._entry(found)
            reply += entry
            if found is not None and name not in DOTS:
                self.requests.directories.count_lookup(found)
        return reply

    def _releasedir(self, request: Request) -> Answer:
        self.requests.directories.close(_handle_of(request))
        return b""

    def _fsyncdir(self, request: Request) -> Answer:
        return _emptied(self.requests.directories.fsync(_handle_of(request)))

    # --- replies ---

    def _timeout(self, found: Stat) -> tuple[int, int]:
        return self._settled_timeout if found.settled else self._unsettled_timeout

    def _entry(self, found: Stat) -> bytes:
        entry_s, entry_ns = self._entry_timeout
        attribute_s, attribute_ns = self._timeout(found)
        return fuse.ENTRY_OUT.pack(found.attributes.inode, 0, entry_s, attribute_s, entry_ns,
                                   attribute_ns, *fields(found))

    def _attributes(self, found: Stat) -> bytes:
        seconds, ns = self._timeout(found)
        return fuse.ATTR_OUT.pack(seconds, ns, 0, *fields(found))


def _handle_of(request: Request) -> int:
    fh, = fuse.HANDLE_IN.unpack_from(request.body)
    return int(fh)


def _check_size(size: int) -> None:
    """EINVAL for more than was agreed on at mount, which the kernel never asks for."""
    if size > REQUEST_LEN_MAX:
        raise FsError(errno.EINVAL)


async def _emptied(action: Coroutine[Any, Any, None]) -> Reply:
    await action
    return b""
