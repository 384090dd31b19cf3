"""Giving back the room of what is dead: segments, stripes, and what a move leaves behind.

A stripe that no row names is dead. Once a commit is durable that says so, its bytes may go: whoever
adopts that commit, or a later one, never asks for them. So each step here is: rows change, they
are committed, then targets are told. A crash in between leaves room that the next mount gives back.

What is dead is punched out of its columns where the targets can do that. Where one cannot, what
lives at the end of a column moves away and the column is cut. Either way room grows step by step,
and what moves needs no more than there is: where that is little, half of the room that is kept.
"""

import logging
from dataclasses import replace
from functools import partial

import trio

from ecfs.base.errors import AppendRefused, EcfsError, NoSpace, TargetError
from ecfs.base.limits import COLUMN_HEADER_LEN, RESERVE_LEN_MIN, TARGET_SYNC_DEADLINE_S
from ecfs.base.units import KIB, MIB, NS_PER_S
from ecfs.formats import SegmentEntry, column_name
from ecfs.metadata import Stored
from ecfs.stripes import run_jobs
from ecfs.volume.holes import DeadColumn, dead_len_of, give_back, holes_of, parts_of
from ecfs.volume.housekeeping import remove_columns
from ecfs.volume.loglength import SHORTENED_BY
from ecfs.volume.volume import Volume

DEAD_SHARE = 20
"""What is dead goes at once where room is low, else when it is one part in so many of the pool."""
ROUND_S = 4.0
SLICES_PER_ROUND = 256
PLAN_COUNT = 1024
KEPT_COUNT_MAX = 1 << 16
SLICE_LEN = 8 * MIB
SLICE_LEN_MIN = 64 * KIB
LIVE_PERCENT_MAX = 50
LIVE_PERCENT_PRESSED = 93
PRESSED_SHARE = 3
GAIN_PERCENT_MIN = 6
TAIL_SLACK_LEN = MIB
REAPS_AT_ONCE = 64
LOG_LEN_LOW = RESERVE_LEN_MIN // 8
"""Of records since the checkpoint where room is low: they lie in the room that is kept."""
LOG_EPOCHS_LOW = 2
"""Files of records where room is low: ours, and that of the mount before."""

_log = logging.getLogger("ecfs.volume")
Sparse = tuple[int, int, int]


class Reclaimer:
    """Gives back room of one volume. `_lock`: one at a time; it is taken before any other lock.

    `_given`: how much of each column was dead when it was last punched. `_cannot`: targets that do
    not punch. `_kept`: stripes that gain nothing, or cannot be read; `_unmovable`: segments that
    end in one. `_barren`: how things were when there was nothing more to gain.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._lock = trio.Lock()
        self._given: dict[int, int] = {}
        self._cannot: set[bytes] = set()
        self._kept: set[int] = set()
        self._unmovable: set[int] = set()
        self._barren: tuple[int, int] | None = None

    # -- when --------------------------------------------------------------------------------

    async def reclaim(self) -> None:
        """Delete segments without live stripes, after the commit that no longer names them."""
        async with self._lock:
            await self._reclaim()

    async def tidy(self, *, always: bool = False) -> bool:
        """All that is dead goes, and what is sparse moves, where room is low or much is dead (or
        `always`), and in bounded time; whether there is more to be done."""
        volume = self._volume
        async with self._lock:
            if volume.read_only or (not always and self._barren == self._state()):
                return False
            if not (always or volume.meter.is_low() or self._is_much_dead()):
                return False
            await self._punch_dead()
            return await self._move_sparse(always=always)

    async def make_room(self) -> None:
        """For somebody who may not grow: what is dead gives its room back, until something may grow
        or there is nothing more to gain, in ROUND_S or little more. Does not raise: whoever waited
        asks again, and is told."""
        volume = self._volume
        async with self._lock:
            try:
                for _ in range(REAPS_AT_ONCE):
                    if volume.read_only or self._has_room() or not volume.files.reap():
                        break
                if volume.read_only or self._has_room() or self._barren == self._state():
                    return
                await self.checkpoint_if_low()
                await self._reclaim()
                await self._punch_dead()
                await self._move_sparse(until_room=True)
            except EcfsError as error:
                _log.warning("what is dead could not be given back: %s", error)

    async def give_back(self) -> None:
        """Where room is low what is dead gives it back, in bounded time."""
        volume = self._volume
        async with self._lock:
            await volume.meter.refresh()
            if volume.read_only or not volume.meter.is_low():
                return
            await self._reclaim()
            if self._barren != self._state():
                await self.checkpoint_if_low()
                await self._punch_dead()
                await self._move_sparse()

    def given_len(self, segment_id: int) -> int:
        """How much of each column of a segment was given back, as far as is known."""
        return self._given.get(segment_id, 0)

    def forget_given(self, target_id: bytes) -> None:
        """A target was away: it may hold what others gave back."""
        for segment_id, entry in self._volume.files.index.segments.items():
            if target_id in entry.columns:
                self._given.pop(segment_id, None)

    async def checkpoint_if_low(self) -> None:
        """Records lie in the room that is kept, also those of mounts that were killed, each with
        what was reserved for more: where room is low they go early."""
        volume = self._volume
        log = volume.log_length
        for _ in range(SHORTENED_BY):
            if volume.checkpointer is None or log is None or not volume.meter.is_low() or not (
                    volume.checkpointer.log_len() > LOG_LEN_LOW or log.epochs() > LOG_EPOCHS_LOW):
                return
            await volume.checkpoint()
            await volume.meter.refresh()

    def _state(self) -> tuple[int, int]:
        """While it is the same, what was tried in vain need not be tried again: nothing died, and
        no room came for what moves."""
        return (self._volume.files.tables.reduced_count,
                self._volume.meter.room_for_moves() // MIB)

    def _has_room(self) -> bool:
        return self._volume.meter.available_len(self._volume.files.flusher.dirty_len) > 0

    def _is_much_dead(self) -> bool:
        dead_len = sum(
            (entry.length - COLUMN_HEADER_LEN - self._given.get(entry.id, 0)) * entry.data
            - stored.live_len for entry, stored in self._stored())
        return dead_len * DEAD_SHARE > self._volume.meter.total_len()

    def _stored(self) -> list[tuple[SegmentEntry, Stored]]:
        stored = self._volume.files.tables.stored_by_segment()
        return [(entry, stored[segment_id])
                for segment_id, entry in self._volume.files.index.segments.items()
                if segment_id in stored]

    # -- segments that are dead --------------------------------------------------------------

    async def _reclaim(self) -> None:
        volume = self._volume
        if volume.read_only:
            return
        files = volume.files
        async with files.flusher.round_lock:
            # No append is under way, so an open segment in which nothing lives may go too.
            empty = files.tables.empty_segments()
            if not empty:
                return
            for segment_id in empty:
                volume.store.close_segment(segment_id)
            entries = [files.index.segments[segment_id] for segment_id in empty]
            with volume.database.change():
                for segment_id in empty:
                    files.tables.drop_segment(segment_id)
            for segment_id in empty:
                files.index.drop_segment(segment_id)
                self._given.pop(segment_id, None)
        await volume.commit()
        volume.store.give_back(entries)
        await remove_columns(volume.fleet,
                             [column_name(entry.epoch, entry.id) for entry in entries])
        await volume.meter.refresh()

    # -- stripes that are dead ---------------------------------------------------------------

    async def _punch_dead(self) -> None:
        """All dead stripes of content lose their bytes; columns that a target cannot punch lose
        what is dead at their end."""
        known = len(self._cannot)
        await self._punch_once()
        if len(self._cannot) > known:
            await self._punch_once()

    async def _punch_once(self) -> None:
        volume = self._volume
        tables, store = volume.files.tables, volume.store
        work: list[DeadColumn] = []
        given: dict[int, int] = {}
        async with volume.files.flusher.round_lock:
            # No append is under way: what has no row by now never gets one.
            open_ids = store.open_segment_ids()
            for entry, stored in self._stored():
                dead_len = dead_len_of(entry, stored)
                if dead_len <= self._given.get(entry.id, 0):
                    continue
                holes = holes_of(entry, tables.places_of(entry.id))
                cut = entry.id not in open_ids and not self._cannot.isdisjoint(entry.columns)
                if cut and holes and holes[-1][1] == entry.length:
                    low, high = holes.pop()
                    entry = self._shortened(entry, low)
                    dead_len -= high - low
                given[entry.id] = dead_len
                work.append(DeadColumn(entry, tuple(holes), cut))
            if not work:
                return
            newest = max(one.entry.id for one in work)
            if newest > store.given_back_to:
                with volume.database.change():
                    tables.set_given_back_to(newest)
        await volume.commit()
        store.given_back_to = max(store.given_back_to, newest)
        self._given.update(given)
        # After that, for it forgets again what a target cannot give back.
        await self._punch(work)
        await volume.meter.refresh()

    def _shortened(self, entry: SegmentEntry, length: int) -> SegmentEntry:
        volume = self._volume
        shorter = replace(entry, length=length)
        with volume.database.change():
            volume.files.tables.shorten_segment(entry.id, length)
        volume.files.index.put_segment(shorter)
        return shorter

    async def _punch(self, work: list[DeadColumn]) -> None:
        """Failing loses nothing: the next mount does it again."""
        jobs = []
        ids = []
        for member in self._volume.fleet.online():
            assert member.target is not None and member.lane is not None
            for part in parts_of([one for one in work if member.id in one.entry.columns]):
                jobs.append((member.lane, partial(give_back, member.target, part)))
                ids.append(member.id)
        results = await run_jobs(jobs, TARGET_SYNC_DEADLINE_S)
        for target_id, result in zip(ids, results, strict=True):
            if isinstance(result, TargetError):
                _log.warning("giving back room on %s: %s", self._volume.fleet[target_id].path,
                             result)
            elif not result:
                self._cannot.add(target_id)
                self.forget_given(target_id)

    # -- stripes of which a little lives -----------------------------------------------------

    async def _move_sparse(self, *, until_room: bool = False, always: bool = False) -> bool:
        """Move what lives in sparse stripes, the sparsest first, in slices that fit, while that
        gains anything, or only until something may grow; whether there is more to gain."""
        volume = self._volume
        clock = volume.environment.clock
        until_ns = clock.monotonic_ns() + int(ROUND_S * NS_PER_S)
        plan: list[Sparse] | None = None
        for _ in range(SLICES_PER_ROUND):
            await trio.lowlevel.checkpoint_if_cancelled()
            if until_room and self._has_room():
                return True
            if volume.read_only or clock.monotonic_ns() > until_ns:
                return not volume.read_only
            plan = self._plan(always=always) if plan is None else plan
            room_len = self._room_len()
            chosen = _slice(plan, min(room_len, SLICE_LEN)) or self._tail()
            if not chosen or room_len < SLICE_LEN_MIN:
                break
            if not await self._move(chosen, room_len):
                return False
        self._barren = self._state()
        return False

    def _plan(self, *, always: bool) -> list[Sparse]:
        """Stripes to be moved, the sparsest last. Where there is much room beside what is dead,
        only those that are more dead than alive."""
        volume = self._volume
        segments = volume.files.index.segments
        pressed = always or volume.meter.is_low() or (
            volume.meter.available_len(0) < PRESSED_SHARE * self._sparse_len())
        if len(self._kept) > KEPT_COUNT_MAX:
            self._kept.clear()
        found = volume.files.tables.sparse_stripes(
            LIVE_PERCENT_PRESSED if pressed else LIVE_PERCENT_MAX, PLAN_COUNT + len(self._kept))
        return [one for one in reversed(found)
                if one[0] not in self._kept and self._cannot.isdisjoint(segments[one[1]].columns)]

    def _sparse_len(self) -> int:
        """Dead bytes in stripes that are partly alive."""
        return sum(stored.bodies_len * entry.data - stored.live_len
                   for entry, stored in self._stored())

    def _tail(self) -> list[Sparse]:
        """Where a target cannot punch: the last stripe of the sparsest segment, which is cut once
        that has moved."""
        if not self._cannot:
            return []
        sparse = [(stored.live_len / (entry.length * entry.data), entry.id)
                  for entry, stored in self._stored()
                  if not self._cannot.isdisjoint(entry.columns)
                  and entry.id not in self._unmovable
                  and entry.length * entry.data - stored.live_len > TAIL_SLACK_LEN]
        if not sparse:
            return []
        segment_id = min(sparse)[1]
        self._volume.store.close_segment(segment_id)
        last = self._volume.files.tables.stripes_of(segment_id)[-1]
        return [(last.id, segment_id, last.live)]

    def _room_len(self) -> int:
        """What may move now: in the room that is kept half of it; where that is used up, half of
        what is left above a quarter."""
        meter = self._volume.meter
        return max(meter.room_for_moves(), meter.room_for_moves(RESERVE_LEN_MIN // 4) // 2)

    async def _move(self, chosen: list[Sparse], room_len: int) -> bool:
        """Move, commit, give back; False where nothing can move now.

        What was planned a while ago may be gone: stripes have died since, whole segments too.
        """
        volume = self._volume
        segments = volume.files.index.segments
        chosen = [one for one in chosen if one[1] in segments]
        stripe_ids = [stripe for stripe, _, _ in chosen]
        segment_ids = {segment for _, segment, _ in chosen}
        at_end = any(not self._cannot.isdisjoint(segments[one].columns) for one in segment_ids)
        try:
            done = await volume.files.mover.move_out(
                stripe_ids, reserve=True, length_max=room_len,
                gain_percent_min=None if at_end else GAIN_PERCENT_MIN)
        except (AppendRefused, NoSpace) as error:
            _log.warning("compaction is put off: %s", error)
            return False
        self._kept.update(done.kept)
        for stripe_id, damage in done.unreadable.items():
            self._kept.add(stripe_id)
            _log.error("stripe %d cannot be compacted: %s", stripe_id, damage)
        if at_end and done.unreadable:
            self._unmovable |= segment_ids
            return True
        if not done.moved_len:
            return not at_end
        await self._reclaim()
        await self._punch_dead()
        await self.checkpoint_if_low()
        return True


def _slice(plan: list[Sparse], length_max: int) -> list[Sparse]:
    """The next stripes of a plan: about as many live bytes as may move at once."""
    chosen: list[Sparse] = []
    length = 0
    while plan and length < length_max:
        chosen.append(plan.pop())
        length += chosen[-1][2]
    return chosen
