"""Finding a pool's targets: by the ids in their labels, never by where they are."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from ecfs.base.errors import (
    ClonedTargets,
    Damage,
    ForeignTargets,
    NotAPool,
    TooFewReachable,
    WrongPassphrase,
)
from ecfs.base.limits import PARITY_SHARDS_MAX
from ecfs.formats import (
    Label,
    check_label,
    hashes_first,
    unit_len,
)
from ecfs.keys import KeySlot, MasterKey, open_slots
from ecfs.observe import Event, EventKind, Journal
from ecfs.sealing import keyed_hash
from ecfs.stripes import Source
from ecfs.volume.environment import Environment, Secret
from ecfs.volume.looking import Search, ranked_pools
from ecfs.volume.sighting import Absence, Sighting, absence_of, reasons_of

POOLS_TRIED_MAX = PARITY_SHARDS_MAX + 1


@dataclass(slots=True)
class Located:
    """The authentic part of what was found. `sightings` by target id; `strangers`: what is said of
    targets of other pools; `replaced`: targets that are no part of the pool any more, by the name
    that those in their places have taken over. `copies_help`: of copies of one target one counts,
    and another, in `spare` by name, is read where that is not enough; else all are left out."""

    pool_id: bytes
    master: MasterKey
    label: Label
    sightings: dict[bytes, Sighting]
    labels: dict[bytes, Label]
    messages: list[str]
    replaced: dict[str, Sighting] = field(default_factory=dict)
    absent: dict[bytes, Absence] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    copies_help: bool = False
    spare: dict[str, Sighting] = field(default_factory=dict)

    def kept(self) -> list[Sighting]:
        """What is not closed."""
        return [*self.sightings.values(), *self.replaced.values(), *self.spare.values()]

    def take_source(self, name: str) -> Source | None:
        """The copy of the target of this name, or else the one that it replaced, once."""
        copy, replaced = self.spare.pop(name, None), self.replaced.pop(name, None)
        sighting = copy or replaced
        if copy is not None and replaced is not None:
            replaced.close()
        if sighting is None or sighting.target is None or sighting.lane is None:
            return None
        return Source(os.path.abspath(sighting.path), sighting.target, sighting.lane,
                      is_copy=copy is not None)


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


def unlock(sightings: list[Sighting], secret: Secret, pinned: dict[str, str],
           journal: Journal, *, copies_help: bool = False) -> Located:
    """Open a key slot, then believe only labels whose MAC is right. `copies_help` as in `Located`.

    Raises WrongPassphrase, NotAPool, UnknownFormat, ForeignTargets, ClonedTargets.
    """
    pool_id, master = _open_one(sightings, secret, _choose_pools(sightings, pinned))
    return _gathered(pool_id, master, sightings, journal, copies_help)


async def look_for_rest(located: Located, search: Search, environment: Environment,
                        journal: Journal) -> Located:
    """Look where authentic labels say that the others are, too: before a key was there, what one
    of several labels named alone was left. What is found comes to `search`."""
    sought = {entry.path: entry.id for entry in located.label.targets
              if entry.id not in located.sightings}
    found_more = await search.look_on(sought, environment, lambda found: shows(
        found, located.master, located.pool_id, sought[found.path]))
    return _gathered(located.pool_id, located.master, search.sightings, journal,
                     located.copies_help) if found_more else located


def _gathered(pool_id: bytes, master: MasterKey, sightings: list[Sighting],
              journal: Journal, copies_help: bool) -> Located:
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
            if sighting.is_double:
                journal.record(Event(EventKind.TARGET_FOREIGN, messages[-1]))
    spare = _copies_apart(authentic, messages) if copies_help else {}
    single = _without_clones(authentic, messages, journal)
    best = max((label for label, _ in single.values()),
               key=lambda label: (label.epoch, label.generation))
    located = _located(pool_id, master, best, single, messages)
    located.strangers = strangers
    located.copies_help = copies_help
    located.spare = {entry.name: spare[entry.id] for entry in best.targets if entry.id in spare}
    located.absent = {entry.id: absence_of(entry, sightings, pool_id,
                                           [one.path for _, one in authentic.get(entry.id, [])])
                      for entry in best.targets if entry.id not in single}
    return located


def _slots_of(sightings: Iterable[Sighting]) -> list[KeySlot]:
    """The key slots that labels show. What is at a path that only a label names comes after: one
    that lies may name dozens of folders of its own."""
    found = list(sightings)
    return list(dict.fromkeys([
        *_in_turn([one for one in found if one.was_given]),
        *_in_turn([one for one in found if not one.was_given])]))


def _in_turn(sightings: list[Sighting]) -> Iterator[KeySlot]:
    """Slots that most targets show, and in turn with them the first of each target, the second of
    each and so on. So no targets with slots of their own making use up the runs of the KDF that an
    unlock allows: neither a few nor, where m is not less than k, as many as the honest ones."""
    counts: Counter[KeySlot] = Counter()
    ranks: dict[KeySlot, int] = {}
    for sighting in sightings:
        # Once for each target, and in an order that is the same in every run.
        own = dict.fromkeys(slot for signed in sighting.labels for slot in signed.label.slots)
        counts.update(list(own))
        for rank, slot in enumerate(own):
            ranks[slot] = min(rank, ranks.get(slot, rank))
    by_count = sorted(counts, key=lambda slot: -counts[slot])
    return chain.from_iterable(zip(
        by_count, sorted(by_count, key=lambda slot: ranks[slot]), strict=True))


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
    pools = [pool for pool, _ in ranked_pools(sightings)]
    if not pools:
        for sighting in sightings:
            if sighting.unknown_format is not None:
                raise sighting.unknown_format
        reasons = reasons_of(sightings)
        if not sightings or all(sighting.target is None for sighting in sightings):
            raise NotAPool(f"nothing of a pool can be reached ({reasons}). Check that its disks "
                           "are mounted")
        raise NotAPool(f"no label of an ecfs pool here ({reasons})")
    expected = _expected(sightings, pinned)
    # What was here before counts more than how many name what: with m >= k the liars may be more.
    known = [pool for pool in pools if pool.hex() in expected]
    if expected and not known:
        raise ForeignTargets(
            f"these paths held pool {min(expected)} before and now hold pool {pools[0].hex()}. If "
            "you replaced it yourself, remove the entries from targets.json in the state directory")
    return (known or pools)[:POOLS_TRIED_MAX]


def _expected(sightings: list[Sighting], pinned: dict[str, str]) -> set[str]:
    """Pools that were here before. What was given counts, as it was given: where it leads now, and
    which other paths there are, targets may have changed to where another pool was before."""
    given = [sighting for sighting in sightings if sighting.was_given] or sightings
    for paths in ([one.text for one in given], [one.place for one in given],
                  [one.place for one in sightings]):
        if found := {pinned[path] for path in paths if path in pinned}:
            return found
    return set()


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


def _copies_apart(authentic: dict[bytes, list[tuple[Label, Sighting]]],
                  messages: list[str]) -> dict[bytes, Sighting]:
    """Keep one of the copies of each target: of those that were given, or else of all, the one with
    the newest label. The next best by target, which is to be read where that one is not enough."""
    spare = {}
    for target_id, found in authentic.items():
        if len(found) > 1:
            found.sort(key=lambda one: (one[1].was_given, one[0].epoch, one[0].generation),
                       reverse=True)
            messages.append(" and ".join(sighting.path for _, sighting in found)
                            + " are copies of one target; the first is read, and the second where "
                            "that is not enough")
            spare[target_id] = found[1][1]
            del found[1:]
    return spare


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
