"""Requests about ranges of open files that neither read nor write: fallocate, lseek, copying."""

import errno
import os
from collections.abc import Awaitable, Callable

from ecfs.base.errors import FsError, NoSpace
from ecfs.base.ids import InodeId
from ecfs.base.limits import FILE_LEN_MAX
from ecfs.driver.access_times import AccessTimes
from ecfs.driver.admitting import admitted
from ecfs.driver.attributes import Change, Stat
from ecfs.driver.volume_protocol import Mounted

KEEP_SIZE = 0x01
PUNCH_HOLE = 0x02
ZERO_RANGE = 0x10
SECTOR_LEN = 512


class RangeRequests:
    """These requests of one mount; `stat`, `change`, `stale` and `tidy` are those of `Requests`,
    which is to hear (`changed`) of whose attributes the kernel does not learn."""

    def __init__(self, mounted: Mounted, access: AccessTimes | None,
                 stat: Callable[[InodeId], Stat],
                 change: Callable[[InodeId, Change], Awaitable[Stat]],
                 changed: Callable[[InodeId], None],
                 stale: Callable[[InodeId], None], tidy: Callable[[], Awaitable[None]]) -> None:
        self._mounted = mounted
        self._access = access
        self._tidy = tidy
        self._stat = stat
        self._change = change
        self._changed = changed
        self._stale = stale

    async def allocate(self, inode: InodeId, offset: int, length: int, mode: int, *,
                       kill_privileges: bool) -> None:
        """fallocate(2): modes 0, KEEP_SIZE, PUNCH_HOLE with KEEP_SIZE, ZERO_RANGE; else EOPNOTSUPP.

        Nothing is reserved: a log writes each block anew anyhow. But ENOSPC where there is not room
        for so much now.
        """
        zeroes = mode in (PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE)
        if not zeroes and mode & ~KEEP_SIZE:
            raise FsError(errno.EOPNOTSUPP)
        if offset + length > FILE_LEN_MAX:
            raise FsError(errno.EFBIG)
        await self._admitted(grows=not mode & PUNCH_HOLE)
        found = self._stat(inode)
        found.attributes.check_regular()
        size = found.attributes.size
        self._changed(inode)
        if zeroes:
            await self._mounted.files.punch(inode, offset, min(offset + length, size))
        else:
            # At least what lies past the end, and what all that is stored cannot fill.
            lacking_len = max(offset + length - max(size, offset),
                              length - found.blocks * SECTOR_LEN)
            if lacking_len > self._mounted.space().available_len:
                raise NoSpace(f"there is no room for {lacking_len} bytes")
        if not mode & KEEP_SIZE and offset + length > size:
            await self._change(inode, Change(size=offset + length))
        elif not zeroes:
            await self._change(inode, Change(mtime_now=True))
        if kill_privileges:
            self._drop_privileges(inode)

    async def _admitted(self, *, grows: bool) -> None:
        await admitted(self._mounted, self._tidy, grows=grows)

    async def seek(self, inode: InodeId, offset: int, whence: int) -> int:
        """lseek(2) with SEEK_DATA or SEEK_HOLE. ENXIO past the end and where no data follows."""
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise FsError(errno.EINVAL)
        attributes = self._stat(inode).attributes
        attributes.check_regular()
        if not 0 <= offset < attributes.size:
            raise FsError(errno.ENXIO)
        found = await self._mounted.files.seek(inode, offset, hole=whence == os.SEEK_HOLE)
        if found is None:
            raise FsError(errno.ENXIO)
        return found

    async def copy(self, source: InodeId, offset: int, target: InodeId, to: int, length: int, *,
                   kill_privileges: bool, source_flags: int = 0) -> int:
        """copy_file_range(2) from file to file; may copy less, 0 at the end of the source.
        `source_flags` are those of the source's descriptor, as in open(2)."""
        if to + length > FILE_LEN_MAX:
            raise FsError(errno.EFBIG)
        await self._admitted(grows=True)
        for inode in (source, target):
            self._stat(inode).attributes.check_regular()
        if self._access is not None and self._access.note(source, source_flags):
            # After a READ the kernel asks for the access time anew, but not after this.
            self._stale(source)
        self._changed(target)
        copied_len = await self._mounted.files.copy(source, offset, target, to, length)
        if kill_privileges:
            self._drop_privileges(target)
        return copied_len

    def _drop_privileges(self, inode: InodeId) -> None:
        if self._mounted.tree.drop_privileges(inode):
            self._stale(inode)
