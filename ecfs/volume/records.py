"""Commit records on targets: finding them, and appending them to a quorum.

All members hold the same records at the same offsets of `commits.<epoch>`; a member that missed one
has a hole there. A reader believes nothing but what opens, and scans past what does not
(`recordscan`). Where a record lies is no secret and nothing that a member may say: in an epoch each
begins where the one before ends, the first at 0.

Another writer may give back room, or be about to write, while its files are read: claims fence what
it acknowledges, not that. So what does not open is read once more, and what is there then counts.
A member that fills its files with what does not open, and is slow, has one deadline for all of it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from ecfs.base.errors import Damage, Fault, TargetError, TooFewReachable
from ecfs.base.limits import (
    LOG_READ_EPOCHS_MAX,
    LOG_READ_LEN_MAX,
    TARGET_DEADLINE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN, MIB, NS_PER_S
from ecfs.base.world import Clock
from ecfs.formats import (
    NO_PARENT,
    BoxKeys,
    Commit,
    commits_name,
    decode_commit,
    record_hash,
)
from ecfs.stripes import Fleet, Member, run_jobs
from ecfs.volume.recordscan import Box, scan_member

CLAIMS_CHECKED_MAX = 256


@dataclass(frozen=True, slots=True)
class Found:
    """An authentic record: where it lies in its epoch's file, and its hash. `data`, its bytes, only
    while few members have it: who has it alone may not show it again."""

    commit: Commit
    hash: bytes
    offset: int
    length: int
    data: bytes | None = None


@dataclass(slots=True)
class LogView:
    """What members' files hold. `holders` by (epoch, seq): ids of members that have the record.
    `files`: of each epoch that is read, how many members name a file; `cut`: members that hold more
    than is read, so that nothing is believed of them."""

    records: dict[tuple[int, int], Found] = field(default_factory=dict)
    holders: dict[tuple[int, int], set[bytes]] = field(default_factory=dict)
    files: Counter[int] = field(default_factory=Counter)
    cut: set[bytes] = field(default_factory=set)
    ends: dict[int, int] = field(default_factory=dict)
    bad: list[tuple[bytes, int, int]] = field(default_factory=list)
    read: set[bytes] = field(default_factory=set)

    def check_known(self) -> None:
        """TooFewReachable where nothing is known, since all members hold more than is read."""
        if not self.read and self.cut:
            raise TooFewReachable(
                f"{len(self.cut)} targets hold more commit records than are read at a mount "
                f"({LOG_READ_LEN_MAX // MIB} MiB, of {LOG_READ_EPOCHS_MAX} mounts), and the newest "
                "are not known; `ecfs salvage` gets files out of the log")


async def read_log(fleet: Fleet, members: Iterable[bytes], keys: BoxKeys, *, epoch: int,
                   offset: int, seq: int = 0) -> LogView:
    """READ: everything from `offset` of `commits.<epoch>` on, and all later epochs, of all members.
    `seq`: of the record that begins there, 0 where that is not known.
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
    places: Places = {}
    bad: list[tuple[bytes, int, int]] = []
    for member, result in zip(asked, await run_jobs(jobs, TARGET_SYNC_DEADLINE_S), strict=True):
        if isinstance(result, TargetError):
            fleet.mark_away(member.id, str(result), result.fault)
            continue
        if result.is_cut:
            view.cut.add(member.id)
            fleet.mark_away(member.id, f"{member.path} holds more commit records than are read")
            continue
        view.read.add(member.id)
        rereading = _Rereading(member, fleet.clock)
        view.files.update(found for found in result.epochs if found >= epoch)
        view.bad += [(member.id, at_epoch, at) for at_epoch, at in result.bad]
        for box in result.boxes:
            try:
                key = by_hash.get(box.hash) or _open_box(view, keys, box)
                if key is None:
                    again = await rereading.read(box)
                    if again is None:
                        continue
                    box = again
                    key = by_hash.get(box.hash) or _open_box(view, keys, box)
            except TargetError as error:
                # It was not read to its end, so it does not count; nothing is known to be bad.
                fleet.mark_away(member.id, str(error), error.fault)
                view.read.discard(member.id)
                break
            if key is None or key[0] != box.epoch:
                # Every block of it: each is to be zeros again.
                bad += [(member.id, box.epoch, at) for at in range(
                    box.offset, box.offset + box.length, BLOCK_LEN)]
                continue
            by_hash[box.hash] = key
            places.setdefault(key, {}).setdefault(box.offset, set()).add(member.id)
    _settle_places(view, places, by_hash, _Start(epoch, offset, seq))
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


@dataclass(frozen=True, slots=True)
class _Start:
    """Where reading began, and the number of the record there, if it is known."""

    epoch: int
    offset: int
    seq: int


Places = dict[tuple[int, int], dict[int, set[bytes]]]
"""By (epoch, seq): at which offsets which members show the record."""

Run = dict[tuple[int, int], int]
"""Records of one epoch that follow each other: how far behind the first of them each one lies."""


def _settle_places(view: LogView, places: Places, by_hash: dict[bytes, tuple[int, int]],
                   start: _Start) -> None:
    """Each record lies where its chain says, whoever shows it elsewhere: a member that alone has
    the newest one could else have it put, everywhere, so far out that no mount reads it."""
    runs: list[Run] = []
    end = 0
    for key in sorted(places):
        before, found = view.records.get((key[0], key[1] - 1)), view.records[key]
        if before is None or before.hash != found.commit.parent:
            runs.append({})
            end = 0
        runs[-1][key] = end
        end += found.length
    for run in runs:
        base = _known_base(view, run, by_hash, start)
        _settle_run(view, places, run, base, start)


def _known_base(view: LogView, run: Run, by_hash: dict[bytes, tuple[int, int]],
                start: _Start) -> int | None:
    """Where the first record of a run lies, as the labels or its parent tell; None where something
    before it is not here."""
    if (distance := run.get((start.epoch, start.seq))) is not None:
        return start.offset - distance
    first = next(iter(run))
    parent = view.records[first].commit.parent
    if parent == NO_PARENT or by_hash.get(parent, first)[0] != first[0]:
        return 0
    return None


def _likely_base(places: Places, run: Run) -> int:
    """Where most members have one of a run, of two such places where there are more of it."""
    voters: dict[int, set[bytes]] = {}
    votes: Counter[int] = Counter()
    for key, distance in run.items():
        for offset, members in places[key].items():
            voters.setdefault(offset - distance, set()).update(members)
            votes[offset - distance] += len(members)
    return max(votes, key=lambda base: (base >= 0, len(voters[base]), votes[base], -base))


def _settle_run(view: LogView, places: Places, run: Run, base: int | None, start: _Start) -> None:
    """A member that has a record elsewhere does not have it. That copy is bad, unless nobody knows
    the place and it may be the good one."""
    known = base is not None
    begin = base if base is not None else _likely_base(places, run)
    for key, distance in run.items():
        found, epoch, offset = view.records[key], key[0], begin + distance
        members_at = places[key]
        holders = view.holders[key] = members_at.pop(offset, set())
        most = known or all(len(members) < len(holders) for members in members_at.values())
        view.bad += [(member, epoch, at) for wrong, members in members_at.items()
                     for at in range(wrong, wrong + found.length, BLOCK_LEN)
                     for member in (members if most else members - holders)]
        if epoch == start.epoch and offset < start.offset:
            # From before the checkpoint: given back on honest members, or about to be.
            del view.holders[key], view.records[key]
            continue
        data = None if 2 * len(holders) > len(view.read) else found.data
        view.records[key] = replace(found, offset=offset, data=data)
        view.ends[epoch] = max(view.ends.get(epoch, 0), offset + found.length)


def _open_box(view: LogView, keys: BoxKeys, box: Box) -> tuple[int, int] | None:
    """Open a record that no member before had; None when it is not authentic or misplaced, or its
    bytes were not kept."""
    if box.data is None:
        return None
    try:
        head, commit = decode_commit(box.data, keys)
    except Damage:
        return None
    key = (head.epoch, head.seq)
    if head.epoch != box.epoch or head.length != box.length or key in view.records:
        return None
    view.records[key] = Found(commit, box.hash, box.offset, box.length, box.data)
    return key


class _Rereading:
    """What one member is asked for once more: TARGET_SYNC_DEADLINE_S for all of it together."""

    def __init__(self, member: Member, clock: Clock) -> None:
        self._member = member
        self._clock = clock
        self._left_ns = int(TARGET_SYNC_DEADLINE_S * NS_PER_S)

    async def read(self, box: Box) -> Box | None:
        """What lies in a box's place now, under its own hash: it may be something else. None where
        its room was given back. TargetError when it cannot be read, which says nothing of it."""
        target, lane = self._member.target, self._member.lane
        assert target is not None and lane is not None
        if self._left_ns <= 0:
            raise TargetError(Fault.TIMEOUT, f"{self._member.path}: what does not open there was "
                              f"not read once more within {TARGET_SYNC_DEADLINE_S:g} s")
        began_ns = self._clock.monotonic_ns()
        try:
            data = await lane.run(
                partial(target.read, commits_name(box.epoch), box.offset, box.length),
                deadline_s=min(TARGET_DEADLINE_S, self._left_ns / NS_PER_S))
        except TargetError as error:
            if error.fault is Fault.MISSING:
                return None
            raise
        finally:
            self._left_ns -= self._clock.monotonic_ns() - began_ns
        if data == bytes(len(data)):
            return None
        return replace(box, hash=record_hash(data), data=data)
