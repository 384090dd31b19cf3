"""Lies of a hostile target, each told with knowledge of the protocol.

A lie is laid over a disk that goes on underneath: it changes what is shown, or takes what is
written and forgets it. Several may be told by one disk at once.
"""

import random
from collections.abc import Callable, Mapping

from ecfs.base.errors import Fault
from ecfs.base.units import BLOCK_LEN
from ecfs.targets import Space
from ecfs.targets.names import split_name

JUNK_NAMES = (
    "claim.ffffffffffffffff", "claim.0", "commits.ffffffffffffffff", "label.ffff.1",
    "heartbeat.7fffffffffffffff", "label..", "segments.old", "\udcff\u202e", "a" * 255,
    "claim.00000000000000001", "COMMITS.1", "lost+found",
)


class Lie:
    """The truth, for every question. `name` says which lie it is."""

    name = "truth"

    def names(self, folder: str, names: list[str]) -> list[str]:
        """What a folder is said to hold."""
        return names

    def shown(self, name: str, offset: int, data: bytes) -> bytes:
        """What is read in place of `data`."""
        return data

    def absent(self, name: str, offset: int, length: int) -> bytes | None:
        """What is read of a file that is not there; None: nothing."""
        return None

    def drops(self, method: str, name: str, offset: int, data: bytes) -> bool:
        """Whether a change is acknowledged and not carried out."""
        return False

    def fault(self, method: str, name: str, offset: int) -> Fault | None:
        """How a call fails."""
        return None

    def space(self, space: Space) -> Space:
        """How much room there is said to be."""
        return space


class Fickle(Lie):
    """Every other read of anything but labels is another answer."""

    name = "fickle"

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def shown(self, name: str, offset: int, data: bytes) -> bytes:
        """Some bytes of it, now and then."""
        if not data or self._source.random() < 0.5:
            return data
        changed = bytearray(data)
        for _ in range(self._source.randrange(1, 4)):
            changed[self._source.randrange(len(changed))] ^= 1 << self._source.randrange(8)
        return bytes(changed)


class HidesCommits(Lie):
    """Records that came since the lie began read as if they had never been written."""

    name = "hides commits"

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self._lengths = dict(lengths)

    def shown(self, name: str, offset: int, data: bytes) -> bytes:
        """Zeros past where each record file ended."""
        if not name.startswith("commits."):
            return data
        kept = max(0, self._lengths.get(name, 0) - offset)
        return data[:kept].ljust(len(data), b"\0")


class OldState(Lie):
    """Labels and claims are shown as they were when the lie began; later ones are denied."""

    name = "shows old labels and claims"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = {name: data for name, data in files.items()
                       if name.startswith(("label.", "claim."))}

    def names(self, folder: str, names: list[str]) -> list[str]:
        """The old ones."""
        if folder:
            return names
        kept = [name for name in names if not name.startswith(("label.", "claim."))]
        return sorted([*kept, *self._files])

    def shown(self, name: str, offset: int, data: bytes) -> bytes:
        """The old bytes."""
        old = self._files.get(name)
        return data if old is None else old[offset : offset + max(len(data), BLOCK_LEN)]

    def absent(self, name: str, offset: int, length: int) -> bytes | None:
        """What was removed meanwhile is still there."""
        old = self._files.get(name)
        return None if old is None else old[offset : offset + length]


class Replays(Lie):
    """Columns and records read as those of another pool, or of another place of this one."""

    name = "replays other bytes"

    def __init__(self, source: random.Random, others: list[bytes]) -> None:
        self._source = source
        self._others = others

    def shown(self, name: str, offset: int, data: bytes) -> bytes:
        """Whole records of somewhere else, for half of the reads."""
        if not self._others or name.startswith("label.") or self._source.random() < 0.5:
            return data
        other = self._source.choice(self._others)
        at = offset if offset < len(other) else 0
        return other[at : at + len(data)].ljust(len(data), b"\0")


class ClaimsFullness(Lie):
    """No room for anything."""

    name = "claims fullness"

    def fault(self, method: str, name: str, offset: int) -> Fault | None:
        """FULL for all that grows."""
        return Fault.FULL if method in ("create", "write", "replace", "preallocate") else None

    def space(self, space: Space) -> Space:
        """Nothing free."""
        return Space(space.total_len, 0)


class Withholds(Lie):
    """Some columns are not there today."""

    name = "withholds shards"

    def __init__(self, chooses: Callable[[str], bool], fault: Fault) -> None:
        self._chooses = chooses
        self._fault = fault

    def fault(self, method: str, name: str, offset: int) -> Fault | None:
        """For the chosen columns."""
        if method == "read" and name.endswith(".col") and self._chooses(name):
            return self._fault
        return None


class Resurrects(Lie):
    """What is removed comes back."""

    name = "resurrects"

    def drops(self, method: str, name: str, offset: int, data: bytes) -> bool:
        """No removal is carried out."""
        return method == "remove"


class PlantsJunk(Lie):
    """Names that nobody gave, and true claims under names of later epochs."""

    name = "plants junk"

    def __init__(self, source: random.Random, claims: list[bytes]) -> None:
        self._source = source
        self._claims = claims
        self._planted = source.sample(JUNK_NAMES, 4)
        self._noise = source.randbytes(5000)

    def names(self, folder: str, names: list[str]) -> list[str]:
        """Some more."""
        return sorted({*names, *self._planted}) if not folder else names

    def absent(self, name: str, offset: int, length: int) -> bytes | None:
        """Noise, or a claim of another epoch."""
        if name not in self._planted:
            return None
        if self._claims and name.startswith("claim."):
            return self._source.choice(self._claims)[offset : offset + length]
        return self._noise[offset : offset + length]


class Forgets(Lie):
    """Acknowledges changes of the chosen kind of files and drops them."""

    name = "acknowledges and drops"

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def drops(self, method: str, name: str, offset: int, data: bytes) -> bool:
        """Writes into files whose name begins so."""
        return method in ("write", "create") and name.startswith(self._prefix)


LIE_NAMES = tuple(lie.name for lie in (
    Fickle, HidesCommits, OldState, Replays, ClaimsFullness, Withholds, Resurrects, PlantsJunk,
    Forgets))


def make_lie(name: str, source: random.Random, files: Mapping[str, bytes],
             foreign: Mapping[str, bytes]) -> Lie:
    """The lie of that name, told from now on by a disk that holds `files`; `foreign` are those of
    a disk of another pool."""
    if name == Fickle.name:
        return Fickle(source)
    if name == HidesCommits.name:
        return HidesCommits({name: len(data.rstrip(b"\0")) for name, data in files.items()
                             if name.startswith("commits.")})
    if name == OldState.name:
        return OldState(files)
    if name == Replays.name:
        own = [data for name, data in files.items() if name.endswith(".col")]
        return Replays(source, [*own, *foreign.values()])
    if name == ClaimsFullness.name:
        return ClaimsFullness()
    if name == Withholds.name:
        part = source.choice((0.3, 1.0))
        salt = source.random()
        return Withholds(lambda column: random.Random(f"{salt}{column}").random() < part,
                         source.choice((Fault.MISSING, Fault.IO)))
    if name == Resurrects.name:
        return Resurrects()
    if name == PlantsJunk.name:
        return PlantsJunk(source, [data for name, data in sorted(files.items())
                                   if name.startswith("claim.")])
    return Forgets(source.choice(("segments/", "commits.", "claim.", "")))


def base_of(name: str) -> str:
    """The plain name of a file."""
    return split_name(name)[1]
