"""Commit records on targets: finding them, and appending them to a quorum.

All members hold the same records at the same offsets of `commits.<epoch>`; a member that missed one
has a hole there. A reader believes nothing but what opens, and scans past what does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from ecfs.base.errors import Damage, Fault, TargetError
from ecfs.base.limits import (
    COMMIT_RECORD_LEN_MAX,
    TARGET_DEADLINE_S,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.formats import (
    COMMIT,
    COMMITS_PATTERN,
    BoxKeys,
    Commit,
    commits_name,
    decode_commit,
    epochs_among,
    peek_box,
    record_hash,
)
from ecfs.stripes import Fleet, Member, run_jobs
from ecfs.targets import Target
from ecfs.volume.recordfiles import (
    next_block,
    read_past_errors,
)

SCAN_LEN_MAX = 512 * MIB
SCAN_CHUNK_LEN = 4 * MIB
SCAN_KEPT_LEN_MAX = 128 * MIB
EPOCHS_READ_MAX = 64
UNREADABLE_BLOCKS_MAX = 256



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
