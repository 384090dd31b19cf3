"""Ranges of files that are not written: made holes, looked for, shown by another file as well.

All of it works on what is in the database, so what is dirty is flushed first. Between that flush
and the change there is no await; where somebody wrote meanwhile it begins anew.
"""

import errno

import trio

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.units import round_up
from ecfs.base.world import Clock
from ecfs.content.flusher import Flusher
from ecfs.content.state import InodeTable
from ecfs.metadata import ContentTables, Database, SharingTables

ROWS_AT_ONCE = 1024
SPANS_LOOKED_AT_MAX = 32
SECTOR_LEN = 512
TRIES_MAX = 8


class RangeEditor:
    """Holes and shared extents of one volume. Lock: none; see above."""

    def __init__(self, database: Database, tables: ContentTables, flusher: Flusher,
                 inodes: InodeTable, clock: Clock) -> None:
        self._database = database
        self._tables = tables
        self._sharing = SharingTables(database)
        self._flusher = flusher
        self._inodes = inodes
        self._clock = clock

    async def punch(self, inode: InodeId, low: int, high: int) -> None:
        """Bytes [low, high) within the file read as zeros and take no room from now on. EAGAIN."""
        await self._settle(inode)
        while True:
            size = self._inodes.size_of(inode)
            end = min(high, size)
            spans = self._sharing.spans(inode, low, ROWS_AT_ONCE) if low < end else []
            at_once = min(end, spans[-1][1]) if len(spans) == ROWS_AT_ONCE else end
            now_ns = self._clock.wall_ns()
            with self._database.change():
                if low < at_once:
                    self._tables.unmap_range(inode, low, at_once)
                self._inodes.settle(inode, size=size, mtime_ns=now_ns, ctime_ns=now_ns)
            if at_once >= end:
                return
            low = at_once
            await trio.lowlevel.checkpoint()
            await self._settle(inode)

    async def share(self, source: InodeId, offset: int, target: InodeId, to: int,
                    length: int) -> int:
        """Bytes of one file become bytes of another without being copied; how many, maybe fewer.

        The ranges do not overlap. Holes stay holes. 0 at the end of the source. EAGAIN.
        """
        await self._settle(source, target)
        length = min(length, self._inodes.size_of(source) - offset)
        if length <= 0:
            return 0
        pieces = self._tables.pieces(source, offset, offset + length, limit=ROWS_AT_ONCE)
        if len(pieces) == ROWS_AT_ONCE:
            length = min(length, pieces[-1].offset + pieces[-1].length - offset)
        now_ns = self._clock.wall_ns()
        with self._database.change():
            self._tables.unmap_range(target, to, to + length)
            for piece in pieces:
                low = max(offset, piece.offset)
                high = min(offset + length, piece.offset + piece.length)
                self._sharing.share(piece, low, high, target, to + low - offset)
            self._tables.forget_mapped_len(target)
            self._inodes.settle(target, size=max(self._inodes.size_of(target), to + length),
                                mtime_ns=now_ns, ctime_ns=now_ns)
        return length

    async def seek(self, inode: InodeId, offset: int, size: int, *, hole: bool) -> int | None:
        """Where the next data, or hole, at or after `offset` begins; None for no data.

        The end of the file, `size`, counts as a hole.
        """
        while offset < size:
            spans = self._spans(inode, offset)
            if not spans:
                break
            for begin, end in spans:
                if end <= offset:
                    continue
                if hole and begin > offset:
                    return offset
                if not hole:
                    return max(begin, offset) if begin < size else None
                offset = end
            await trio.lowlevel.checkpoint()
        return min(offset, size) if hole else None

    def blocks(self, inode: InodeId, size: int) -> int:
        """st_blocks: bytes that are not holes, in units of 512; of what is dirty in very many
        places those that it replaces too, but never more than the file is long."""
        taken, limit = self._tables.mapped_len(inode), round_up(size, SECTOR_LEN)
        state = self._flusher.states.get(inode)
        if state is not None and taken < limit:
            dirty = _merged(state.spans())
            if taken and len(dirty) <= SPANS_LOOKED_AT_MAX:
                taken -= sum(self._sharing.mapped_within(inode, *span) for span in dirty)
            taken += sum(end - begin for begin, end in dirty)
        return -(-min(taken, limit) // SECTOR_LEN)

    def _spans(self, inode: InodeId, offset: int) -> list[tuple[int, int]]:
        """Some `(begin, end)` with bytes that end after `offset`, in order of their beginning.

        None is missing that begins before the last of them.
        """
        mapped = self._sharing.spans(inode, offset, ROWS_AT_ONCE)
        state = self._flusher.states.get(inode)
        dirty = [] if state is None else [span for span in state.spans() if span[1] > offset]
        if len(mapped) == ROWS_AT_ONCE:
            dirty = [span for span in dirty if span[0] <= mapped[-1][0]]
        return sorted(mapped + dirty)

    async def _settle(self, *inodes: InodeId) -> None:
        """Nothing of these files is dirty on return."""
        for _ in range(TRIES_MAX):
            if not any(inode in self._flusher.states for inode in inodes):
                return
            for inode in inodes:
                await self._flusher.flush(inode, inline=False)
        raise FsError(errno.EAGAIN, "others keep writing to the file")


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in spans that do not overlap, in order."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
