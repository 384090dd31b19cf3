"""What damaged disks must still give, worked out from their bytes alone."""

from collections import Counter
from dataclasses import dataclass, field

from ecfs.base.limits import COLUMN_HEADER_LEN
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import CLAIM_PATTERN
from ecfs.testing.faults.disk import Disk, Disks
from ecfs.testing.faults.site import Site, is_metadata, labels_of

CODEWORD_LEN = 255
CORRECTED_MAX = 16


@dataclass(slots=True)
class Expectation:
    """`missing`: targets that no label of theirs lets in. `hurt`: targets of which bytes differ.

    `named`: targets of which an event must tell. `lost`: files that may be unreadable. `may_fail`:
    why the whole pool may be refused or unreadable; `read_only`: why it may take no writes.
    `shards`: bad or absent shards of each stripe, by its number.
    """

    missing: set[int] = field(default_factory=set)
    hurt: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)
    lost: set[bytes] = field(default_factory=set)
    may_fail: str = ""
    read_only: str = ""
    shards: dict[int, set[int]] = field(default_factory=dict)
    beyond: set[int] = field(default_factory=set)


def expect(site: Site, disks: Disks, failing: frozenset[int] = frozenset()) -> Expectation:
    """What must hold of a pool on these disks. `failing` targets may fail any call besides."""
    result = Expectation()
    changed: dict[int, set[str]] = {}
    for number, path in enumerate(site.paths):
        names = changed_files(site.disks.disks[path], disks.disks[path])
        if names:
            changed[number] = names
            result.hurt.add(number)
    _labels(site, disks, changed, result)
    _stripes(site, disks, changed, result)
    _records(site, disks, changed, result)
    _claims(site, disks, changed, result)
    _quorums(site, result, failing)
    return result


def changed_files(before: Disk, now: Disk) -> set[str]:
    """Names of files that are other ones than before, or cannot be read in part."""
    names = {name for name in before.files.keys() | now.files.keys()
             if now.files.get(name) is not before.files.get(name)}
    return names | {name for name, ranges in now.bad.items() if ranges} | now.planted


def intact(site: Site, disks: Disks, target: int, name: str, low: int, high: int) -> bool:
    """Whether a range of a file reads back as it was."""
    path = site.paths[target]
    disk = disks.disks[path]
    data, before = disk.files.get(name), site.disks.disks[path].files[name]
    if data is None or any(begin < high and low < end for begin, end in disk.bad.get(name, ())):
        return False
    return data is before or data[low:high] == before[low:high]


# -- labels -------------------------------------------------------------------------------------


def _labels(site: Site, disks: Disks, changed: dict[int, set[str]], result: Expectation) -> None:
    shown: dict[int, list[int]] = {}
    for target in range(site.shape.targets_count):
        names = labels_of(site.disks.disks[site.paths[target]].files)
        touched = changed.get(target, set())
        whose = [_whose_label(site, disks, target, name) if name in touched else target
                 for name in names]
        disk = disks.disks[site.paths[target]]
        # An older label that is gone may never have been: a target that joined lately has one.
        if names[0] in touched or any(name in disk.files or name in disk.planted
                                      for name in touched & set(names)):
            result.named.add(target)
        there = [one for one in whose if one is not None]
        if not there or there[0] < 0:
            result.missing.add(target)
        else:
            shown.setdefault(there[0], []).append(target)
    for claimed, targets in shown.items():
        if len(targets) > 1:
            # Copies of one target: an id counts once, and nobody knows which is the true one.
            result.missing.update(targets)
            result.hurt.add(claimed)
        elif targets != [claimed]:
            result.missing.add(claimed)
            result.missing.update(targets)
            result.hurt.add(claimed)
    result.named -= result.missing


def _whose_label(site: Site, disks: Disks, target: int, name: str) -> int | None:
    """The target that a label names; None when nothing can be read, -1 for another pool's."""
    path = site.paths[target]
    disk = disks.disks[path]
    data = disk.files.get(name)
    if data is None or disk.bad.get(name):
        return None
    for number, other in enumerate(site.paths):
        for label in labels_of(site.disks.disks[other].files):
            if _corrects_to(bytes(data), bytes(site.disks.disks[other].files[label])):
                return number
        if any(bytes(data) == older.disks[other].files.get(label) for older in site.older
               for label in labels_of(older.disks[other].files)):
            return number
    assert site.foreign is not None
    foreign = site.foreign.disks[path].files
    if any(bytes(data) == foreign[label] for label in labels_of(foreign)):
        return -1
    return None


def _corrects_to(data: bytes, label: bytes) -> bool:
    """Whether the envelope's code gives `label` back."""
    if data == label:
        return True
    if len(data) != len(label):
        return False
    count = len(label) // CODEWORD_LEN
    wrong = Counter(at % count for at in range(count * CODEWORD_LEN) if data[at] != label[at])
    return max(wrong.values(), default=0) <= CORRECTED_MAX


# -- stripes ------------------------------------------------------------------------------------


def _stripes(site: Site, disks: Disks, changed: dict[int, set[str]], result: Expectation) -> None:
    for number, stripe in enumerate(site.stripes):
        bad = {target for target in stripe.targets
               if stripe.column in changed.get(target, ()) and not intact(
                   site, disks, target, stripe.column, stripe.offset,
                   stripe.offset + stripe.record_len)}
        if bad or result.missing:
            _judge_stripe(site, disks, number, bad, result)
    for target, names in changed.items():
        for name in names:
            if target not in result.missing and name in site.disks.disks[
                    site.paths[target]].files and name.endswith(".col") and not intact(
                        site, disks, target, name, 0, COLUMN_HEADER_LEN):
                result.named.add(target)


def _judge_stripe(site: Site, disks: Disks, number: int, bad: set[int],
                  result: Expectation) -> None:
    stripe = site.stripes[number]
    gone = bad | (result.missing & set(stripe.targets))
    result.shards[number] = gone
    beyond = len(gone) > stripe.parity
    if beyond:
        result.beyond.add(number)
    if not stripe.live:
        return
    if beyond and is_metadata(stripe):
        result.may_fail = f"metadata stripe {number} lost {len(gone)} shards"
    if beyond:
        result.lost |= stripe.paths
    result.named |= bad - result.missing


# -- records and quorums ------------------------------------------------------------------------


def _records(site: Site, disks: Disks, changed: dict[int, set[str]], result: Expectation) -> None:
    present = [target for target in site.members if target not in result.missing]
    for record in site.records:
        bad = {target for target in present
               if record.name in changed.get(target, ()) and not intact(
                   site, disks, target, record.name, record.offset,
                   record.offset + record.length)}
        result.named |= bad
        if len(bad) == len(present):
            result.may_fail = f"nobody has {record.name}+{record.offset:x}"


def _claims(site: Site, disks: Disks, changed: dict[int, set[str]], result: Expectation) -> None:
    """Claims that can be read and are none any more are told of; one that is gone need not be."""
    for target in changed.keys() - result.missing:
        path = site.paths[target]
        disk, before = disks.disks[path], site.disks.disks[path]
        for name in filter(CLAIM_PATTERN.fullmatch, changed[target]):
            data, old = disk.files.get(name), before.files.get(name)
            if data is not None and old is not None and not disk.bad.get(name) and (
                    data[:BLOCK_LEN] != old[:BLOCK_LEN]):
                result.named.add(target)


def _quorums(site: Site, result: Expectation, failing: frozenset[int]) -> None:
    quorum = site.shape.quorum
    able = [target for target in site.members
            if target not in result.missing and target not in failing]
    if not able:
        result.may_fail = "no member is there"
    if len(able) < max(quorum.commit, quorum.recover):
        result.read_only = f"{len(able)} members"
