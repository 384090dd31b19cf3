"""What goes on in the background of an open volume: commits, heartbeats, returning targets, space.
"""

import logging
from functools import partial

import trio

from ecfs.base.errors import (
    AnchorNotWritten,
    AppendRefused,
    Bug,
    Damage,
    EcfsError,
    Fenced,
    NoSpace,
    TargetError,
)
from ecfs.base.limits import (
    CHECKPOINT_INTERVAL_S,
    COMMIT_INTERVAL_S,
    HEARTBEAT_INTERVAL_S,
    STRIPE_PAYLOAD_MAX,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import MIB, NS_PER_S
from ecfs.content import note_behind
from ecfs.volume.claiming import Heart, box_keys
from ecfs.volume.reclaiming import Reclaimer
from ecfs.volume.volume import Volume

ANCHOR_INTERVAL_S = 1.0
SPARSE_INTERVAL_S = 30.0
SPARSE_RATIO = 2
NEARLY_DEAD_RATIO = 16
SPARSE_SLACK_LEN = 16 * MIB
SMALL_SEGMENTS_MAX = 16
REAPS_PER_ROUND = 64

_log = logging.getLogger("ecfs.volume")


class Tender:
    """Tends one volume: `run` and `tend_always` until cancelled, or `tend` once, as tests do."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._sparse_ns = 0
        self._sparse_state: tuple[int, int] | None = None
        self._tidied_ns = 0
        self._more = False
        self._reclaimer = Reclaimer(volume)
        self._unmovable: set[int] = set()

    async def run(self) -> None:
        """What changes nothing of the volume, to its end and while it is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._beat_loop)
                nursery.start_soon(self._anchor_loop)
        finally:
            if self._volume.rejoiner is not None:
                self._volume.rejoiner.close()

    async def tend_always(self) -> None:
        """A round every few seconds."""
        while True:
            await trio.sleep(COMMIT_INTERVAL_S)
            try:
                await self.tend()
            except EcfsError as error:
                self._volume.note_failure(error)

    async def tend(self) -> None:
        """One round of what happens every few seconds while mounted."""
        volume = self._volume
        committer, checkpointer = volume.committer, volume.checkpointer
        if committer is None or checkpointer is None or isinstance(committer.failure, Fenced):
            return
        await self._take_back()
        await trio.lowlevel.checkpoint_if_cancelled()  # see `Committer.commit`
        if volume.database.in_transaction or committer.pending:
            await volume.commit()
            await trio.lowlevel.checkpoint_if_cancelled()
        if not volume.read_only:
            note_behind(volume.fleet, volume.files.tables, volume.database)
        for _ in range(REAPS_PER_ROUND):
            if not volume.files.reap():
                break
            await trio.lowlevel.checkpoint()
        await self.reclaim()
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._tidy()
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._compact()
        age_s = (volume.environment.clock.monotonic_ns() - volume.checkpoint_ns) / NS_PER_S
        is_long = volume.log_length is not None and volume.log_length.is_due()
        if checkpointer.due() or is_long or (
                age_s > CHECKPOINT_INTERVAL_S and checkpointer.is_behind()):
            await volume.checkpoint()

    async def _beat_loop(self) -> None:
        volume = self._volume
        keys = box_keys(volume.opened.master, volume.pool_id, "heartbeat")
        heart = Heart(volume.fleet, keys, volume.environment.entropy, volume.opened.epoch)
        while volume.committer is not None and not isinstance(volume.committer.failure, Fenced):
            await heart.beat()
            await trio.sleep(HEARTBEAT_INTERVAL_S)
            await volume.look_for_fence()

    async def _anchor_loop(self) -> None:
        lane = self._volume.environment.open_lane("anchor")
        told = ""
        try:
            while True:
                await trio.sleep(ANCHOR_INTERVAL_S)
                committer = self._volume.committer
                if committer is None or isinstance(committer.failure, Fenced):
                    # The anchor is that of whoever took over.
                    return
                try:
                    await lane.run(partial(self._volume.save_anchor, durable=False),
                                   deadline_s=TARGET_SYNC_DEADLINE_S)
                    failure = ""
                except AnchorNotWritten as error:
                    failure = str(error)
                except TargetError as error:
                    failure = f"the anchor cannot be written for now: {error}"
                if failure and failure != told:
                    # Once: the log may be on the disk that is full, and `ecfs status` tells it too.
                    _log.error("%s", failure)
                elif told and not failure:
                    _log.info("the anchor is written again")
                told = failure
        finally:
            lane.close(timeout=0.0)

    # -- targets that return -----------------------------------------------------------------

    async def _take_back(self) -> None:
        """Members that returned get a label of today, and are compared in full."""
        volume = self._volume
        if volume.rejoiner is None:
            raise Bug("a volume that may write has a rejoiner")
        back = await volume.rejoiner.probe()
        for member in back:
            self._reclaimer.forget_given(member.id)
        if back:
            await volume.checkpoint()

    # -- space -------------------------------------------------------------------------------

    async def reclaim(self) -> None:
        """As `Reclaimer.reclaim`."""
        await self._reclaimer.reclaim()

    async def make_room(self) -> None:
        """As `Reclaimer.make_room`."""
        await self._reclaimer.make_room()

    async def give_back(self) -> None:
        """As `Reclaimer.give_back`."""
        await self._reclaimer.give_back()

    async def tidy(self) -> None:
        """As `Reclaimer.tidy`, in any case."""
        await self._reclaimer.tidy(always=True)

    async def _tidy(self) -> None:
        """Where room is low each time; else now and then, for all that lives is looked at."""
        volume = self._volume
        now_ns = volume.environment.clock.monotonic_ns()
        if (volume.meter.is_low() or self._more
                or now_ns - self._tidied_ns > SPARSE_INTERVAL_S * NS_PER_S):
            self._tidied_ns = now_ns
            self._more = await self._reclaimer.tidy()
        await self._reclaimer.checkpoint_if_low()

    async def _compact(self) -> None:
        """Move what lives in the sparsest segment, now and then; `reclaim` then finds it empty.
        Where room is low, stripes move (`_tidy`)."""
        volume = self._volume
        now_ns = volume.environment.clock.monotonic_ns()
        if volume.read_only or volume.meter.is_low() or (
                now_ns - self._sparse_ns <= SPARSE_INTERVAL_S * NS_PER_S):
            return
        state = volume.database.change_count, volume.meter.room_for_moves() // MIB
        if self._sparse_state == state:
            return
        segment_id = self._sparsest()
        if segment_id is None:
            self._sparse_ns = now_ns
            self._sparse_state = state
            return
        try:
            await volume.files.compact(segment_id)
        except (AppendRefused, NoSpace) as error:
            self._sparse_ns = now_ns
            _log.warning("compaction of segment %x is put off: %s", segment_id, error)
        except Damage as error:
            self._unmovable.add(segment_id)
            _log.error("segment %x cannot be compacted: %s", segment_id, error)

    def _sparsest(self) -> int | None:
        """A closed segment of which more than half is dead and not given back, or nearly all is
        dead, if there is room for what lives in it; or one of too many small ones."""
        volume = self._volume
        live = volume.files.tables.live_by_segment()
        room_len = volume.meter.room_for_moves()
        left_alone = self._unmovable | volume.store.open_segment_ids()
        best: tuple[float, int] | None = None
        small = []
        for segment_id, entry in volume.files.index.segments.items():
            living = live.get(segment_id, 0)
            if segment_id in left_alone or not living:
                continue
            stored = entry.length * entry.data
            kept = stored - self._reclaimer.given_len(segment_id) * entry.data
            if stored < STRIPE_PAYLOAD_MAX:
                small.append(segment_id)
            if (living * SPARSE_RATIO < kept or living * NEARLY_DEAD_RATIO < stored) and (
                    stored - living > SPARSE_SLACK_LEN and living <= room_len):
                found = (living / stored, segment_id)
                best = found if best is None else min(best, found)
        if best is not None:
            return best[1]
        return small[0] if len(small) > SMALL_SEGMENTS_MAX else None
