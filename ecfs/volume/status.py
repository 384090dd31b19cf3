"""What a pool is like now, as people and programs read it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ecfs.base.errors import NotAPool
from ecfs.erasure import Quorum
from ecfs.formats import Label
from ecfs.observe import ErrorCounts
from ecfs.stripes import Fleet, Member, MemberState
from ecfs.targets import Space
from ecfs.volume.looking import pool_of
from ecfs.volume.sighting import Sighting, absence_of, reasons_of


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target. Lengths in bytes; counts of errors since the pool was opened."""

    id: str
    name: str
    path: str
    state: str
    io_errors: int = 0
    tag_errors: int = 0
    label_errors: int = 0
    missed_len: int = 0
    size_len: int = 0
    free_len: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """The whole pool. `authenticated` is False when only labels were read, without a key."""

    pool_id: str
    state: str
    freshness: str
    epoch: int
    commit: int
    data: int
    parity: int
    targets: tuple[TargetStatus, ...]
    damaged_paths: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    authenticated: bool = True
    audit: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`ecfs.status/1`."""
        return {
            "schema": "ecfs.status/1", "authenticated": self.authenticated,
            "pool_id": self.pool_id, "state": self.state, "freshness": self.freshness,
            "epoch": self.epoch, "commit": self.commit,
            "geometry": {"data": self.data, "parity": self.parity},
            "targets": [{
                "id": target.id, "name": target.name, "path": target.path,
                "state": target.state, "reason": target.reason,
                "errors": {"io": target.io_errors, "tag": target.tag_errors,
                           "label": target.label_errors},
                "missed_bytes": target.missed_len, "size_bytes": target.size_len,
                "free_bytes": target.free_len} for target in self.targets],
            "damaged_paths": list(self.damaged_paths), "audit": self.audit,
            "advice": list(self.advice),
            **self.extra}


_WORDS = {MemberState.CLONE: "left out", MemberState.FOREIGN: "left out"}
def target_status(member: Member, errors: ErrorCounts, space: Space | None,
                  missed_len: int) -> TargetStatus:
    """What is told of one target. `space`: as it told it, if it has."""
    return TargetStatus(
        member.id.hex(), member.name, os.path.abspath(member.path), member.state.value, errors.io,
        errors.tag, errors.label, missed_len, space.total_len if space else 0,
        space.free_len if space else 0, member.reason)


def state_of(fleet: Fleet, read_only: str, missed: Sequence[str]) -> str:
    """The state of a pool in a word. `missed`: names of targets that have to catch up."""
    if read_only:
        return "read_only"
    gone = any(member.state is not MemberState.ONLINE for member in fleet)
    return "degraded" if gone or missed else "healthy"


COPY_OUT = ("If too many are lost for good, make a new pool and copy into it what a mount of this "
            "one still shows.")


def advise(fleet: Fleet, label: Label, quorum: Quorum, read_only: str, missed: Sequence[str],
           strangers: Sequence[str] = ()) -> list[str]:
    """What the user should do next, most urgent first. `strangers`: what was met of other pools."""
    advice = []
    if read_only:
        advice.append(f"The pool is read-only: {read_only}.")
    gone = [member for member in fleet if member.state is not MemberState.ONLINE]
    remedy = "Bring it back, or run `ecfs target replace`."
    members = set(label.members)
    if sum(member.online for member in fleet if member.id in members) < quorum.commit:
        remedy = "Bring it back."
        advice.append(f"While so few are there no target can be replaced. {COPY_OUT}")
    if len(gone) > label.parity:
        advice.append(f"{len(gone)} targets are not there, more than the {label.parity} that any "
                      "file survives: bring targets back before anything else.")
    for member in gone:
        # Where a file could not be made for want of room, what is told last is that it is missing.
        advice.append(f"{member.name} ({member.path}) is {_WORDS.get(member.state, member.state)}: "
                      f"{member.reason}. " + (
            "Its disk is full: it has no room, or no inodes, for a file that is needed (`df`, `df "
            "-i`). Make room there." if member.full
            else member.remedy or remedy))
    advice += [f"{name} is catching up on what it missed." for name in missed]
    full = [member.name for member in fleet if member.full]
    if full:
        advice.append(
            f"Full: {', '.join(full)}. Delete files or add room there (`df`, `df -i`, quotas).")
    # Those in the place of a member are told of already.
    return advice + [f"{told}." for told in strangers
                     if all(member.online or not told.startswith(member.path + ":")
                            for member in fleet)]


def peeked(sightings: Sequence[Sighting]) -> PoolStatus:
    """What the labels claim, believed by nobody. NotAPool, UnknownFormat."""
    pool_id = pool_of(sightings)
    if pool_id is None:
        for sighting in sightings:
            if sighting.unknown_format is not None:
                raise sighting.unknown_format
        raise NotAPool(f"no label of an ecfs pool here: {reasons_of(sightings)}")
    ours: dict[bytes, list[Sighting]] = {}
    for sighting in sightings:
        if sighting.pool_id == pool_id:
            ours.setdefault(sighting.labels[0].label.target_id, []).append(sighting)
    label = max((sighting.labels[0].label for found in ours.values() for sighting in found),
                key=lambda label: (label.epoch, label.generation))
    targets = []
    for entry in label.targets:
        there = [sighting.path for sighting in ours.get(entry.id, [])]
        absence = absence_of(entry, sightings, pool_id, there)
        targets.append(
            TargetStatus(entry.id.hex(), entry.name, there[0], "online") if len(there) == 1
            else TargetStatus(entry.id.hex(), entry.name, entry.path, absence.state.value,
                              reason=absence.reason))
    missing = [target for target in targets if target.state != "online"]
    state = "healthy" if not missing else (
        "degraded" if len(missing) <= label.parity else "offline")
    checkpoint = label.checkpoint.seq if label.checkpoint else 0
    advice = ["Not authenticated: give a passphrase to check what the labels claim."]
    return PoolStatus(pool_id.hex(), state, "not_proven", label.epoch, checkpoint, label.data,
                      label.parity, tuple(targets), advice=tuple(advice), authenticated=False)
