"""From dirty bytes to rows: packing pieces of many files into stripes, round after round.

One round: take pieces, append their stripes, sync, then enter extents and sizes into the database's
open transaction. Rounds do not overlap, so rows appear in the order in which bytes were taken.
Pieces that could not be written stay frozen and come first in the next round.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import trio

from ecfs.base.errors import AppendRefused, EcfsError, NoSpace
from ecfs.base.ids import InodeId
from ecfs.base.limits import (
    COMMIT_INTERVAL_S,
    INLINE_FILE_LEN_MAX,
    STRIPE_PAYLOAD_MAX,
    UNSYNCED_RAW_LEN_MAX,
)
from ecfs.base.locks import Held
from ecfs.base.promises import Promises
from ecfs.base.units import NS_PER_S
from ecfs.base.world import Clock
from ecfs.content.entering import Move, RowEntry
from ecfs.content.grouping import pack
from ecfs.content.index import StripeIndex
from ecfs.content.logged import WriteLog
from ecfs.content.state import FileState, InodeTable, Piece
from ecfs.formats import (
    KIND_CONTENT,
    POSITION_MAX,
    ExtentNote,
    directory_len_max,
    encode_directory,
)
from ecfs.metadata import ContentTables, Database
from ecfs.stripes import StripeStore, Written

APPENDS_AT_ONCE = 3
TRIES_PER_ROUND = 4
START_LEN = 32 << 20
LOGGED = 0
"""No file has this number."""


_log = logging.getLogger("ecfs.content")


@dataclass(slots=True)
class _Request:
    """Somebody waits for a file (None: all; LOGGED: what records carry) to reach the database."""

    inode: int | None
    done: trio.Event = field(default_factory=trio.Event)
    error: EcfsError | None = None


class Flusher:
    """Owns the states of files with changes, and the task that writes them. `promises`: of writes
    that were answered."""

    def __init__(self, database: Database, tables: ContentTables, index: StripeIndex,
                 store: StripeStore, inodes: InodeTable, clock: Clock) -> None:
        self._database = database
        self._tables = tables
        self._index = index
        self._store = store
        self._inodes = inodes
        self._clock = clock
        self.promises = Promises()
        self._states: OrderedDict[int, FileState] = OrderedDict()
        self.dirty_len = 0
        self.failing: EcfsError | None = None
        self.birth: Callable[[], int] = lambda: 0
        self._requests: list[_Request] = []
        self._wake = trio.Event()
        self._retry: list[Piece] = []
        self.room = trio.lowlevel.ParkingLot()
        self.round_lock = trio.Lock()
        self.start_len = START_LEN
        self.rows = RowEntry(database, tables, index, store, inodes, self._states,
                             lambda: self.birth())
        self._told: set[int] = set()
        self.log = WriteLog()
        self.log.enter = self.enter_logged

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    @property
    def states(self) -> OrderedDict[int, FileState]:
        """By inode, of the files with changes."""
        if self.promises.due is not None:
            self.promises.keep()
        return self._states

    @property
    def waiting_len(self) -> int:
        """Dirty bytes on their way; not those of files that are stuck."""
        return self.dirty_len - self.stuck_len

    @property
    def stuck_len(self) -> int:
        """Dirty bytes of files whose rows cannot be entered: no round takes those."""
        if not self.rows.stuck:
            # Each write asks.
            return 0
        return sum(self.states[inode].dirty_len for inode in self.rows.stuck
                   if inode in self.states)

    def forget(self, state: FileState) -> None:
        """The file is gone: its bytes need not be written."""
        self.dirty_len -= state.dirty_len
        self._retry = [piece for piece in self._retry if piece.inode != state.inode]
        self.log.drop(state.frozen)
        for piece in state.frozen:
            piece.limit = 0
        state.frozen = []
        self.states.pop(state.inode, None)
        self.rows.stuck.pop(state.inode, None)
        self._told.discard(state.inode)

    async def flush(self, inode: int | None, *, inline: bool) -> None:
        """Return when all bytes written before this call are in the open transaction.

        `inline`: a commit follows at once, so a little data may be left to it.
        """
        if inode is None or inode == LOGGED:
            if not self.states:
                return
        else:
            state = self.states.get(inode)
            if state is None:
                return
            if (inline or not state.runs) and self._log(state):
                if not (inline and self.log.carries):
                    # Who wants rows at once has them without a stripe.
                    self._enter_at_once(inode)
                return
        request = _Request(inode)
        self._requests.append(request)
        if self.round_lock.locked():
            self._wake.set()
            await request.done.wait()
        elif await self._round():
            # The task of its own is not needed for what nobody else is in the middle of.
            self._wake.set()
        if request.error is not None:
            raise request.error

    def _log(self, state: FileState) -> bool:
        """Leave what is dirty of a file to the next commit record, if it is little and nothing
        older of the file is still on its way."""
        runs = state.runs
        if (runs.length > INLINE_FILE_LEN_MAX or (state.frozen and not state.frozen[-1].logged)
                or not self.log.may_take(len(runs), runs.length)
                or state.inode in self.rows.stuck):
            return False
        self.log.add(state, state.freeze(runs.take_all()), self._clock.monotonic_ns(),
                     self._store.take_order())
        if self.log.is_full:
            self._wake.set()
        return True

    def _enter_at_once(self, inode: int) -> None:
        self.enter_logged()
        error = self.stuck_error(inode)
        if error is not None:
            raise error

    def enter_logged(self) -> None:
        """What records carry, or were to carry, becomes rows of the database itself; but for files
        that are stuck. A round that has it on its way passes over it."""
        if not self.log:
            return
        pieces = [piece for piece in self.log if piece.inode not in self.rows.stuck]
        self.rows.enter_inline(pieces)
        self._settle(pieces)
        for piece in pieces:
            if piece.inode not in self.rows.stuck:
                piece.limit = 0

    async def run(self) -> None:
        """The flusher's task: a round when there is enough to write, or it is old, or asked for."""
        while True:
            with trio.move_on_after(COMMIT_INTERVAL_S / 5):
                await self._wake.wait()
            self._wake = trio.Event()
            while await self._round():
                await trio.lowlevel.checkpoint()

    async def _round(self) -> bool:
        """One round; whether another should follow at once."""
        async with Held(self.round_lock):
            # As for a commit: the database may be closed by now.
            await trio.lowlevel.checkpoint_if_cancelled()
            requests, self._requests = self._requests, []
            pieces = self._take(requests)
            error: EcfsError | None = None
            try:
                await self._write(pieces)
            except EcfsError as caught:
                # What records carry can do without a stripe.
                self.enter_logged()
                self._retry = [piece for piece in self._retry
                               if not piece.logged or piece.inode in self.rows.stuck]
                error = caught if self._retry else None
            except BaseException:
                for request in requests:
                    request.error = EcfsError("the mount is being torn down")
                    request.done.set()
                raise
            self.failing = error
            for request in requests:
                left = request.inode is None or request.inode in self.states
                request.error = (error if left else None) or self.stuck_error(request.inode)
                request.done.set()
            self._note_stuck()
        self.room.unpark_all()
        if error is not None:
            return bool(self._requests)
        return bool(pieces) and (self.dirty_len > self.start_len or bool(self._requests))

    def _note_stuck(self) -> None:
        """Files whose pieces could not be entered, and were not told of yet."""
        stuck = self.rows.stuck
        for inode in stuck.keys() - self._told:
            _log.error("what was written to inode %d cannot be entered into the metadata: %s",
                       inode, stuck[inode])
        self._told = set(stuck)

    def stuck_error(self, inode: int | None) -> EcfsError | None:
        """Why a file, or any file, still has pieces that cannot be entered."""
        if inode is None:
            return next(iter(self.rows.stuck.values()), None)
        return self.rows.stuck.get(inode)

    def _take(self, requests: list[_Request]) -> list[Piece]:
        """What this round writes: what records carry, retries, full windows, what was asked for,
        what is old. Of a file that is the order in which it was written.

        Pieces that could not be entered are tried again only when somebody asks for them.
        """
        pieces, self._retry = [piece for piece in self._retry if not piece.logged], []
        everything = any(request.inode is None for request in requests)
        wanted = {request.inode for request in requests}
        old_ns = self._clock.monotonic_ns() - int(COMMIT_INTERVAL_S * NS_PER_S)
        budget = UNSYNCED_RAW_LEN_MAX - sum(len(piece.data) for piece in pieces)
        pressed = self.dirty_len > self.start_len
        for state in list(self.states.values()):
            asked = everything or state.inode in wanted
            if state.inode in self.rows.stuck:
                if not asked:
                    continue
                del self.rows.stuck[state.inode]
                known = set(pieces)
                pieces += [piece for piece in state.frozen
                           if not piece.logged and piece not in known]
            if asked or (budget > 0 and (pressed or state.since_ns <= old_ns)):
                fresh = state.freeze(state.runs.take_all())
            elif budget > 0 and state.runs.full_count:
                fresh = state.freeze(state.runs.take_full(-(-budget // STRIPE_PAYLOAD_MAX)))
            else:
                # Files that were asked for may still come.
                continue
            budget -= sum(len(piece.data) for piece in fresh)
            pieces += fresh
        if self.log and (pieces or requests or pressed or self.log.is_full
                         or self.log.since_ns <= old_ns):
            pieces = [piece for piece in self.log
                      if piece.inode not in self.rows.stuck] + pieces
        return pieces

    async def _write(self, pieces: list[Piece]) -> None:
        """Write pieces and enter their rows; on failure the rest waits in `_retry`."""
        self._retry = pieces
        failure: EcfsError | None = None
        for _ in range(TRIES_PER_ROUND):
            if not self._retry:
                return
            failure = await self._try_write(pack(self._retry, cache(self._name_len)))
            if isinstance(failure, NoSpace):
                break
        if self._retry and failure is not None:
            raise failure

    async def _try_write(self, groups: list[list[Piece]]) -> EcfsError | None:
        """Append and sync once; pieces whose stripe is durable leave `_retry`, in order."""
        written: list[Written | EcfsError] = [AppendRefused("not tried")] * len(groups)
        limiter = trio.Semaphore(APPENDS_AT_ONCE)

        async def append(number: int) -> None:
            async with limiter:
                try:
                    written[number] = await self._append(groups[number])
                except EcfsError as error:
                    written[number] = error

        async with trio.open_nursery() as nursery:
            for number in range(len(groups)):
                nursery.start_soon(append, number)
        stripes = [stripe for stripe in written if isinstance(stripe, Written)]
        synced = iter(await self._store.sync(stripes))
        outcome = [next(synced) if isinstance(stripe, Written) else stripe for stripe in written]
        failure = next((item for item in outcome if isinstance(item, EcfsError)), None)
        # Rows go in the order of the pieces: nothing after the first failure may be entered.
        good = outcome if failure is None else outcome[: outcome.index(failure)]
        self.rows.enter(groups[: len(good)],
                        [stripe for stripe in good if isinstance(stripe, Written)])
        for group in groups[: len(good)]:
            self._settle(group)
        self._retry = [piece for group in groups[len(good) :] for piece in group]
        return failure

    async def move(self, moves: list[Move], *, reserve: bool = False) -> None:
        """Write extents anew, in one stripe, and let them lie there. AppendRefused, NoSpace."""
        def directory_of(starts: tuple[int, ...]) -> bytes:
            return encode_directory([move.note._replace(start=start, length=len(move.data))
                                     for start, move in zip(starts, moves, strict=True)])

        async with self.round_lock:
            final: Written | AppendRefused = AppendRefused("not tried")
            for _ in range(TRIES_PER_ROUND):
                try:
                    stripe = await self._store.append(
                        KIND_CONTENT, [move.data for move in moves], directory_of,
                        reserve=reserve)
                except AppendRefused as error:
                    final = error
                    continue
                (final,) = await self._store.sync([stripe])
                if isinstance(final, Written):
                    break
            if isinstance(final, AppendRefused):
                raise final
            self.rows.enter_moved(moves, final)

    def note(self, inode: int, offset: int, *, size: int = 0, order: int = 0) -> ExtentNote:
        """A directory entry of a file, its place in the stripe left open."""
        file = self._inodes.note_of(InodeId(inode))
        return ExtentNote(0, 0, inode, offset, size, file.parent, file.name, file.mode,
                          self._clock.wall_ns(), order)

    def _name_len(self, inode: int) -> int:
        return len(self._inodes.note_of(InodeId(inode)).name)

    async def _append(self, group: list[Piece]) -> Written:
        notes: dict[int, ExtentNote] = {}
        note_lens: dict[int, int] = {}
        longest = max(len(piece.data) for piece in group)
        farthest = max(piece.offset for piece in group)
        for piece in group:
            inode = piece.inode
            if inode not in notes:
                state = self.states.get(inode)
                note = notes[inode] = self.note(inode, 0, size=state.size if state else 0)
                note_lens[inode] = note.of_place(POSITION_MAX, longest, farthest).packed_len

        def directory_of(starts: tuple[int, ...]) -> bytes:
            return encode_directory([
                notes[piece.inode].of_place(start, len(piece.data), piece.offset)
                for start, piece in zip(starts, group, strict=True)])

        # To encode it twice, the first time for its length, would double what each note costs.
        return await self._store.append(
            KIND_CONTENT, [piece.data for piece in group], directory_of,
            directory_len_max(note_lens[piece.inode] for piece in group))

    def _settle(self, pieces: list[Piece]) -> None:
        """Rows are in: the pieces are no longer needed, but for those that were left out."""
        by_inode: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_inode.setdefault(piece.inode, []).append(piece)
        for inode, settled in by_inode.items():
            state = self.states.get(inode)
            if state is None or inode in self.rows.stuck:
                continue
            gone = state.settle(settled)
            self.log.drop(gone)
            self.dirty_len -= sum(len(piece.data) for piece in gone)
            if state.settled:
                del self.states[inode]
            elif not state.frozen:
                state.since_ns = self._clock.monotonic_ns()
