"""What a pool is like now, as people and programs read it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ecfs.base.errors import NotAPool
from ecfs.formats import Label
from ecfs.stripes import Fleet, MemberState
from ecfs.volume.looking import Sighting, pool_of


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


def state_of(fleet: Fleet, read_only: str, missed: Sequence[str]) -> str:
    """The state of a pool in a word. `missed`: names of targets that have to catch up."""
    if read_only:
        return "read_only"
    gone = any(member.state is not MemberState.ONLINE for member in fleet)
    return "degraded" if gone or missed else "healthy"


def advise(fleet: Fleet, label: Label, read_only: str, missed: Sequence[str]) -> list[str]:
    """What the user should do next, most urgent first."""
    advice = []
    if read_only:
        advice.append(f"The pool is read-only: {read_only}.")
    gone = [member for member in fleet if member.state is not MemberState.ONLINE]
    if len(gone) > label.parity:
        advice.append(f"{len(gone)} targets are not there, more than the {label.parity} that any "
                      "file survives: bring targets back before anything else.")
    for member in gone:
        # Where a file could not be made for want of room, what is told last is that it is missing.
        advice.append(f"{member.name} ({member.path}) is {member.state}: {member.reason}. " + (
            "Its disk is full: it has no room, or no inodes, for a file that is needed (`df`, `df "
            "-i`). Make room there." if member.full
            else "Bring it back, or run `ecfs target replace`."))
    advice += [f"{name} is catching up on what it missed." for name in missed]
    full = [member.name for member in fleet if member.full]
    if full:
        advice.append(
            f"Full: {', '.join(full)}. Delete files or add room there (`df`, `df -i`).")
    return advice


def peeked(sightings: Sequence[Sighting]) -> PoolStatus:
    """What the labels claim, believed by nobody. NotAPool, UnknownFormat."""
    pool_id = pool_of(sightings)
    if pool_id is None:
        for sighting in sightings:
            if sighting.unknown_format is not None:
                raise sighting.unknown_format
        raise NotAPool("no label of an ecfs pool here: " + "; ".join(
            f"{sighting.path}: {sighting.reason}" for sighting in sightings))
    ours = {sighting.labels[0].label.target_id: sighting for sighting in sightings
            if sighting.pool_id == pool_id}
    label = max((sighting.labels[0].label for sighting in ours.values()),
                key=lambda label: (label.epoch, label.generation))
    targets = []
    for entry in label.targets:
        there = ours.get(entry.id)
        targets.append(TargetStatus(
            entry.id.hex(), entry.name, there.path if there else entry.path,
            "online" if there else "missing", reason="" if there else "not found"))
    missing = [target for target in targets if target.state != "online"]
    state = "healthy" if not missing else (
        "degraded" if len(missing) <= label.parity else "offline")
    checkpoint = label.checkpoint.seq if label.checkpoint else 0
    advice = ["Not authenticated: give a passphrase to check what the labels claim."]
    return PoolStatus(pool_id.hex(), state, "not_proven", label.epoch, checkpoint, label.data,
                      label.parity, tuple(targets), advice=tuple(advice), authenticated=False)
