"""Appending commit records to a quorum of the members, fenced by claims."""

from collections.abc import Callable, Sequence
from functools import partial

import trio

from ecfs.base.errors import Damage, Fault, Fenced, ReadOnly, TargetError
from ecfs.base.limits import (
    COMMIT_PREALLOCATE_LEN,
    STRAGGLER_PATIENCE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN, NS_PER_S
from ecfs.formats import (
    CLAIM_PATTERN,
    BoxKeys,
    claim_name,
    commits_name,
    decode_claim,
    epochs_among,
)
from ecfs.observe import Event, Journal
from ecfs.stripes import Fleet, Member, run_jobs
from ecfs.targets import Gathering, NameWatch, SyncSteps, Target, run_steps
from ecfs.volume.everywhere import TargetWork
from ecfs.volume.recordfiles import bad_claim_kind, other_record, punch, trim

CLAIMS_CHECKED_MAX = 256


class RecordWriter:
    """Appends records of one epoch. A record counts where it is synced and no claim fences us.

    `watch` tells whether any name came into a target since its claims were looked at.
    """

    def __init__(self, fleet: Fleet, members: tuple[bytes, ...], quorum: int, epoch: int,
                 claim: bytes, claim_keys: BoxKeys, journal: Journal, *,
                 keys: BoxKeys) -> None:
        self._fleet = fleet
        self._groups: tuple[tuple[bytes, ...], ...] = (members,)
        self._members = members
        self._quorum = quorum
        self._epoch = epoch
        self._claim = claim
        self._claim_keys = claim_keys
        self._keys = keys
        self._journal = journal
        self.watch: NameWatch | None = None
        self._looked: dict[Target, int] = {}
        self._allocated: dict[str, int] = {}
        self.offset = 0
        self.missed: tuple[bytes, ...] = ()
        self.left_out: set[bytes] = set()
        """Members that are here for their shards only: for records they are away."""

    def change_members(self, *groups: tuple[bytes, ...]) -> None:
        """From the next record on each of `groups` needs its quorum: old and new members while one
        is exchanged, then the new ones. All hold the claim and every record already."""
        self._groups = groups
        self._members = tuple(dict.fromkeys(member for group in groups for member in group))

    def _has_quorum(self, members: set[bytes]) -> bool:
        return all(len(members.intersection(group)) >= self._quorum for group in self._groups)

    def may_write(self) -> bool:
        """Whether those that are there now are a quorum."""
        return self._has_quorum({member.id for member in self._online()})

    async def create_files(self) -> None:
        """Create `commits.<epoch>` on all members. ReadOnly when too few took it."""
        name = commits_name(self._epoch)
        done = await self._on_members(lambda target: target.create(name, b""))
        if not self._has_quorum(set(done)):
            raise ReadOnly(self._too_few(len(done)))

    async def append(self, record: bytes) -> None:
        """Write, sync, re-check the claims; returns once a quorum holds the record. After ReadOnly
        it may be called again with the same record. A member that shows another's claim does not
        count: it may be that of somebody who lost the race; Fenced when they keep us from a quorum.
        """
        offset = self.offset
        steps = partial(self._append_steps, offset, record)
        done = await self._on_members_together(steps)
        if done is None:
            done = await self._append_timed(steps)
        free = {member for member, result in done.items() if not isinstance(result, Fenced)}
        if not self._has_quorum(free):
            for result in done.values():
                if isinstance(result, Fenced):
                    raise result
            raise ReadOnly(self._too_few(len(free)))
        self.missed = tuple(member for member in self._members if member not in free)
        self.offset = offset + len(record)

    async def _append_timed(self, steps: Callable[[Target], SyncSteps[Fenced | None]],
                            ) -> dict[bytes, Fenced | None]:
        """Each in its own lane; who takes far longer than others again and again is told of."""
        took_ns: dict[bytes, int] = {}
        now_ns = self._fleet.clock.monotonic_ns
        ids = {member.target: member.id for member in self._online()}

        def work(target: Target) -> Fenced | None:
            began_ns = now_ns()
            result = run_steps(target, steps(target))
            took_ns[ids[target]] = now_ns() - began_ns
            return result

        done = await self._append_apart(work)
        self._fleet.note_syncs({target_id: took_ns[target_id] for target_id in done
                                if target_id in took_ns})
        return done

    def _too_few(self, count: int) -> str:
        return (f"only {count} targets acknowledged, {self._quorum} are needed; the pool is "
                "read-only until enough are back")

    def _append_steps(self, offset: int, record: bytes,
                      target: Target) -> SyncSteps[Fenced | None]:
        """RECORD, on one member: written, SYNC, then RECHECK. Runs in a lane. May be done again
        though it was done, or is still being done: it writes the same bytes to the same place."""
        if other_record(target, self._epoch, offset, record, self._keys):
            return Fenced("a copy of this client has written to the pool since; this mount is "
                          "read-only now. Unmount it")
        name = commits_name(self._epoch)
        try:
            self._write(target, name, offset, record)
            yield name
        except TargetError:
            # Who took over has removed the file, perhaps.
            fenced = self.check_claims(target)
            if fenced is None:
                raise
            return fenced
        return self._check_again(target)

    def _write(self, target: Target, name: str, offset: int, record: bytes) -> None:
        end = offset + len(record)
        if end > self._allocated.get(target.path, 0):
            try:
                target.preallocate(name, offset, max(COMMIT_PREALLOCATE_LEN, len(record)))
            except TargetError as error:
                if error.fault is not Fault.FULL:
                    raise
            self._allocated[target.path] = offset + COMMIT_PREALLOCATE_LEN
        target.write(name, offset, [record])

    async def find_fence(self) -> Fenced | None:
        """Ask every member now whether other claims keep this writer from its quorum."""
        fences = {member: result for member, result
                  in (await self._on_members(self.check_claims)).items() if result is not None}
        if not fences or self._has_quorum(set(self._members) - fences.keys()):
            return None
        return next(iter(fences.values()))

    async def holds_quorum(self) -> bool:
        """Whether a quorum of members that answer now shows no claim but ours."""
        done = await self._on_members(self.check_claims)
        return self._has_quorum({member for member, fence in done.items() if fence is None})

    def later_claim(self, target: Target) -> Fenced | None:
        """Fenced by an authentic claim of a later epoch. One of our own epoch that is not ours is a
        loser's, for we have a quorum of them: that one may be overwritten."""
        return self.check_claims(target, since=self._epoch + 1)

    def check_claims(self, target: Target, *, since: int | None = None) -> Fenced | None:
        """RECHECK the claims of a target, listed now: Fenced if an authentic one of our epoch (or
        of `since`) or a later one is not ours. Junk under a claim's name fences nobody; a target
        with more than CLAIMS_CHECKED_MAX of it is Fault.UNSAFE: it does not count, so it cannot
        hold up a commit.
        """
        return self._look(target, self._epoch if since is None else since)[0]

    def _check_again(self, target: Target) -> Fenced | None:
        """As `check_claims`, but claims are not looked at while the kernel tells that no name came
        since. Only where there was none but ours: another may be one that is being written."""
        version = None if self.watch is None else self.watch.version(target)
        if version is not None and self._looked.get(target) == version:
            return None
        fenced, alone = self._look(target, self._epoch)
        if version is not None and alone:
            self._looked[target] = version
        return fenced

    def _look(self, target: Target, oldest: int) -> tuple[Fenced | None, bool]:
        """Who fences us, and whether there is no claim but ours since `oldest`."""
        alone = True
        for number, epoch in enumerate(epochs_among(target.list_names(), CLAIM_PATTERN)):
            if epoch < oldest:
                break
            if number >= CLAIMS_CHECKED_MAX:
                raise TargetError(Fault.UNSAFE, f"{target.path}: more than {CLAIMS_CHECKED_MAX} "
                                  "claims of later epochs")
            try:
                data = target.read(claim_name(epoch), 0, BLOCK_LEN)
            except TargetError:
                alone = False
                continue
            if data == self._claim:
                continue
            alone = False
            try:
                claim = decode_claim(data, self._claim_keys, epoch)
            except Damage:
                self._journal.record(Event(
                    bad_claim_kind(data), f"{target.path}: claim of epoch {epoch} is no claim",
                    target=self._fleet.id_of(target)))
                continue
            return Fenced(f"{claim.host} has claimed the pool (epoch {epoch}); this mount is "
                          "read-only now. Unmount it"), False
        return None, alone

    async def _on_members(self, work: TargetWork) -> dict[bytes, Fenced | None]:
        """Do something on every member that is there; what those that did it returned."""
        asked = self._online()
        jobs = []
        for member in asked:
            assert member.target is not None and member.lane is not None
            jobs.append((member.lane, partial(work, member.target)))
        return self._done(asked, await run_jobs(jobs, TARGET_SYNC_DEADLINE_S))

    async def _append_apart(self, work: TargetWork) -> dict[bytes, Fenced | None]:
        """As `_on_members`; but for those that have hung before nobody waits for long once all
        others are done and are a quorum. They have missed the record then, as any that fail."""
        now_ns = self._fleet.clock.monotonic_ns()
        asked = self._online()
        others = [member for member in asked if not member.departures.hung_before(now_ns)]
        if len(others) == len(asked):
            return await self._on_members(work)
        gathering: Gathering[bytes, Fenced | None] = Gathering()
        try:
            for member in asked:
                assert member.target is not None and member.lane is not None
                gathering.begin(member.id, member.lane, partial(work, member.target),
                                TARGET_SYNC_DEADLINE_S)
            await _wait_for(gathering, others, TARGET_SYNC_DEADLINE_S)
            free = {target_id for target_id, result in gathering.answers().items()
                    if result is None}
            left_s = TARGET_SYNC_DEADLINE_S - (
                self._fleet.clock.monotonic_ns() - now_ns) / NS_PER_S
            await _wait_for(gathering, asked, max(0.0, min(
                left_s, STRAGGLER_PATIENCE_S if self._has_quorum(free) else left_s)))
            gathering.give_up()
            answers = gathering.answers()
        finally:
            gathering.close()
        return self._done(asked, [answers[member.id] for member in asked])

    async def _on_members_together(self, work: Callable[[Target], SyncSteps[Fenced | None]],
                                   ) -> dict[bytes, Fenced | None] | None:
        """As `_on_members`, in one thread, which is quicker; None where that does not work out."""
        asked = self._online()
        if self._fleet.together is None or any(
                member.lane is not None and member.lane.is_late() for member in asked):
            return None
        targets = [member.target for member in asked if member.target is not None]
        results = await self._fleet.together.run(targets, work)
        return None if results is None else self._done(asked, results)

    def _online(self) -> list[Member]:
        return [member for target_id in self._members
                if (member := self._fleet.get(target_id)) is not None and member.online
                and target_id not in self.left_out]

    def _done(self, asked: Sequence[Member],
              results: Sequence[Fenced | TargetError | None]) -> dict[bytes, Fenced | None]:
        done: dict[bytes, Fenced | None] = {}
        for member, result in zip(asked, results, strict=True):
            if isinstance(result, TargetError):
                self._fleet.note_write_error(member.id, result)
            else:
                done[member.id] = result
        return done

    async def trim(self) -> None:
        """Give back what was preallocated and never used; for a writer that lets go."""
        name, end = commits_name(self._epoch), self.offset
        await self._on_members(lambda target: trim(target, name, end))

    async def punch(self, epoch: int, offset: int) -> None:
        """Give back the room of records of this epoch before `offset`; best effort."""
        name = commits_name(epoch)
        if offset:
            await self._on_members(lambda target: punch(target, name, offset))


async def _wait_for(gathering: Gathering[bytes, Fenced | None], members: Sequence[Member],
                    timeout_s: float) -> None:
    """Until all of them have answered, or time is up."""
    with trio.move_on_after(timeout_s):
        while any(member.id not in gathering.answers() for member in members):
            await gathering.wait(1, timeout_s)
