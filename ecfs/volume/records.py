"""Commit records on targets: finding them, and appending them to a quorum.

All members hold the same records at the same offsets of `commits.<epoch>`; a member that missed one
has a hole there. A reader believes nothing but what opens, and scans past what does not
(`recordscan`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from ecfs.base.errors import Damage, Fault, Fenced, ReadOnly, TargetError
from ecfs.base.limits import (
    COMMIT_PREALLOCATE_LEN,
    TARGET_DEADLINE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    CLAIM_PATTERN,
    BoxKeys,
    Commit,
    claim_name,
    commits_name,
    decode_claim,
    decode_commit,
    epochs_among,
)
from ecfs.observe import Event, Journal
from ecfs.stripes import Fleet, Member, run_jobs
from ecfs.targets import Target
from ecfs.volume.everywhere import TargetWork
from ecfs.volume.recordfiles import bad_claim_kind, other_record, punch, trim
from ecfs.volume.recordscan import Box, scan_member

CLAIMS_CHECKED_MAX = 256


@dataclass(frozen=True, slots=True)
class Found:
    """An authentic record: where it lies in its epoch's file, and its hash."""

    commit: Commit
    hash: bytes
    offset: int
    length: int


@dataclass(slots=True)
class LogView:
    """What members' files hold. `holders` by (epoch, seq): ids of members that have the record."""

    records: dict[tuple[int, int], Found] = field(default_factory=dict)
    holders: dict[tuple[int, int], set[bytes]] = field(default_factory=dict)
    epochs: set[int] = field(default_factory=set)
    ends: dict[int, int] = field(default_factory=dict)
    bad: list[tuple[bytes, int, int]] = field(default_factory=list)
    read: set[bytes] = field(default_factory=set)


async def read_log(fleet: Fleet, members: Iterable[bytes], keys: BoxKeys, *, epoch: int,
                   offset: int) -> LogView:
    """READ: everything from `offset` of `commits.<epoch>` on, and all later epochs, of all members.
    """
    view = LogView()
    asked: list[Member] = [member for target_id in members
                           if (member := fleet.get(target_id)) is not None and member.online]
    jobs = []
    for number, member in enumerate(asked):
        assert member.target is not None and member.lane is not None
        jobs.append((member.lane,
                     partial(scan_member, member.target, epoch, offset, number == 0)))
    by_hash: dict[bytes, tuple[int, int]] = {}
    places: dict[tuple[int, int], dict[int, set[bytes]]] = {}
    bad: list[tuple[bytes, int, int]] = []
    for member, result in zip(asked, await run_jobs(jobs, TARGET_SYNC_DEADLINE_S), strict=True):
        if isinstance(result, TargetError):
            fleet.mark_away(member.id, str(result))
            continue
        view.read.add(member.id)
        view.epochs.update(result.epochs)
        view.bad += [(member.id, at_epoch, at) for at_epoch, at in result.bad]
        for box in result.boxes:
            try:
                key = by_hash.get(box.hash) or await _open_box_of(view, keys, member, box)
            except TargetError as error:
                # It was not read to its end, so it does not count; nothing is known to be bad.
                fleet.mark_away(member.id, str(error))
                view.read.discard(member.id)
                break
            if key is None or key[0] != box.epoch:
                # Every block of it: each is to be zeros again.
                bad += [(member.id, box.epoch, at) for at in range(
                    box.offset, box.offset + box.length, BLOCK_LEN)]
                continue
            by_hash[box.hash] = key
            places.setdefault(key, {}).setdefault(box.offset, set()).add(member.id)
    for key in sorted(places):
        _settle_place(view, key, places[key])
    view.bad += _not_held(view, bad)
    return view


def _not_held(view: LogView, bad: list[tuple[bytes, int, int]]) -> list[tuple[bytes, int, int]]:
    """Blocks of what does not open, each once, without those of good records of the same member:
    a header with a wrong length reaches over the records behind it."""
    left = dict.fromkeys(bad)
    for known in view.bad:
        left.pop(known, None)
    suspects = {member for member, _, _ in bad}
    for (epoch, seq), found in view.records.items():
        for member in view.holders[epoch, seq] & suspects:
            for at in range(found.offset, found.offset + found.length, BLOCK_LEN):
                left.pop((member, epoch, at), None)
    return list(left)


def _settle_place(view: LogView, key: tuple[int, int], members_at: dict[int, set[bytes]]) -> None:
    """A record lies where most members have it, of two such places where the one before it ends;
    one that has it elsewhere does not have it. The one before may be shown by a liar alone."""
    before = view.records.get((key[0], key[1] - 1))
    expected = before.offset + before.length if before is not None else 0
    offset = max(members_at, key=lambda at: (len(members_at[at]), at == expected, -at))
    found = view.records[key] = replace(view.records[key], offset=offset)
    view.holders[key] = members_at.pop(offset)
    epoch, end = key[0], offset + found.length
    view.ends[epoch] = max(view.ends.get(epoch, 0), end)
    # A copy that a holder has elsewhere is bad as well, unless it is that one which may be good.
    most = all(len(members) < len(view.holders[key]) for members in members_at.values())
    view.bad += [(member, epoch, at) for begin, members in members_at.items()
                 for at in range(begin, begin + found.length, BLOCK_LEN)
                 for member in (members if most else members - view.holders[key])]


async def _open_box_of(view: LogView, keys: BoxKeys, member: Member,
                       box: Box) -> tuple[int, int] | None:
    """Open a record that no member before had; None when it is not authentic or misplaced.
    TargetError when it cannot be read again, which says nothing of it."""
    data = box.data
    if data is None:
        assert member.target is not None and member.lane is not None
        data = await member.lane.run(partial(
            member.target.read, commits_name(box.epoch), box.offset, box.length),
            deadline_s=TARGET_DEADLINE_S)
    try:
        head, commit = decode_commit(data, keys)
    except Damage:
        return None
    key = (head.epoch, head.seq)
    if head.epoch != box.epoch or key in view.records:
        return None
    view.records[key] = Found(commit, box.hash, box.offset, box.length)
    return key


class RecordWriter:
    """Appends records of one epoch. A record counts where it is synced and no claim fences us."""

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
        self._allocated: dict[bytes, int] = {}
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
        done = await self._on_members(lambda target: self._append_one(target, offset, record))
        free = {member for member, result in done.items() if not isinstance(result, Fenced)}
        if not self._has_quorum(free):
            for result in done.values():
                if isinstance(result, Fenced):
                    raise result
            raise ReadOnly(self._too_few(len(free)))
        self.missed = tuple(member for member in self._members if member not in free)
        self.offset = offset + len(record)

    def _too_few(self, count: int) -> str:
        return (f"only {count} targets acknowledged, {self._quorum} are needed; the pool is "
                "read-only until enough are back")

    def _append_one(self, target: Target, offset: int, record: bytes) -> Fenced | None:
        """RECORD, on one member: written, synced, then RECHECK. Runs in the target's lane."""
        if other_record(target, self._epoch, offset, record, self._keys):
            return Fenced("a copy of this client has written to the pool since; this mount is "
                          "read-only now. Unmount it")
        try:
            self._write(target, offset, record)
        except TargetError:
            # Who took over has removed the file, perhaps.
            fenced = self.check_claims(target)
            if fenced is None:
                raise
            return fenced
        return self.check_claims(target)

    def _write(self, target: Target, offset: int, record: bytes) -> None:
        """Write and SYNC."""
        name = commits_name(self._epoch)
        end = offset + len(record)
        if end > self._allocated.get(target.path.encode(), 0):
            try:
                target.preallocate(name, offset, max(COMMIT_PREALLOCATE_LEN, len(record)))
            except TargetError as error:
                if error.fault is not Fault.FULL:
                    raise
            self._allocated[target.path.encode()] = offset + COMMIT_PREALLOCATE_LEN
        target.write(name, offset, [record])
        target.sync(name)

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
        oldest = self._epoch if since is None else since
        for number, epoch in enumerate(epochs_among(target.list_names(), CLAIM_PATTERN)):
            if epoch < oldest:
                break
            if number >= CLAIMS_CHECKED_MAX:
                raise TargetError(Fault.UNSAFE, f"{target.path}: more than {CLAIMS_CHECKED_MAX} "
                                  "claims of later epochs")
            try:
                data = target.read(claim_name(epoch), 0, BLOCK_LEN)
            except TargetError:
                continue
            if data == self._claim:
                continue
            try:
                claim = decode_claim(data, self._claim_keys, epoch)
            except Damage:
                self._journal.record(Event(
                    bad_claim_kind(data), f"{target.path}: claim of epoch {epoch} is no claim",
                    target=self._fleet.id_of(target)))
                continue
            return Fenced(f"{claim.host} has claimed the pool (epoch {epoch}); this mount is "
                          "read-only now. Unmount it")
        return None

    async def _on_members(self, work: TargetWork) -> dict[bytes, Fenced | None]:
        """Do something on every member that is there; what those that did it returned."""
        asked = [member for target_id in self._members
                 if (member := self._fleet.get(target_id)) is not None and member.online
                 and target_id not in self.left_out]
        jobs = []
        for member in asked:
            assert member.target is not None and member.lane is not None
            jobs.append((member.lane, partial(work, member.target)))
        results = await run_jobs(jobs, TARGET_SYNC_DEADLINE_S)
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
