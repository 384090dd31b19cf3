"""Putting claims and commit records right on targets that hold them wrong or not at all."""

from dataclasses import dataclass
from functools import partial

from ecfs.base.errors import Fault, ReadOnly, TargetError
from ecfs.base.limits import TARGET_DEADLINE_S, TARGET_SYNC_DEADLINE_S
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import BoxKeys, CheckpointPointer, claim_name, commits_name, record_hash
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, Member
from ecfs.targets import Target
from ecfs.volume.records import Found, LogView, on_online, read_log
from ecfs.volume.recovery import Chain, chains


@dataclass(slots=True)
class _Patch:
    """Bytes that a member's record file should have at an offset."""

    epoch: int
    offset: int
    data: bytes


@dataclass(slots=True)
class LogMender:
    """Mends the claim of one epoch and the records before and in it. `keys` are the records'.

    No record may be appended meanwhile: the caller sees to that.
    """

    fleet: Fleet
    journal: Journal
    keys: BoxKeys
    epoch: int
    claim: bytes

    async def mend(self, members: tuple[bytes, ...],
                   start: CheckpointPointer) -> tuple[int, int]:
        """Give every one of `members` that is there the claim and all records from `start` on.

        (how many were bad or absent, how many of them are right now). Records keep their bytes and
        their place.
        """
        bad = mended = 0
        view = await read_log(self.fleet, members, self.keys, epoch=start.epoch,
                              offset=start.offset)
        needed = _worth_keeping(view)
        for member in list(self.fleet.online()):
            if member.id not in view.read:
                continue
            patches = await self._patches(view, needed, member)
            claim_bad = await self._mend_claim(member)
            bad += len(patches) + claim_bad
            if patches and await self._apply(member, patches):
                mended += len(patches)
            mended += claim_bad
        return bad, mended

    async def secure(self, members: tuple[bytes, ...], quorum: int, start: CheckpointPointer,
                     chain: Chain, view: LogView) -> None:
        """SECURE: before a new epoch rests on an adopted history, a quorum holds each record of it.

        The newest may be on one member only, from a writer that crashed; without this all that the
        new epoch acknowledges would be lost with that member. What was read may not be durable yet:
        its writer may have been killed before it synced. So all is synced before it counts. Torn
        tails of a crash go as well. ReadOnly when it cannot be done.
        """
        keys = [(found.commit.epoch, found.commit.seq) for found in chain.records]
        thin = _thin(keys, members, quorum, view, await self._synced(keys))
        if chain.tip.commit.clean and not thin and not view.bad:
            return
        await self.mend(members, start)
        if not thin:
            return
        again = await read_log(self.fleet, members, self.keys, epoch=start.epoch,
                               offset=start.offset)
        if _thin(keys, members, quorum, again, await self._synced(keys)):
            raise ReadOnly("the newest commits are on too few targets, and no more of them take "
                           "records now")

    async def _synced(self, keys: list[tuple[int, int]]) -> dict[int, set[bytes]]:
        """By epoch, the targets on which the file of these records is durable as it was read."""
        epochs = sorted({epoch for epoch, _ in keys})

        def sync(target: Target) -> list[int]:
            done = []
            for epoch in epochs:
                try:
                    target.sync(commits_name(epoch))
                except TargetError as error:
                    if error.fault is Fault.MISSING:
                        continue
                    self.journal.record(Event(EventKind.RECORD_BAD, str(error)))
                else:
                    done.append(epoch)
            return done

        durable: dict[int, set[bytes]] = {epoch: set() for epoch in epochs}
        results = await on_online(self.fleet, sync, TARGET_SYNC_DEADLINE_S)
        for target_id, result in results.items():
            if not isinstance(result, TargetError):
                for epoch in result:
                    durable[epoch].add(target_id)
        return durable

    async def _patches(self, view: LogView, needed: list[tuple[int, int]],
                       member: Member) -> list[_Patch]:
        patches = []
        covered = []
        for key in needed:
            found = view.records[key]
            covered.append((found.commit.epoch, found.offset, found.offset + found.length))
            if member.id not in view.holders[key]:
                data = await self._bytes_of(found, view.holders[key])
                if data is not None:
                    patches.append(_Patch(found.commit.epoch, found.offset, data))
        for bad_member, epoch, offset in view.bad:
            inside = any(epoch == at_epoch and low <= offset < high
                         for at_epoch, low, high in covered)
            if bad_member == member.id and not inside:
                # Past the records the file is preallocated zeros, and is to be that again.
                patches.append(_Patch(epoch, offset, bytes(BLOCK_LEN)))
        return patches

    async def _bytes_of(self, found: Found, holders: set[bytes]) -> bytes | None:
        for target_id in holders:
            member = self.fleet.get(target_id)
            if member is None or member.target is None or member.lane is None:
                continue
            try:
                data = await member.lane.run(
                    partial(member.target.read, commits_name(found.commit.epoch), found.offset,
                            found.length), deadline_s=TARGET_DEADLINE_S)
            except TargetError:
                continue
            if record_hash(data) == found.hash:
                return data
        return None

    async def _apply(self, member: Member, patches: list[_Patch]) -> bool:
        def write(target: Target) -> None:
            for patch in patches:
                name = commits_name(patch.epoch)
                target.forget(name)
                try:
                    target.create(name, b"")
                except TargetError as error:
                    if error.fault is Fault.UNSAFE:
                        target.remove(name)
                        target.create(name, b"")
                    elif error.fault is not Fault.EXISTS:
                        raise
                target.write(name, patch.offset, [patch.data])
            for epoch in {patch.epoch for patch in patches}:
                target.sync(commits_name(epoch))

        assert member.target is not None and member.lane is not None
        try:
            await member.lane.run(partial(write, member.target), deadline_s=TARGET_SYNC_DEADLINE_S)
        except TargetError as error:
            self.journal.record(Event(EventKind.RECORD_BAD, str(error), target=member.id))
            return False
        self.journal.record(Event(
            EventKind.REPAIRED, f"{len(patches)} commit records on {member.path} were put right",
            target=member.id))
        return True

    async def _mend_claim(self, member: Member) -> bool:
        """The claim of this epoch is ours to put back, byte for byte; whether it was wrong."""
        name = claim_name(self.epoch)

        def check(target: Target) -> bool:
            try:
                if target.read(name, 0, BLOCK_LEN + 1) == self.claim:
                    return False
            except TargetError as error:
                if error.fault is Fault.UNSAFE:
                    target.remove(name)
            target.replace(name, self.claim)
            return True

        assert member.target is not None and member.lane is not None
        try:
            return bool(await member.lane.run(partial(check, member.target),
                                              deadline_s=TARGET_SYNC_DEADLINE_S))
        except TargetError:
            return False


def _worth_keeping(view: LogView) -> list[tuple[int, int]]:
    """Records that a checkpoint and what follows it need; of two in one place the one that more
    members have, so that a target whose records moved does not spread that."""
    needed = {(found.commit.epoch, found.commit.seq)
              for chain in chains(view) for found in (chain.checkpoint, *chain.records)}
    kept: list[tuple[int, int]] = []
    for key in sorted(needed, key=lambda key: (key[0], view.records[key].offset)):
        if kept and kept[-1][0] == key[0]:
            before, found = view.records[kept[-1]], view.records[key]
            if before.offset + before.length > found.offset:
                if len(view.holders[kept[-1]]) >= len(view.holders[key]):
                    continue
                kept.pop()
        kept.append(key)
    return kept


def _thin(keys: list[tuple[int, int]], members: tuple[bytes, ...], quorum: int, view: LogView,
          durable: dict[int, set[bytes]]) -> bool:
    """Whether fewer than a quorum of members hold one of these records, durably."""
    return any(len(view.holders.get(key, set()) & set(members) & durable[key[0]]) < quorum
               for key in keys)
