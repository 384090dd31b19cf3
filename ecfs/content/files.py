"""Bytes of regular files: what the driver reads and writes.

All methods run on the event loop. A read takes its map and its snapshot of dirty bytes in one step,
before its first await, so it sees one moment of the file; a write that runs beside it may or may
not be seen.
"""

import errno
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import trio

from ecfs.base.errors import Damage, FsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import (
    BLOCK_CACHE_LEN_MAX,
    FILE_LEN_MAX,
    WRITE_BACK_LEN_MAX,
)
from ecfs.base.world import Clock
from ecfs.content.blocks import ExtentReader, Mender
from ecfs.content.flusher import LOGGED, Flusher
from ecfs.content.index import StripeIndex
from ecfs.content.moving import Mover
from ecfs.content.ranges import RangeEditor
from ecfs.content.restoring import restore
from ecfs.content.state import FileState, InodeTable
from ecfs.formats import LoggedWrite
from ecfs.metadata import ContentTables, Database, MapPiece
from ecfs.stripes import StripeStore
from ecfs.targets import Buffer

UNMAP_AT_ONCE = 1024
READ_TRIES_MAX = 3
COPY_LEN = 1 << 20

_log = logging.getLogger("ecfs.content")


class Files:
    """Content of one mounted volume. Run `run` in a nursery as long as it is mounted. `carries`:
    whether commit records may carry what is written."""

    def __init__(self, database: Database, store: StripeStore, inodes: InodeTable, clock: Clock,
                 nursery: trio.Nursery, *, write_back_len: int = WRITE_BACK_LEN_MAX,
                 cache_len: int = BLOCK_CACHE_LEN_MAX, carries: bool = True) -> None:
        self._database = database
        self._inodes = inodes
        self._clock = clock
        self._write_back_len = write_back_len
        self.tables = ContentTables(database)
        self.index = StripeIndex(self.tables)
        self.store = store
        self.flusher = Flusher(database, self.tables, self.index, store, inodes, clock)
        self.flusher.start_len = min(self.flusher.start_len, write_back_len // 2)
        self.flusher.log.carries = carries
        self._ranges = RangeEditor(database, self.tables, self.flusher, inodes, clock)
        self._reader = ExtentReader(self.tables, self.index, store, nursery, cache_len=cache_len)
        self.mover = Mover(self.tables, self.index, store, self.flusher,
                           lambda ref, faults: self._reader.mend(ref, faults))
        self.on_damage: Callable[[int], None] = lambda inode: None
        self._unreaped: set[int] = set()

    def set_mender(self, mend: Mender) -> None:
        """Where damage that reads meet is reported."""
        self._reader.mend = mend

    async def run(self) -> None:
        """Write back until cancelled."""
        await self.flusher.run()

    def pending(self, inode: InodeId) -> tuple[int, int, int] | None:
        """(size, mtime_ns, ctime_ns) that the database does not have yet; times 0 where it does."""
        state = self._known(inode)
        if state is None:
            return None
        return state.size, state.mtime_ns or 0, state.ctime_ns or 0

    def _known(self, inode: InodeId) -> FileState | None:
        state = self.flusher.states.get(inode)
        if state is not None and not state.is_sized:
            state.size, state.is_sized = max(state.size, self._inodes.size_of(inode)), True
        return state

    def spans(self, inode: InodeId) -> list[tuple[int, int]]:
        """`(begin, end)` of bytes that the database does not have; they may overlap."""
        state = self._known(inode)
        return [] if state is None else state.spans()

    def size(self, inode: InodeId) -> int:
        """The file's size now."""
        state = self._known(inode)
        return self._inodes.size_of(inode) if state is None else state.size

    def blocks(self, inode: InodeId, size: int) -> int:
        """st_blocks: bytes that are not holes, in units of 512."""
        return self._ranges.blocks(inode, size)

    def load(self, inodes: Sequence[InodeId]) -> None:
        """Have in memory what `blocks` of these needs."""
        self.tables.mapped_lens.load(inodes)

    # -- reading -----------------------------------------------------------------------------

    async def read(self, inode: InodeId, offset: int, length: int) -> Buffer:
        """Bytes from `offset`, fewer at the end of the file. Damage (EIO) where they are lost."""
        found = self.begin_read(inode, offset, length)
        return await found if isinstance(found, Coroutine) else found

    def begin_read(self, inode: InodeId, offset: int,
                   length: int) -> Buffer | Coroutine[Any, Any, Buffer]:
        """As `read`: the bytes themselves where they are in memory, as for most short reads."""
        state = self._known(inode)
        high = min(offset + length, self._inodes.size_of(inode) if state is None else state.size)
        if high <= offset:
            return b""
        whole = self._reader.is_sequential(inode, offset, high - offset)
        if state is None and not whole:
            try:
                pieces = self.tables.pieces(inode, offset, high)
            except Damage:
                pieces = []
            if _is_all(pieces, offset, high):
                found = self._reader.read_now(pieces[0], offset, high)
                if found is not None:
                    return found
        return self._read(inode, offset, length, whole=whole)

    async def _read(self, inode: InodeId, offset: int, length: int, *, whole: bool) -> Buffer:
        """As `read`, of what may have to be waited for. `whole`: it is one of a sequence.

        A read whose rows were changed by others while it waited, and then failed, begins anew.
        """
        for attempt in range(1, READ_TRIES_MAX + 1):
            high = min(offset + length, self.size(inode))
            if high <= offset:
                return b""
            state = self._known(inode)
            dirty = state.snapshot(offset, high) if state is not None else []
            if len(dirty) == 1 and dirty[0][0] == offset and len(dirty[0][1]) == high - offset:
                return dirty[0][1]
            version = self._database.change_count
            try:
                return await self._read_stored(inode, offset, high, dirty, whole)
            except Damage:
                if attempt == READ_TRIES_MAX or self._database.change_count == version:
                    self.on_damage(inode)
                    raise
        raise AssertionError("unreachable")

    async def _read_stored(self, inode: InodeId, offset: int, high: int,
                           dirty: list[tuple[int, bytes]], whole: bool) -> Buffer:
        pieces = self.tables.pieces(inode, offset, high)
        if whole:
            self._reader.read_ahead(inode, high)
        if not dirty and _is_all(pieces, offset, high):
            return await self._reader.read_piece(pieces[0], offset, high, whole=whole)
        return await self._compose(offset, high, pieces, dirty, whole)

    async def _compose(self, offset: int, high: int, pieces: list[MapPiece],
                       dirty: list[tuple[int, bytes]], whole: bool) -> bytes:
        result = bytearray(high - offset)
        for piece in pieces:
            low, end = max(offset, piece.offset), min(high, piece.offset + piece.length)
            if any(at <= low and at + len(data) >= end for at, data in dirty):
                continue
            result[low - offset : end - offset] = await self._reader.read_piece(
                piece, low, end, whole=whole)
        for at, data in dirty:
            result[at - offset : at - offset + len(data)] = data
        return bytes(result)

    # -- writing -----------------------------------------------------------------------------

    async def write(self, inode: InodeId, offset: int, data: Buffer) -> None:
        """As `begin_write`, and waits while the write-back buffer is full."""
        waiting = self.begin_write(inode, offset, data)
        if waiting is not None:
            await waiting

    def begin_write(self, inode: InodeId, offset: int,
                    data: Buffer) -> Coroutine[Any, Any, None] | None:
        """Take bytes, which must not change afterwards; who does so later where there is no room.

        Raises EFBIG past the largest file, Damage when earlier bytes of the file cannot be entered
        into the metadata, and the flusher's error when the buffer is full of bytes
        that cannot be written.
        """
        if offset + len(data) > FILE_LEN_MAX:
            raise FsError(errno.EFBIG)
        flusher = self.flusher
        self._check_stuck(inode)
        if flusher.waiting_len >= self._write_back_len:
            return self._write_with_room(inode, offset, data)
        # The state is found before, so that taking the bytes asks nobody for anything.
        flusher.promises.make(
            partial(self._take, self._state(inode), offset, data, self._clock.wall_ns()))
        return None

    async def _write_with_room(self, inode: InodeId, offset: int, data: Buffer) -> None:
        flusher = self.flusher
        while flusher.waiting_len >= self._write_back_len:
            flusher.wake()
            await flusher.room.park()
            # What was waited for may have ended so.
            self._check_stuck(inode)
            if flusher.failing is not None and flusher.waiting_len >= self._write_back_len:
                raise flusher.failing
        self._take(self._state(inode), offset, data, self._clock.wall_ns())

    def _check_stuck(self, inode: InodeId) -> None:
        stuck = self.flusher.rows.stuck
        if inode in stuck:
            raise stuck[inode]
        if stuck and self.flusher.stuck_len >= self._write_back_len:
            raise next(iter(stuck.values()))

    def _take(self, state: FileState, offset: int, data: Buffer, now_ns: int) -> None:
        flusher = self.flusher
        if state.settled:
            state.since_ns = self._clock.monotonic_ns()
        flusher.dirty_len += state.runs.write(offset, data)
        state.size = max(state.size, offset + len(data))
        state.mtime_ns = state.ctime_ns = now_ns
        if state.runs.full_count:
            flusher.wake()

    def _state(self, inode: InodeId) -> FileState:
        state = self._known(inode)
        if state is None:
            state = FileState(inode, self._inodes.size_of(inode), self._clock.monotonic_ns())
            self.flusher.states[inode] = state
        return state

    def times_were_set(self, inode: InodeId) -> None:
        """Somebody set the file's times: bytes written before must not change them later."""
        state = self.flusher.states.get(inode)
        if state is not None:
            state.mtime_ns = state.ctime_ns = None
            self.flusher.log.forget_times(state.frozen)

    async def truncate(self, inode: InodeId, size: int) -> None:
        """The file is `size` bytes long from now on; what lies beyond is gone, what is new zero."""
        if size > FILE_LEN_MAX:
            raise FsError(errno.EFBIG)
        flusher = self.flusher
        now = self._clock.wall_ns()
        old_size = self._inodes.size_of(inode)
        while size < old_size and (
                end := self.tables.tail_offset(inode, size, UNMAP_AT_ONCE)) is not None:
            # A great many rows go from the end, step by step, so that nobody waits for them.
            with self._database.change():
                self.tables.unmap_range(inode, end, FILE_LEN_MAX)
                self._inodes.settle(inode, size=end, mtime_ns=now, ctime_ns=now)
            await trio.lowlevel.checkpoint()
        with self._database.change():
            if size < old_size:
                self.tables.unmap_range(inode, size, FILE_LEN_MAX)
            self._inodes.settle(inode, size=size, mtime_ns=now, ctime_ns=now)
        state = flusher.states.get(inode)
        if state is not None:
            flusher.dirty_len -= state.cut(size)
            state.size = size
            if state.settled:
                del flusher.states[inode]

    # -- ranges ------------------------------------------------------------------------------

    async def punch(self, inode: InodeId, low: int, high: int) -> None:
        """Bytes [low, high) that lie within the file are a hole on return. EAGAIN."""
        await self._ranges.punch(inode, low, high)

    async def seek(self, inode: InodeId, offset: int, *, hole: bool) -> int | None:
        """Where the next data or hole at or after `offset` begins; None for no data.

        The end of the file counts as a hole.
        """
        return await self._ranges.seek(inode, offset, self.size(inode), hole=hole)

    async def copy(self, source: InodeId, offset: int, target: InodeId, to: int,
                   length: int) -> int:
        """Bytes of one file into another; how many, maybe fewer. The ranges do not overlap.

        Both show the same extents afterwards. Where little is copied that is not written out yet,
        the bytes are copied: writing them out first would cost a sync.
        """
        states = self.flusher.states
        if length >= COPY_LEN or not (source in states or target in states):
            return await self._ranges.share(source, offset, target, to, length)
        data = await self.read(source, offset, length)
        if data:
            await self.write(target, to, bytes(data))
        return len(data)

    async def flush(self, inode: InodeId | None, *, inline: bool = False) -> None:
        """What was written before is in the open transaction on return, not yet durable. `inline`:
        or it is to be in the next commit record."""
        await self.flusher.flush(inode, inline=inline)

    async def flush_logged(self) -> None:
        """What only commit records carry goes into stripes, or becomes rows of the database where
        none can be had."""
        await self.flusher.flush(LOGGED, inline=False)

    def restore(self, writes: Sequence[LoggedWrite]) -> None:
        """What records carried and no page shows is dirty again, as it was for who wrote it."""
        restore(self.flusher, writes, self._state, self.store.take_order,
                self._clock.monotonic_ns())

    def discard(self, inodes: Sequence[InodeId]) -> None:
        """The files are gone: drop their dirty bytes and rows, a great many of them later."""
        for inode in inodes:
            state = self.flusher.states.get(inode)
            if state is not None:
                self.flusher.forget(state)
        with self._database.change():
            if self.tables.unmap_files(inodes, UNMAP_AT_ONCE):
                return
            for inode in inodes:
                if not self.tables.unmap_some(inode, max(1, UNMAP_AT_ONCE // len(inodes))):
                    self.tables.note_dying(inode)

    def reap(self) -> bool:
        """Drop some more rows of files that are gone; True when there may be more to do. What
        cannot be read of them is left to the next mount: it holds up nothing else."""
        dying = next((inode for inode in self.tables.dying(limit=1 + len(self._unreaped))
                      if inode not in self._unreaped), None)
        if dying is None:
            return False
        try:
            with self._database.change():
                if self.tables.unmap_some(dying, UNMAP_AT_ONCE):
                    self.tables.forget_dying(dying)
        except Damage as damage:
            self._unreaped.add(dying)
            _log.error("the room of inode %d, which was deleted, is not given back: %s", dying,
                       damage)
        return True

    # -- moving extents ----------------------------------------------------------------------

    async def move_inline(self) -> None:
        """As `Mover.move_inline`."""
        await self.mover.move_inline()

    async def compact(self, segment_id: int, *, reserve: bool = False) -> int:
        """Move what lives in a segment elsewhere, with `reserve` also into the room that is kept;
        how many bytes moved. Damage where unreadable."""
        moved_len = 0
        for stripe in self.tables.stripes_of(segment_id):
            done = await self.mover.move_out([stripe.id], reserve=reserve)
            for damage in done.unreadable.values():
                raise damage
            moved_len += done.moved_len
        return moved_len

    async def rescue(self, stripe_id: int, *, move: bool) -> set[int]:
        """As `Mover.rescue`."""
        return await self.mover.rescue(stripe_id, move=move)


def _is_all(pieces: Sequence[MapPiece], low: int, high: int) -> bool:
    """Whether one piece is all of [low, high)."""
    return len(pieces) == 1 and pieces[0].offset <= low and (
        pieces[0].offset + pieces[0].length >= high)
