"""What lies at the path of a target, and why a target is not there."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ecfs.base.errors import UnknownFormat
from ecfs.formats import SignedLabel, TargetEntry
from ecfs.stripes import Member, MemberState
from ecfs.targets import AnyLane, Target

REASONS_TOLD_MAX = 3


@dataclass(slots=True)
class Sighting:
    """What lies at one path: a target with labels (newest first), or the reason why there is none.
    `was_given`: the user named the path, and not only some label, which anybody may have written.
    `spoiled`: there are labels, but none that can be read, or believed.
    `place`: the path without symbolic links, as far as it could be followed in time. `is_link`:
    the path itself is one. `is_double`: it leads to where another of the paths is; left out.
    """

    path: str
    target: Target | None = None
    lane: AnyLane | None = None
    labels: list[SignedLabel] = field(default_factory=list)
    reason: str = ""
    unknown_format: UnknownFormat | None = None
    was_given: bool = False
    spoiled: bool = False
    place: str = ""
    is_link: bool = False
    is_double: bool = False

    def __post_init__(self) -> None:
        self.place = self.place or os.path.abspath(self.path)

    def close(self) -> None:
        """Let go of the target and its lane."""
        if self.lane is not None:
            self.lane.close(timeout=0.0)
        if self.target is not None:
            self.target.close()

    @property
    def text(self) -> str:
        """The path as it was given, which no target can change."""
        return os.path.abspath(self.path)

    def leave_out(self, first: "Sighting") -> None:
        """It is no target of its own: it leads to where `first` is."""
        self.is_double, self.labels, self.place = True, [], self.text
        self.reason = f"leads to {first.path}, which counts once; this one is left out"

    @property
    def pool_id(self) -> bytes | None:
        """The pool that its newest label names."""
        return self.labels[0].label.pool_id if self.labels else None


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a target is not there. `remedy`: what brings it back, where that is not plain."""

    reason: str
    state: MemberState = MemberState.MISSING
    remedy: str = ""

    def note_on(self, member: Member) -> None:
        """Say so of the member that is not there."""
        member.state, member.reason, member.remedy = self.state, self.reason, self.remedy


def reasons_of(sightings: Sequence[Sighting]) -> str:
    """Why there is no pool at these places: of the first few. A file of anything else that was
    taken for a pool file is not to be shown line by line."""
    told = [one.reason if one.reason.startswith(f"{one.path}: ") else f"{one.path}: {one.reason}"
            for one in sightings[:REASONS_TOLD_MAX]]
    more = len(sightings) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def absence_of(entry: TargetEntry, sightings: Iterable[Sighting], pool_id: bytes,
               copies: Sequence[str] = ()) -> Absence:
    """Why a target is not there, of what lies where it was last. `copies`: where several are."""
    if copies:
        return Absence(f"{' and '.join(copies)} are copies of it, so both are left out",
                       MemberState.CLONE, "Take the copy away and mount again.")
    found = next((sighting for sighting in sightings
                  if entry.path in (sighting.place, sighting.text)), None)
    if found is None:
        return Absence("not found")
    if found.pool_id not in (None, pool_id):
        return Absence(
            f"{found.path} holds a target of pool {found.pool_id.hex()}", MemberState.FOREIGN,
            "Check what is mounted there; if that is meant to stay, give the path where "
            f"{entry.name} is now, or run `ecfs target replace`.")
    if found.spoiled:
        return Absence(
            f"none of its labels is of use ({found.reason})", remedy="Without one nothing tells "
            "that it is this target, and none is written anew: put a label of its back, or move "
            "away what is in the directory and run `ecfs target replace POOL "
            f"{entry.name} {found.path}`.")
    return Absence(found.reason or "not found")
