"""Rebuilding: an empty directory takes the place of a target that is lost."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

from ecfs.base.errors import (
    Damage,
    PoolExists,
    ReadOnly,
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
from ecfs.repair.walking import segments_of
from ecfs.stripes import Member, MemberState
from ecfs.targets import Target
from ecfs.volume import Volume, clear_leftovers, exchange_member

IGNORED = {"lost+found"}


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did. `shards_count` were written; `complete` if nothing is lacking."""

    old_id: str
    new_id: str
    path: str
    shards_count: int
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """`ecfs.rebuild/1`."""
        return {"schema": "ecfs.rebuild/1", "old_id": self.old_id, "new_id": self.new_id,
                "path": self.path, "shards": self.shards_count, "complete": self.complete}


async def replace_target(volume: Volume, old: str, new_path: str, *,
                         progress: ProgressTaker = lambda progress: None) -> RebuildReport:
    """Put `new_path` in the place of target `old` (name, id or path) and fill it.

    Raises UsageRefusal for an unknown target, Refusal where the new place is unsuitable. When it is
    interrupted, the next mount goes on with the filling.
    """
    if volume.read_only:
        raise ReadOnly(f"a target cannot be replaced now: {volume.read_only}")
    member = find_member(volume, old)
    lane = volume.environment.open_lane(member.name)
    try:
        target = await lane.run(partial(_open_blank, volume, member, new_path),
                                deadline_s=TARGET_DEADLINE_S)
    except BaseException:
        lane.close(timeout=0.0)
        raise
    new = Member(volume.environment.entropy.token(16), member.name, os.path.abspath(new_path),
                 target, lane, MemberState.ONLINE, behind=True, filling=True)
    await exchange_member(volume, member, new)
    volume.journal.record(Event(
        EventKind.REBUILT, f"{new.path} takes the place of {member.name} ({member.path}) and is "
        "being filled", target=new.id))
    shards = await _fill(volume, new, progress)
    return RebuildReport(member.id.hex(), new.id.hex(), new.path, shards, not new.behind)


async def _fill(volume: Volume, new: Member, progress: ProgressTaker) -> int:
    total = sum(entry.length for entry, _, _ in segments_of(volume) if new.id in entry.columns)
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
    real = real_path(wanted)
    found = [member for member in volume.fleet
             if wanted in (member.name, member.id.hex(), member.path)
             or real == real_path(member.path)
             or (len(wanted) >= 8 and member.id.hex().startswith(wanted.lower()))]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{member.name} ({member.path})" for member in volume.fleet)
    raise UsageRefusal(f"{'several targets are' if found else 'no target is'} called {wanted!r}; "
                       f"the pool has {names}")


def _open_blank(volume: Volume, old: Member, path: str) -> Target:
    """The new target: an empty directory that no other target is, or lies in. What an earlier try
    left there is removed."""
    real = real_path(path)
    for member in volume.fleet:
        other = real_path(member.path)
        if member is not old or member.online:
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
    except TargetError as error:
        raise Refusal(f"{error}; the new target must be an empty directory") from error
    if names:
        target.close()
        if labels_among(names):
            raise PoolExists(f"{path} holds a target of a pool; remove what is in it first, if "
                             "you are sure")
        raise Refusal(f"{path} is not empty (it has {names[0]!r}); the new target must be an "
                      "empty directory")
    return target
