"""The kernel's requests about ranges of open files in terms of `RangeRequests`."""

from ecfs.base.ids import InodeId
from ecfs.driver import fuse_protocol as fuse
from ecfs.driver.fuse_loop import Answer, Handler, Reply, Request
from ecfs.driver.fuse_protocol import Opcode
from ecfs.driver.ranges import RangeRequests


class KernelRanges:
    """Handlers of fallocate, lseek and copy_file_range."""

    def __init__(self, ranges: RangeRequests) -> None:
        self._ranges = ranges

    def handlers(self) -> dict[int, Handler]:
        """What to call for each opcode."""
        return {Opcode.FALLOCATE: self._fallocate, Opcode.LSEEK: self._lseek,
                Opcode.COPY_FILE_RANGE: self._copy}

    def _fallocate(self, request: Request) -> Answer:
        _, offset, length, mode, _ = fuse.FALLOCATE_IN.unpack_from(request.body)
        return self._allocated(InodeId(request.inode), offset, length, mode, request.uid)

    async def _allocated(self, inode: InodeId, offset: int, length: int, mode: int,
                         uid: int) -> Reply:
        await self._ranges.allocate(inode, offset, length, mode, kill_privileges=uid != 0)
        return b""

    def _lseek(self, request: Request) -> Answer:
        _, offset, whence, _ = fuse.LSEEK_IN.unpack_from(request.body)
        return self._sought(InodeId(request.inode), offset, whence)

    async def _sought(self, inode: InodeId, offset: int, whence: int) -> Reply:
        return fuse.LSEEK_OUT.pack(await self._ranges.seek(inode, offset, whence))

    def _copy(self, request: Request) -> Answer:
        fh, offset, target, _, to, length, _ = fuse.COPY_FILE_RANGE_IN.unpack_from(request.body)
        return self._copied(InodeId(request.inode), offset, fuse.inode_of(target), to, length,
                            request.uid, fh)

    async def _copied(self, source: InodeId, offset: int, target: InodeId, to: int, length: int,
                      uid: int, fh: int) -> Reply:
        return fuse.WRITE_OUT.pack(await self._ranges.copy(
            source, offset, target, to, length, kill_privileges=uid != 0, source_flags=fh), 0)
