"""Targets that return while the pool is mounted.

Each record is held by a quorum of its own, so a member that returns needs no old records: it takes
the claim, an empty record file, and counts for what is written from then on. What it missed of
stripes is re-created by the mender. One that hangs again and again has to wait for longer each
time (`stripes/departures.py`).

One with another writer's later claim is taken in for its shards, while a quorum of the others
shows none but ours. For records it stays away, so the protocol sees nothing of it: who made that
claim may have died, or be about to get its quorum. Nobody can tell, so it is never overwritten.
"""

from dataclasses import dataclass, field
from functools import partial

import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.limits import LABEL_LEN_MAX, TARGET_DEADLINE_S, TARGET_SYNC_DEADLINE_S
from ecfs.base.units import BLOCK_LEN, NS_PER_S
from ecfs.formats import claim_name, commits_name, labels_among
from ecfs.keys import MasterKey
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, Member, MemberState, run_jobs
from ecfs.targets import AnyLane, Target
from ecfs.volume.appending import RecordWriter
from ecfs.volume.environment import Environment
from ecfs.volume.locate import shows
from ecfs.volume.looking import look_at
from ecfs.volume.sighting import Sighting

LOOKING_REST = 60
LOOKING_PAUSE_S_MAX = 60.0
"""Looking in vain at what lies in a member's place, labels that rotted as far as can be corrected
perhaps, takes at most one part in so many of the time, or is done once in a minute."""


@dataclass(slots=True)
class Rejoiner:
    """Looks for members that are not there, at the paths where they were last."""

    fleet: Fleet
    environment: Environment
    journal: Journal
    master: MasterKey
    pool_id: bytes
    epoch: int
    claim: bytes
    writer: RecordWriter
    lanes: dict[bytes, AnyLane] = field(default_factory=dict)
    """In which it is looked for each member that is not there: one may hang for itself."""
    looked_ns: dict[bytes, int] = field(default_factory=dict)
    """How long that took last, where it ended."""
    rests_ns: dict[bytes, int] = field(default_factory=dict)
    """Until when it is not done again."""
    lock: trio.Lock = field(default_factory=trio.Lock)

    async def probe(self) -> list[Member]:
        """Take in those that are back. A blank or foreign directory is left alone, and so is what
        was met twice: one of the two may lie where it belongs, and be the copy."""
        async with self.lock:
            return await self._probe()

    async def _probe(self) -> list[Member]:
        sought = [member for member in self.fleet if not member.leaving
                  and not member.online and member.state is not MemberState.CLONE
                  and self._may_return(member)]
        for member in sought:
            if member.id not in self.lanes:
                self.lanes[member.id] = self.environment.open_lane(member.name)
        sightings = await run_jobs([
            (self.lanes[member.id], partial(self._look, member.id, member.path))
            for member in sought], TARGET_DEADLINE_S)
        back = []
        for member, sighting in zip(sought, sightings, strict=True):
            if isinstance(sighting, TargetError):
                member.reason = str(sighting)
            elif await self._take_in(member, sighting):
                self.lanes.pop(member.id).close(timeout=0.0)
                self.rests_ns.pop(member.id, None)
                back.append(member)
            else:
                await self._let_go_dead(member)
                self.rests_ns[member.id] = self.fleet.clock.monotonic_ns() + min(
                    LOOKING_REST * self.looked_ns.get(member.id, 0),
                    int(LOOKING_PAUSE_S_MAX * NS_PER_S))
        return back

    async def _let_go_dead(self, member: Member) -> None:
        """Close one that is away and shows nothing any more, as after its file system was shut down
        by an error: what is open there would keep that from being unmounted and mounted anew."""
        target, lane = member.target, member.lane
        if target is None or lane is None:
            return
        try:
            await lane.run(_read_label, target, deadline_s=TARGET_DEADLINE_S)
        except TargetError as error:
            if error.fault is not Fault.TIMEOUT and member.target is target and not member.online:
                member.target = member.lane = None
                lane.close(timeout=0.0)
                target.close()

    def _look(self, target_id: bytes, path: str) -> Sighting:
        """Runs in a lane."""
        began_ns = self.fleet.clock.monotonic_ns()
        sighting = look_at(path, self.environment)
        self.looked_ns[target_id] = self.fleet.clock.monotonic_ns() - began_ns
        return sighting

    def _may_return(self, member: Member) -> bool:
        """Not one that hung again and again, for a while: it would hold up every commit again. But
        where too few are there without it, waiting for it is better than not to write at all."""
        now_ns = self.fleet.clock.monotonic_ns()
        return not self.writer.may_write() or (
            member.departures.may_return(now_ns) and now_ns >= self.rests_ns.get(member.id, 0))

    def close(self) -> None:
        """Let go of the lanes."""
        for lane in self.lanes.values():
            lane.close(timeout=0.0)

    async def _take_in(self, member: Member, sighting: Sighting) -> bool:
        target = sighting.target
        if target is None or not shows(sighting, self.master, self.pool_id, member.id):
            if target is not None:
                target.close()
            return False
        lane = self.environment.open_lane(member.name)
        try:
            fenced = await lane.run(self.writer.later_claim, target, deadline_s=TARGET_DEADLINE_S)
            if fenced is None:
                await lane.run(self._prepare, target, deadline_s=TARGET_SYNC_DEADLINE_S)
            elif not await self.writer.holds_quorum():
                raise TargetError(Fault.AWAY, f"{target.path}: {fenced}")
        except TargetError as error:
            member.reason = str(error)
            lane.close(timeout=0.0)
            target.close()
            return False
        if member.lane is not None:
            member.lane.close(timeout=0.0)
        if member.target is not None:
            member.target.close()
        member.target, member.lane = target, lane
        left_out = self.writer.left_out
        (left_out.discard if fenced is None else left_out.add)(member.id)
        # It is compared in full; at once, for looking after others may be cut short.
        member.behind = True
        self.fleet.mark_online(member)
        note = "" if fenced is None else (", but another writer has claimed it, in vain so far: it "
                                          "takes no commits before the next mount")
        self.journal.record(Event(EventKind.TARGET_BACK,
                                  f"target {member.name} ({member.path}) is back{note}",
                                  target=member.id))
        return True

    def _prepare(self, target: Target) -> None:
        """REJOIN: the claim and the record file of this epoch. Runs in the target's lane. Another's
        claim of our own epoch is a loser's, for we have a quorum of those."""
        try:
            target.create(claim_name(self.epoch), self.claim)
        except TargetError as error:
            if error.fault is not Fault.EXISTS:
                raise
            if target.read(claim_name(self.epoch), 0, BLOCK_LEN) != self.claim:
                # Rotten: the holder may put it back, byte for byte.
                target.replace(claim_name(self.epoch), self.claim)
        try:
            target.create(commits_name(self.epoch), b"")
        except TargetError as error:
            if error.fault is not Fault.EXISTS:
                raise


def _read_label(target: Target) -> None:
    """From the device, as far as that can be. Runs in the target's lane."""
    for _, _, name in labels_among(target.list_names())[:1]:
        target.forget(name)
        target.drop_cache(name, 0, LABEL_LEN_MAX)
        target.read(name, 0, LABEL_LEN_MAX)
