"""Rebuilding: an empty directory takes the place of a target that is lost."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

from ecfs.base.errors import (
    Damage,
    PoolExists,
    Refusal,
    SameTarget,
    TargetError,
    TargetInside,
    Unreadable,
    UsageRefusal,
)
from ecfs.base.limits import TARGET_DEADLINE_S
from ecfs.base.paths import real_path
from ecfs.formats import labels_among
from ecfs.observe import Event, EventKind
from ecfs.repair.mending import MENDED, catch_up
from ecfs.repair.progress import Progress, ProgressTaker
from ecfs.repair.sparing import check_room, check_spare, check_writable, held_len
from ecfs.stripes import Member, MemberState
from ecfs.targets import Target
from ecfs.volume import (
    Volume,
    clear_leftovers,
    exchange_member,
    finish_exchange,
    last_exchange,
    look_at,
    shows,
)

IGNORED = {"lost+found"}


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did. `shards_count` were written; `complete` if nothing is lacking. `began`:
    whether it was begun now; else it was under way, or complete, before."""

    old_id: str
    new_id: str
    path: str
    shards_count: int
    complete: bool
    began: bool = True

    def to_json(self) -> dict[str, Any]:
        """`ecfs.rebuild/1`."""
        return {"schema": "ecfs.rebuild/1", "old_id": self.old_id, "new_id": self.new_id,
                "path": self.path, "shards": self.shards_count, "complete": self.complete,
                "began": self.began}


async def replace_target(volume: Volume, old: str, new_path: str, *,
                         progress: ProgressTaker = lambda progress: None) -> RebuildReport:
    """Put `new_path` in the place of target `old` (name, id or path) and fill it.

    Raises UsageRefusal for an unknown target, Refusal where the new place is unsuitable, the old
    target cannot be spared or too few are there to write; then nothing has changed. When it is
    interrupted, the mount, or the next one, goes on with the filling; given again, it joins that.
    """
    check_writable(volume)
    begun = await _begun(volume, old, new_path)
    if begun is not None:
        return await _go_on(volume, begun, progress)
    member = find_member(volume, old)
    in_place = real_path(new_path) == real_path(member.path)
    if member.online and not in_place:
        check_spare(volume, member)
    lane = volume.environment.open_lane(member.name)
    try:
        target = await lane.run(
            partial(_open_blank, volume, member, new_path, held_len(volume, member)),
            deadline_s=TARGET_DEADLINE_S)
    except BaseException:
        lane.close(timeout=0.0)
        raise
    if in_place:
        # Where nobody has noticed yet that the disk below was exchanged.
        volume.fleet.mark_away(member.id, "an empty directory lies in its place")
    new = Member(volume.environment.entropy.token(16), member.name, os.path.abspath(new_path),
                 target, lane, MemberState.ONLINE, behind=True, filling=True)
    try:
        await exchange_member(volume, member, new)
    except BaseException:
        # Where its columns have moved already, the background fills it.
        new.filling = False
        raise
    volume.journal.record(Event(
        EventKind.REBUILT, f"{new.path} takes the place of {member.name} ({member.path}) and is "
        "being filled", target=new.id))
    shards = await _fill(volume, new, progress)
    return RebuildReport(member.id.hex(), new.id.hex(), new.path, shards, not new.behind)


async def _begun(volume: Volume, old: str, new_path: str) -> Member | None:
    """The target at `new_path`, where that has taken the place of `old` already."""
    real = real_path(new_path)
    new = next((member for member in volume.fleet
                if member.online and not member.leaving and real_path(member.path) == real), None)
    last = last_exchange(volume.database)
    if new is None:
        return None
    replaced = last if last is not None and last[1] == new.id else None
    if not _is_called(new.name, new.id, new.path, old) and (
            replaced is None or not _is_called(new.name, replaced[0], replaced[2], old)):
        return None
    if not new.behind and replaced is None:
        return None
    lane = volume.environment.open_lane(new.name)
    try:
        there = await lane.run(partial(_is_there, volume, new, new_path),
                               deadline_s=TARGET_DEADLINE_S)
    finally:
        lane.close(timeout=0.0)
    return new if there else None


async def _go_on(volume: Volume, new: Member, progress: ProgressTaker) -> RebuildReport:
    """With a rebuild that was begun before."""
    await finish_exchange(volume)
    shards = 0
    if new.behind:
        new.filling = True
        shards = await _fill(volume, new, progress)
    last = last_exchange(volume.database)
    old_id = last[0] if last is not None and last[1] == new.id else new.id
    return RebuildReport(old_id.hex(), new.id.hex(), new.path, shards, not new.behind, began=False)


async def _fill(volume: Volume, new: Member, progress: ProgressTaker) -> int:
    total = held_len(volume, new)
    done_len = written = 0

    def note(length: int, outcome: str) -> None:
        nonlocal done_len, written
        done_len += length
        written += outcome == MENDED
        progress(Progress(done_len, max(total, done_len), written, 0))

    try:
        return await catch_up(volume, new, note)
    except (Unreadable, Damage) as error:
        raise Refusal(f"the new target could not be filled completely: {error}") from error
    finally:
        new.filling = False


def find_member(volume: Volume, wanted: str) -> Member:
    """The target with this name, id, prefix of an id (8 digits or more) or path."""
    found = [member for member in volume.fleet
             if _is_called(member.name, member.id, member.path, wanted)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{member.name} ({member.path})" for member in volume.fleet)
    raise UsageRefusal(f"{'several targets are' if found else 'no target is'} called {wanted!r}; "
                       f"the pool has {names}")


def _is_called(name: str, target_id: bytes, path: str, wanted: str) -> bool:
    return (wanted in (name, target_id.hex(), path)
            or (path != "" and real_path(wanted) == real_path(path))
            or (len(wanted) >= 8 and target_id.hex().startswith(wanted.lower())))


def _is_there(volume: Volume, member: Member, path: str) -> bool:
    """Whether what lies at a path now is this target: the pool may have it open still, though
    another disk is mounted there. Runs in a lane."""
    sighting = look_at(path, volume.environment)
    try:
        return shows(sighting, volume.opened.master, volume.pool_id, member.id)
    finally:
        sighting.close()


def _open_blank(volume: Volume, old: Member, path: str, needed_len: int) -> Target:
    """The new target: an empty directory that no other target is, or lies in, with room for what it
    is to hold. What an earlier try left there is removed. Runs in a lane."""
    real = real_path(path)
    for member in volume.fleet:
        other = real_path(member.path)
        if member is old and (not member.online or (
                other == real and not _is_there(volume, member, path))):
            continue
        if other == real:
            raise SameTarget(f"{path} is the place of {member.name}, which is there; give an "
                             "empty directory")
        if os.path.commonpath([other, real]) in (other, real):
            raise TargetInside(f"{path} and target {member.path} lie inside each other")
    if not os.path.lexists(path) and os.path.isdir(os.path.dirname(os.path.abspath(path))):
        os.mkdir(path, 0o700)
    try:
        target = volume.environment.open_target(path)
        names = [name for name in target.list_names() if name not in IGNORED]
        if names and clear_leftovers(volume, target):
            names = []
        free_len = target.space().free_len
    except TargetError as error:
        raise Refusal(f"{error}; the new target must be an empty directory") from error
    try:
        if labels_among(names):
            raise PoolExists(f"{path} holds a target of a pool; remove what is in it first, if "
                             "you are sure")
        if names:
            raise Refusal(f"{path} is not empty (it has {names[0]!r}); the new target must be an "
                          "empty directory")
        check_room(path, free_len, needed_len)
    except Refusal:
        target.close()
        raise
    return target
