"""Putting claims and commit records right on targets that hold them wrong or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ecfs.base.errors import Fault, Fenced, ReadOnly, TargetError
from ecfs.base.limits import TARGET_SYNC_DEADLINE_S
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import BoxKeys, CheckpointPointer, claim_name, commits_name
from ecfs.observe import Event, EventKind, Journal
from ecfs.stripes import Fleet, Member
from ecfs.targets import Target
from ecfs.volume.everywhere import on_online
from ecfs.volume.recordfiles import junk_claims
from ecfs.volume.records import Found, LogView, read_log
from ecfs.volume.recordsource import RecordSource
from ecfs.volume.recovery import Chain, chains

PATCHES_MAX = 4096
"""In one pass, for one member: one that shows junk without end is cleaned a part at a time."""

Groups = tuple[tuple[bytes, ...], ...]


@dataclass(slots=True)
class _Patch:
    """Bytes that a member's record file should have at an offset."""

    epoch: int
    offset: int
    data: bytes


@dataclass(slots=True)
class LogMender:
    """Mends the claim of one epoch and the records before and in it. `keys` are the records'.

    No record may be appended meanwhile: the caller sees to that. Files of later epochs are another
    writer's and are never touched, and a target on which `fenced` finds that writer's claim is
    left alone: what looks torn there may be a record on its way.
    """

    fleet: Fleet
    journal: Journal
    keys: BoxKeys
    epoch: int
    claim: bytes
    fenced: Callable[[Target], Fenced | None]
    claim_keys: BoxKeys

    async def mend(self, members: tuple[bytes, ...], start: CheckpointPointer,
                   adopted: Sequence[Found] = ()) -> tuple[int, int]:
        """Give every one of `members` that is there the claim and all records from `start` on.

        (how many were bad or absent, how many of them are right now). Records keep their bytes and
        their place. What a target lacks that another writer has claimed never counted there.
        Those of `adopted` count as there, though nobody may show them any more.
        """
        bad = mended = 0
        view = await read_log(self.fleet, members, self.keys, epoch=start.epoch,
                              offset=start.offset, seq=start.seq)
        for found in adopted:
            key = (found.commit.epoch, found.commit.seq)
            if view.records.setdefault(key, found) is found:
                view.holders[key] = set()
        needed = _worth_keeping(view)
        source = RecordSource(self.fleet)
        for member in list(self.fleet.online()):
            if member.id not in view.read:
                continue
            patches = await self._patches(view, needed, member, source)
            claim_bad = await self._mend_claim(member)
            bad, mended = bad + claim_bad, mended + claim_bad
            done = await self._apply(member, patches) if patches else None
            if done is not None:
                bad, mended = bad + len(patches), mended + done
        return bad, mended

    async def secure(self, groups: Groups, quorum: int, start: CheckpointPointer, chain: Chain,
                     view: LogView) -> None:
        """SECURE: before a new epoch rests on an adopted history, a quorum holds each record of it.

        The newest may be on one member only, from a writer that crashed, or everywhere but only in
        the page cache of a writer that was killed before its sync; without this all that the new
        epoch acknowledges would be lost with that member, or with the power. Torn tails of a crash
        go as well. ReadOnly when it cannot be done.
        """
        keys = [(found.commit.epoch, found.commit.seq) for found in chain.records]
        members = tuple(dict.fromkeys(member for group in groups for member in group))
        synced = await self._sync(members, {found.commit.epoch for found in chain.records})
        counted = [synced.intersection(group) for group in groups]
        thin = _thin(keys, counted, quorum, view)
        if chain.tip.commit.clean and not thin and not view.bad:
            return
        await self.mend(members, start, chain.records)
        if not thin:
            return
        again = await read_log(self.fleet, members, self.keys, epoch=start.epoch,
                               offset=start.offset, seq=start.seq)
        if _thin(keys, counted, quorum, again):
            raise ReadOnly("the newest commits are on too few targets, and no more of them take "
                           "records now")

    async def holders(self, members: tuple[bytes, ...],
                      start: CheckpointPointer) -> list[set[bytes]]:
        """Which of `members` have each of the records from `start` on that are needed."""
        view = await read_log(self.fleet, members, self.keys, epoch=start.epoch,
                              offset=start.offset, seq=start.seq)
        return [view.holders[key] for key in _worth_keeping(view)]

    async def _sync(self, members: tuple[bytes, ...], epochs: set[int]) -> set[bytes]:
        """Make the record files of these epochs durable; ids of the members where they are now."""
        def sync(target: Target) -> None:
            for epoch in sorted(epochs):
                try:
                    target.sync(commits_name(epoch))
                except TargetError as error:
                    # What is no file of ours holds no records, and is replaced below.
                    if error.fault not in (Fault.MISSING, Fault.UNSAFE):
                        raise

        results = await on_online(self.fleet, sync, TARGET_SYNC_DEADLINE_S)
        for target_id, result in results.items():
            if isinstance(result, TargetError):
                self.fleet.note_write_error(target_id, result)
        return {target_id for target_id in members
                if target_id in results and not isinstance(results[target_id], TargetError)}

    async def _patches(self, view: LogView, needed: list[tuple[int, int]], member: Member,
                       source: RecordSource) -> list[_Patch]:
        patches = []
        covered = []
        for key in needed:
            found = view.records[key]
            if found.commit.epoch > self.epoch:
                continue
            covered.append((found.commit.epoch, found.offset, found.offset + found.length))
            if member.id not in view.holders[key]:
                data = await source.bytes_of(found, view.holders[key])
                if data is not None:
                    patches.append(_Patch(found.commit.epoch, found.offset, data))
        for bad_member, epoch, offset in view.bad:
            inside = any(epoch == at_epoch and low <= offset < high
                         for at_epoch, low, high in covered)
            if bad_member == member.id and not inside and epoch <= self.epoch and (
                    len(patches) < PATCHES_MAX):
                # Past the records the file is preallocated zeros, and is to be that again.
                patches.append(_Patch(epoch, offset, bytes(BLOCK_LEN)))
        return patches

    async def _apply(self, member: Member, patches: list[_Patch]) -> int | None:
        """How many of them are right now; None for a target of another writer, or one that went."""
        def write(target: Target) -> None:
            self._check_free(target)
            for patch in patches:
                name = commits_name(patch.epoch)
                target.forget(name)
                _ensure_file(target, name)
                target.write(name, patch.offset, [patch.data])
            for epoch in {patch.epoch for patch in patches}:
                target.sync(commits_name(epoch))

        assert member.target is not None and member.lane is not None
        try:
            await member.lane.run(partial(write, member.target), deadline_s=TARGET_SYNC_DEADLINE_S)
        except TargetError as error:
            if error.fault is Fault.AWAY:
                return None
            self.journal.record(Event(EventKind.WRITE_FAILED, str(error), target=member.id))
            return 0
        self.journal.record(Event(
            EventKind.REPAIRED, f"{len(patches)} commit records on {member.path} were put right",
            target=member.id))
        return len(patches)

    async def _mend_claim(self, member: Member) -> bool:
        """The claim of this epoch is ours to put back, byte for byte; whether it was wrong. What
        has the name of an earlier one and is none is good for nothing, and goes."""
        name = claim_name(self.epoch)

        def check(target: Target) -> bool:
            self._check_free(target)
            for junk in junk_claims(target, self.epoch, self.claim_keys):
                target.remove(junk)
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

    def _check_free(self, target: Target) -> None:
        """AWAY when another writer has claimed this target."""
        fenced = self.fenced(target)
        if fenced is not None:
            raise TargetError(Fault.AWAY, f"{target.path}: {fenced}")


def _ensure_file(target: Target, name: str) -> None:
    """Make sure that a file is there, also where something else took its name."""
    try:
        target.size(name)
        return
    except TargetError as error:
        if error.fault is Fault.UNSAFE:
            target.remove(name)
        elif error.fault is not Fault.MISSING:
            raise
    target.create(name, b"")


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


def _thin(keys: list[tuple[int, int]], groups: list[set[bytes]], quorum: int,
          view: LogView) -> bool:
    """Whether fewer than a quorum of one of `groups` hold one of these records."""
    return any(len(view.holders.get(key, set()) & group) < quorum
               for key in keys for group in groups)
