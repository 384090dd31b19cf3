"""A mounted volume in memory: a real `Tree`, and contents as byte arrays. For tests and scripts.

Contents behave like the real ones: what was written is pending until a flush, so the tree lags
behind; a limit of space can be set; failures of background writes can be injected.
"""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecfs.base.errors import FsError, NoSpace, ReadOnly
from ecfs.base.ids import InodeId
from ecfs.base.units import BLOCK_LEN, GIB, KIB
from ecfs.base.world import Clock
from ecfs.metadata.database import Database
from ecfs.namespace import Tree
from ecfs.targets import Buffer

SECTOR_LEN = 512
PENDING_COUNT_MAX = 16
CHUNK_LEN = 64 * KIB


@dataclass(frozen=True, slots=True)
class MemorySpace:
    """What statfs(2) tells."""

    total_len: int
    free_len: int
    available_len: int
    inodes_count: int
    inodes_free: int


@dataclass(slots=True)
class _Pending:
    mtime_ns: int
    ctime_ns: int


def _chunked(offset: int, length: int) -> Iterator[tuple[int, int, int, int]]:
    """`(chunk, offset in it, offset in the request, length)` of each chunk that a range touches."""
    at = 0
    while at < length:
        index, within = divmod(offset + at, CHUNK_LEN)
        count = min(length - at, CHUNK_LEN - within)
        yield index, within, at, count
        at += count


class MemoryFiles:
    """The bytes of regular files in memory, in chunks, so that holes take nothing."""

    def __init__(self, tree: Tree, clock: Clock, *, keep: bool = True) -> None:
        self._tree = tree
        self._clock = clock
        self._keep = keep
        self._data: dict[InodeId, dict[int, bytearray]] = {}
        self._blocks: dict[InodeId, set[int]] = {}
        self._sizes: dict[InodeId, int] = {}
        self._pending: dict[InodeId, _Pending] = {}
        self.flush_count = 0

    def pending(self, inode: InodeId) -> tuple[int, int, int] | None:
        """What the tree does not know yet."""
        pending = self._pending.get(inode)
        if pending is None:
            return None
        return self._sizes[inode], pending.mtime_ns, pending.ctime_ns

    def blocks(self, inode: InodeId, size: int) -> int:
        """Blocks that were written to, in units of 512 bytes."""
        last_len = -(-size // SECTOR_LEN)
        return min(len(self._blocks.get(inode, ())) * (BLOCK_LEN // SECTOR_LEN), last_len)

    def load(self, inodes: Sequence[InodeId]) -> None:
        """All of it is in memory."""

    def times_were_set(self, inode: InodeId) -> None:
        """The tree's times are right."""
        pending = self._pending.get(inode)
        if pending is not None:
            pending.mtime_ns = pending.ctime_ns = 0

    def begin_read(self, inode: InodeId, offset: int, length: int) -> bytes:
        """Zeros where nothing was written."""
        size = self._sizes.get(inode, 0)
        length = max(0, min(length, size - offset))
        result = bytearray(length)
        chunks = self._data.get(inode, {})
        for index, within, at, count in _chunked(offset, length):
            chunk = chunks.get(index)
            if chunk is not None:
                result[at:at + count] = chunk[within:within + count]
        return bytes(result)

    def begin_write(self, inode: InodeId, offset: int, data: Buffer) -> None:
        """Store at once, tell the tree later."""
        end = offset + len(data)
        if self._keep:
            chunks = self._data.setdefault(inode, {})
            for index, within, at, count in _chunked(offset, len(data)):
                chunk = chunks.get(index)
                if chunk is None:
                    chunk = chunks[index] = bytearray(CHUNK_LEN)
                chunk[within:within + count] = data[at:at + count]
        self._blocks.setdefault(inode, set()).update(
            range(offset // BLOCK_LEN, -(-end // BLOCK_LEN)))
        self._sizes[inode] = max(self._sizes.get(inode, 0), end)
        now_ns = self._clock.wall_ns()
        self._pending[inode] = _Pending(now_ns, now_ns)
        if len(self._pending) > PENDING_COUNT_MAX:
            self._settle(next(iter(self._pending)))

    async def truncate(self, inode: InodeId, size: int) -> None:
        """Cut, or extend by a hole."""
        chunks = self._data.get(inode, {})
        for index in [index for index in chunks if (index + 1) * CHUNK_LEN > size]:
            if index * CHUNK_LEN >= size:
                del chunks[index]
            else:
                kept_len = size - index * CHUNK_LEN
                chunks[index][kept_len:] = bytes(CHUNK_LEN - kept_len)
        self._blocks[inode] = {block for block in self._blocks.get(inode, ())
                               if block * BLOCK_LEN < size}
        self._sizes[inode] = size
        self._pending.pop(inode, None)
        now_ns = self._clock.wall_ns()
        self._tree.record_content(inode, size=size, mtime_ns=now_ns, ctime_ns=now_ns)

    async def punch(self, inode: InodeId, low: int, high: int) -> None:
        """Zeros, and no blocks where a block is gone as a whole."""
        high = min(high, self._sizes.get(inode, 0))
        if low < high:
            chunks = self._data.get(inode, {})
            for index, within, _, count in _chunked(low, high - low):
                if index in chunks:
                    chunks[index][within:within + count] = bytes(count)
            self._blocks.setdefault(inode, set()).difference_update(
                range(-(-low // BLOCK_LEN), -(-high // BLOCK_LEN) if high == self._sizes[inode]
                      else high // BLOCK_LEN))
        now_ns = self._clock.wall_ns()
        self._pending.pop(inode, None)
        self._tree.record_content(inode, size=self._sizes.get(inode, 0), mtime_ns=now_ns,
                                  ctime_ns=now_ns)

    async def seek(self, inode: InodeId, offset: int, *, hole: bool) -> int | None:
        """By blocks."""
        size = self._sizes.get(inode, 0)
        blocks = self._blocks.get(inode, set())
        if hole:
            at = offset // BLOCK_LEN
            while at in blocks:
                at += 1
            return min(size, max(offset, at * BLOCK_LEN))
        ahead = [block for block in blocks if (block + 1) * BLOCK_LEN > offset]
        return max(offset, min(ahead) * BLOCK_LEN) if ahead and offset < size else None

    async def copy(self, source: InodeId, offset: int, target: InodeId, to: int,
                   length: int) -> int:
        """At most a chunk."""
        data = self.begin_read(source, offset, min(length, CHUNK_LEN))
        if data:
            self.begin_write(target, to, data)
        return len(data)

    async def flush(self, inode: InodeId, *, inline: bool = False) -> None:
        """Tell the tree."""
        self.flush_count += 1
        self._settle(inode)

    def flush_all(self) -> None:
        """Tell the tree of all files."""
        for inode in list(self._pending):
            self._settle(inode)

    def discard(self, inodes: Sequence[InodeId]) -> None:
        """Forget the bytes."""
        for known in (self._data, self._blocks, self._sizes, self._pending):
            for inode in inodes:
                known.pop(inode, None)

    def knows(self, inode: InodeId) -> bool:
        """Whether any bytes of the file are kept."""
        return inode in self._sizes

    def used_len(self) -> int:
        """Bytes of blocks written."""
        return sum(map(len, self._blocks.values())) * BLOCK_LEN

    def _settle(self, inode: InodeId) -> None:
        pending = self._pending.pop(inode, None)
        if pending is not None:
            self._tree.record_content(inode, size=self._sizes[inode],
                                      mtime_ns=pending.mtime_ns or None,
                                      ctime_ns=pending.ctime_ns or None)


class MemoryVolume:
    """A mounted volume whose fsync commits to a database in memory."""

    def __init__(self, clock: Clock, *, total_len: int = 64 * GIB, keep: bool = True) -> None:
        self.database = Database.in_memory()
        self.tree = Tree(self.database, clock)
        self.tree.format_root(0, 0, 0o755)
        self.database.commit()
        self.promises = (self.database.promises,)
        self.files = MemoryFiles(self.tree, clock, keep=keep)
        self.read_only = False
        self.full = False
        self.may_make_room = False
        self.syncs_fail = False
        self.fsync_count = 0
        self._total_len = total_len

    def admit(self, *, grows: bool) -> None:
        """EROFS or ENOSPC as the flags `read_only` and `full` say."""
        if self.read_only:
            raise ReadOnly("the volume is read-only")
        if grows and self.full:
            raise NoSpace("the volume is full")

    async def room(self) -> None:
        """Commit when the transaction grows long."""
        if self.database.change_count % 4096 == 0:
            self.database.commit()

    async def make_room(self) -> None:
        """`full` ends where `may_make_room` says so."""
        self.full = self.full and not self.may_make_room

    async def fsync(self, inode: InodeId | None) -> None:
        """Flush one file or all, then commit."""
        self.fsync_count += 1
        if self.syncs_fail:
            raise FsError(errno.EIO)
        if inode is None:
            self.files.flush_all()
        else:
            await self.files.flush(inode)
        try:
            self.database.commit()
        except Exception as error:
            raise FsError(errno.EIO, str(error)) from error

    def space(self) -> MemorySpace:
        """What the blocks written leave free."""
        free_len = max(0, self._total_len - self.files.used_len())
        return MemorySpace(self._total_len, free_len, free_len, self.tree.count(), 1 << 30)
