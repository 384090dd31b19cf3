"""Finding a pool's targets: by the ids in their labels, never by where they are."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from ecfs.base.errors import (
    ClonedTargets,
    Damage,
    ForeignTargets,
    NotAPool,
    SameTarget,
    TargetError,
    TooFewReachable,
    UnknownFormat,
    WrongPassphrase,
)
from ecfs.base.limits import LABEL_LEN_MAX, TARGET_DEADLINE_S, TARGETS_MAX
from ecfs.formats import (
    Label,
    check_label,
    decode_label,
    hashes_first,
    labels_among,
    unit_len,
)
from ecfs.keys import KeySlot, MasterKey, open_slots
from ecfs.observe import Event, EventKind, Journal
from ecfs.sealing import keyed_hash
from ecfs.stripes import Source
from ecfs.targets import run_all
from ecfs.volume.environment import Environment, Secret
from ecfs.volume.sighting import Absence, Sighting, absence_of, reasons_of

LABELS_TRIED_MAX = 4
POOLS_TRIED_MAX = 3


@dataclass(slots=True)
class Located:
    """The authentic part of what was found. `sightings` by target id; `strangers`: what is said of
    targets of other pools; `replaced`: targets that are no part of the pool any more, by the name
    that those in their places have taken over."""

    pool_id: bytes
    master: MasterKey
    label: Label
    sightings: dict[bytes, Sighting]
    labels: dict[bytes, Label]
    messages: list[str]
    replaced: dict[str, Sighting] = field(default_factory=dict)
    absent: dict[bytes, Absence] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)

    def kept(self) -> list[Sighting]:
        """What is not closed."""
        return [*self.sightings.values(), *self.replaced.values()]

    def take_source(self, name: str) -> Source | None:
        """The target that was replaced by that of this name, once."""
        sighting = self.replaced.pop(name, None)
        if sighting is None or sighting.target is None or sighting.lane is None:
            return None
        return Source(os.path.abspath(sighting.path), sighting.target, sighting.lane)


def label_mac(master: MasterKey) -> "LabelMac":
    """The MAC of labels under this master key."""
    return LabelMac(master.purpose("label"))


class LabelMac:
    """Keyed BLAKE3 over a label's body."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, body: bytes) -> bytes:
        """32 bytes."""
        return keyed_hash(self._key, purpose=b"label", parts=[body])


def look_at(path: str, environment: Environment) -> Sighting:
    """Open what is at `path` and read its labels; never raises for what it finds. Runs in a lane:
    where a share hangs, nothing can be learned of a path at once, not even where it leads."""
    sighting = Sighting(path, place=os.path.realpath(path))
    try:
        sighting.target = environment.open_target(path)
        names = labels_among(sighting.target.list_names())
    except TargetError as error:
        sighting.reason = str(error)
        return sighting
    for _, _, name in names[:LABELS_TRIED_MAX]:
        try:
            data = sighting.target.read(name, 0, LABEL_LEN_MAX + 1)
            sighting.labels.append(decode_label(data))
        except UnknownFormat as error:
            sighting.unknown_format = error
        except (TargetError, Damage) as error:
            sighting.reason = f"{name}: {error}"
            sighting.spoiled = sighting.spoiled or isinstance(error, Damage)
    sighting.spoiled = sighting.spoiled and not sighting.labels
    if not names:
        sighting.reason = "no label: an empty directory, or a disk that is not mounted"
    return sighting


async def look_all(paths: list[str], environment: Environment) -> list[Sighting]:
    """Sightings of several places at once; one that does not answer in time holds up no other."""
    lanes = [environment.open_lane(os.path.basename(path) or "target") for path in paths]
    jobs = [partial(look_at, path, environment) for path in paths]
    sightings = []
    for path, lane, result in zip(paths, lanes, await run_all(lanes, jobs, TARGET_DEADLINE_S),
                                  strict=True):
        sighting = Sighting(path, reason=str(result)) if isinstance(
            result, TargetError) else result
        sighting.lane = lane
        sightings.append(sighting)
    return sightings


async def look_everywhere(paths: Iterable[str], environment: Environment) -> list[Sighting]:
    """Sightings of the given paths; then of the last known paths that their labels name."""
    sightings = await look_all(list(paths), environment)
    known: dict[str, str] = {}
    for sighting in sightings:
        if sighting.place in known:
            for one in sightings:
                one.close()
            raise SameTarget(f"{sighting.path} is the same directory as {known[sighting.place]}; "
                             "give each target once")
        known[sighting.place] = sighting.path
        sighting.was_given = True
    pools = _leading_pools(sightings)
    named = Counter(path for sighting in sightings if sighting.pool_id in pools
                    for path in sorted({entry.path for entry in sighting.labels[0].label.targets}))
    # Those that most labels name: a forged label cannot send us looking all over the machine.
    more = [path for path, _ in named.most_common(TARGETS_MAX)
            if os.path.abspath(path) not in {*known, *known.values()}]
    for found in await look_all(more, environment):
        if found.pool_id in pools and found.place not in known:
            known[found.place] = found.path
            sightings.append(found)
        else:
            found.close()
    return sightings


def pool_of(sightings: Iterable[Sighting]) -> bytes | None:
    """The pool that most of the labels name; of several, the one that is met first."""
    pools = _leading_pools(sightings)
    return pools[0] if pools else None


def _leading_pools(sightings: Iterable[Sighting]) -> list[bytes]:
    """Those that most of the given targets name. What lies at a path that only a label names does
    not count: one that lies may name dozens of folders of its own."""
    ranked = _ranked_pools(sightings)
    return [pool for pool, count in ranked if count == ranked[0][1]]


def _ranked_pools(sightings: Iterable[Sighting]) -> list[tuple[bytes, int]]:
    found = list(sightings)
    given = [sighting for sighting in found if sighting.was_given] or found
    return Counter(sighting.pool_id for sighting in given
                   if sighting.pool_id is not None).most_common()


def unlock(sightings: list[Sighting], secret: Secret, pinned: dict[str, str],
           journal: Journal) -> Located:
    """Open a key slot, then believe only labels whose MAC is right.

    Raises WrongPassphrase, NotAPool, UnknownFormat, ForeignTargets, ClonedTargets.
    """
    pool_id, master = _open_one(sightings, secret, _choose_pools(sightings, pinned))
    ours = [sighting for sighting in sightings if sighting.pool_id == pool_id]
    commitment = master.commitment(pool_id)
    mac = label_mac(master)
    authentic: dict[bytes, list[tuple[Label, Sighting]]] = {}
    messages, strangers = [], []
    for sighting in ours:
        label = _authentic_label(sighting, mac, commitment, journal)
        if label is None:
            messages.append(f"{sighting.path}: its label is not authentic; it is left out")
            sighting.reason, sighting.spoiled = "its label is not authentic", True
        else:
            authentic.setdefault(label.target_id, []).append((label, sighting))
    for sighting in sightings:
        if sighting.pool_id not in (None, pool_id):
            strangers.append(f"{sighting.path}: belongs to another pool; it is left out")
            messages.append(strangers[-1])
            journal.record(Event(EventKind.TARGET_FOREIGN, messages[-1]))
        elif sighting.pool_id is None:
            messages.append(f"{sighting.path}: {sighting.reason}")
    single = _without_clones(authentic, messages, journal)
    best = max((label for label, _ in single.values()),
               key=lambda label: (label.epoch, label.generation))
    located = _located(pool_id, master, best, single, messages)
    located.strangers = strangers
    located.absent = {entry.id: absence_of(entry, sightings, pool_id,
                                           [one.path for _, one in authentic.get(entry.id, [])])
                      for entry in best.targets if entry.id not in single}
    return located


def _slots_of(sightings: Iterable[Sighting]) -> list[KeySlot]:
    """The key slots that labels show, those of most targets first: a few targets with slots of
    their own making cannot use up the runs of the KDF that an unlock allows. What is at a path that
    only a label names comes after: one that lies may name dozens of folders of its own."""
    given: Counter[KeySlot] = Counter()
    others: Counter[KeySlot] = Counter()
    for sighting in sightings:
        # Once for each target, and in an order that is the same in every run.
        (given if sighting.was_given else others).update(list(dict.fromkeys(
            slot for signed in sighting.labels for slot in signed.label.slots)))
    return sorted({**given, **others}, key=lambda slot: (-given[slot], -others[slot]))


def _open_one(sightings: list[Sighting], secret: Secret,
              pools: list[bytes]) -> tuple[bytes, MasterKey]:
    """The first of these pools that the secret opens."""
    for number, pool_id in enumerate(pools, 1):
        slots = _slots_of(sighting for sighting in sightings if sighting.pool_id == pool_id)
        try:
            return pool_id, open_slots(slots, secret.value, secret.slot_kind, pool_id)
        except WrongPassphrase:
            if number == len(pools):
                raise
    raise AssertionError("unreachable")


def _choose_pools(sightings: list[Sighting], pinned: dict[str, str]) -> list[bytes]:
    """Pools that it may be, the likeliest first: those that were here before, and only those, or
    where nothing is known those that the most targets name."""
    pools = [pool for pool, _ in _ranked_pools(sightings)]
    if not pools:
        for sighting in sightings:
            if sighting.unknown_format is not None:
                raise sighting.unknown_format
        reasons = reasons_of(sightings)
        if not sightings or all(sighting.target is None for sighting in sightings):
            raise NotAPool(f"nothing of a pool can be reached ({reasons}). Check that its disks "
                           "are mounted")
        raise NotAPool(f"no label of an ecfs pool here ({reasons})")
    # Where the user named places of which something is known, that counts, and not what is known of
    # places that a label names: a stranger's label names its own.
    expected = ({pinned[one.place] for one in sightings if one.was_given and one.place in pinned}
                or {pinned[one.place] for one in sightings if one.place in pinned})
    # What was here before counts more than how many name what: with m >= k the liars may be more.
    known = [pool for pool in pools if pool.hex() in expected]
    if expected and not known:
        raise ForeignTargets(
            f"these paths held pool {min(expected)} before and now hold pool {pools[0].hex()}. If "
            "you replaced it yourself, remove the entries from targets.json in the state directory")
    return (known or pools)[:POOLS_TRIED_MAX]


def _authentic_label(sighting: Sighting, mac: LabelMac, commitment: bytes,
                     journal: Journal) -> Label | None:
    for number, signed in enumerate(sighting.labels):
        try:
            label = check_label(signed, mac)
            if label.commitment != commitment:
                raise Damage("label names another key")
        except Damage as damage:
            journal.record(Event(EventKind.LABEL_BAD, f"{sighting.path}: {damage}",
                                 target=signed.label.target_id))
            continue
        if signed.was_rotten or number or sighting.reason:
            journal.record(Event(
                EventKind.LABEL_BAD, f"{sighting.path}: the label was rotten and could be "
                "corrected" if signed.was_rotten else f"{sighting.path}: {sighting.reason}",
                target=label.target_id))
        return label
    return None


def _without_clones(authentic: dict[bytes, list[tuple[Label, Sighting]]], messages: list[str],
                    journal: Journal) -> dict[bytes, tuple[Label, Sighting]]:
    single = {}
    clones = []
    for target_id, found in authentic.items():
        if len(found) == 1:
            single[target_id] = found[0]
            continue
        paths = " and ".join(sighting.path for _, sighting in found)
        messages.append(f"{paths} are copies of one target; all of them are left out")
        clones.append(paths)
        journal.record(Event(EventKind.TARGET_CLONE, messages[-1], target=target_id))
    if not single:
        if clones:
            raise ClonedTargets("only copies of one target are here: " + "; ".join(clones)
                                + ". Give each target once, without its copy")
        raise ForeignTargets("no label here is authentic under this key: " + "; ".join(messages))
    return single


def _located(pool_id: bytes, master: MasterKey, best: Label,
             single: dict[bytes, tuple[Label, Sighting]], messages: list[str]) -> Located:
    names = {entry.id for entry in best.targets}
    kept = {target_id: found for target_id, found in single.items() if target_id in names}
    replaced: dict[str, Sighting] = {}
    others = [(label, sighting) for target_id, (label, sighting) in single.items()
              if target_id not in names]
    for label, sighting in sorted(others, key=lambda one: (one[0].epoch, one[0].generation)):
        messages.append(f"{sighting.path}: was replaced and is no longer part of the pool")
        name = next((entry.name for entry in label.targets if entry.id == label.target_id), None)
        if any(entry.name == name for entry in best.targets) and name is not None:
            # The one that left last has most of what the one in its place is to have.
            replaced[name] = sighting
    sealing = master.for_content(hashes_first=hashes_first(best), unit_len=unit_len(best))
    return Located(pool_id, sealing, best,
                   {target_id: sighting for target_id, (_, sighting) in kept.items()},
                   {target_id: label for target_id, (label, _) in kept.items()}, messages, replaced)


def shows(sighting: Sighting, master: MasterKey, pool_id: bytes, target_id: bytes) -> bool:
    """Whether an authentic label of this target of this pool was seen."""
    mac = label_mac(master)
    for signed in sighting.labels:
        try:
            label = check_label(signed, mac)
        except Damage:
            continue
        return label.pool_id == pool_id and label.target_id == target_id
    return False


def require(count: int, needed: int, located: Located) -> None:
    """TooFewReachable, naming who is missing and where it was last, unless enough are there."""
    if count >= needed:
        return
    lacking = "; ".join(
        f"{entry.name} last seen at {entry.path} ({located.absent[entry.id].reason})"
        for entry in located.label.targets if entry.id in located.absent)
    raise TooFewReachable(
        f"{count} of {len(located.label.targets)} targets can be reached, {needed} are needed. "
        f"Missing: {lacking or 'none'}. If they are lost for good, `ecfs salvage` gets out what "
        "the others hold")
