"""Commit records on targets: finding them, and appending them to a quorum.

All members hold the same records at the same offsets of `commits.<epoch>`; a member that missed one
has a hole there. A reader believes nothing but what opens, and scans past what does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from ecfs.base.errors import Damage, Fault, Fenced, ReadOnly, TargetError
from ecfs.base.limits import (
    COMMIT_PREALLOCATE_LEN,
    COMMIT_RECORD_LEN_MAX,
    TARGET_DEADLINE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.formats import (
    CLAIM_PATTERN,
    COMMIT,
    COMMITS_PATTERN,
    BoxKeys,
    Commit,
    claim_name,
    commits_name,
    decode_claim,
    decode_commit,
    epochs_among,
    peek_box,
    record_hash,
)
from ecfs.observe import Event, Journal
from ecfs.stripes import Fleet, Member, run_jobs
from ecfs.targets import Target
from ecfs.volume.everywhere import TargetWork
from ecfs.volume.recordfiles import (
    bad_claim_kind,
    next_block,
    other_record,
    punch,
    read_past_errors,
    trim,
)

SCAN_LEN_MAX = 512 * MIB
SCAN_CHUNK_LEN = 4 * MIB
SCAN_KEPT_LEN_MAX = 128 * MIB
EPOCHS_READ_MAX = 64
UNREADABLE_BLOCKS_MAX = 256
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


@dataclass(frozen=True, slots=True)
class _Box:
    """Something that looks like a record. `data` is kept for one member only, to bound memory."""

    epoch: int
    offset: int
    length: int
    hash: bytes
    data: bytes | None


@dataclass(slots=True)
class _Scan:
    """Raw result of one member: what looks like records, and (epoch, offset) of what is bad."""

    boxes: list[_Box] = field(default_factory=list)
    bad: list[tuple[int, int]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    kept_len: int = 0

    def take(self, epoch: int, offset: int, data: bytes, *, keep: bool) -> None:
        """Note what looks like a record; past SCAN_KEPT_LEN_MAX it is to be read again."""
        kept = data if keep and self.kept_len + len(data) <= SCAN_KEPT_LEN_MAX else None
        self.kept_len += 0 if kept is None else len(kept)
        self.boxes.append(_Box(epoch, offset, len(data), record_hash(data), kept))


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
                     partial(_scan_member, member.target, epoch, offset, number == 0)))
    by_hash: dict[bytes, tuple[int, int]] = {}
    places: dict[tuple[int, int], dict[int, set[bytes]]] = {}
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
                view.bad += [(member.id, box.epoch, at) for at in range(
                    box.offset, box.offset + box.length, BLOCK_LEN)]
                continue
            by_hash[box.hash] = key
            places.setdefault(key, {}).setdefault(box.offset, set()).add(member.id)
    for key in sorted(places):
        _settle_place(view, key, places[key])
    return view


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
    view.bad += [(member, epoch, at) for begin, members in members_at.items()
                 for at in range(begin, begin + found.length, BLOCK_LEN)
                 for member in members - view.holders[key]]


async def _open_box_of(view: LogView, keys: BoxKeys, member: Member,
                       box: _Box) -> tuple[int, int] | None:
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


def _scan_member(target: Target, epoch: int, offset: int, keep: bool) -> _Scan:
    """Runs in the target's lane. Bounded by `SCAN_LEN_MAX` over all files."""
    scan = _Scan()
    scan.epochs = epochs_among(target.list_names(), COMMITS_PATTERN)
    budget = SCAN_LEN_MAX
    wanted = sorted(found for found in scan.epochs if found >= epoch)[:EPOCHS_READ_MAX]
    for found in wanted:
        start = offset if found == epoch else 0
        try:
            budget -= _scan_file(target, found, start, budget, scan, keep)
        except TargetError as error:
            if error.fault not in (Fault.MISSING, Fault.UNSAFE, Fault.IO):
                raise
            scan.bad.append((found, start))
    return scan


def _scan_file(target: Target, epoch: int, start: int, budget: int, scan: _Scan,
               keep: bool) -> int:
    name = commits_name(epoch)
    target.forget(name)
    at = start
    window, window_at = b"", at
    zeros = bytes(BLOCK_LEN)
    end: int | None = None
    while at - start < budget:
        if at - window_at + BLOCK_LEN > len(window):
            read = read_past_errors(target, name, at, SCAN_CHUNK_LEN)
            if read is None and len(scan.bad) < UNREADABLE_BLOCKS_MAX:
                scan.bad.append((epoch, at))
                at += BLOCK_LEN
                window, window_at = b"", at
                continue
            window, window_at = read or b"", at
            if not window:
                break
        inside = at - window_at
        block = window[inside : inside + BLOCK_LEN]
        if block == zeros:
            at = next_block(window, window_at, inside)
            continue
        try:
            length = peek_box(COMMIT, block).length
        except Damage:
            scan.bad.append((epoch, at))
            at += BLOCK_LEN
            continue
        data = window[inside : inside + length]
        if len(data) < length and (end is None or at + length <= end):
            data = target.read(name, at, min(length, COMMIT_RECORD_LEN_MAX))
            # A file that ends here is not read to its end again for every block before it.
            end = at + len(data) if len(data) < length else end
        if len(data) == length:
            scan.take(epoch, at, data, keep=keep)
            at += length
        else:
            scan.bad.append((epoch, at))
            at += BLOCK_LEN
    return at - start


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
                 if (member := self._fleet.get(target_id)) is not None and member.online]
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
