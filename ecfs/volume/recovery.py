"""From records to the newest state: which chain is adopted, and what it says.

Pure over a `LogView`, but for loading the page map, which reads metadata stripes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ecfs.base.errors import Damage, TooFewReachable
from ecfs.formats import KIND_METADATA, LoggedWrite, MetadataStripe, Root, SegmentEntry
from ecfs.metadata import CHUNK_LEN, PageMap, PageStore
from ecfs.stripes import StripeRef
from ecfs.volume.records import Found, LogView

ByParent = dict[bytes, list[Found]]


@dataclass(frozen=True, slots=True)
class Chain:
    """The adopted history: a checkpoint and every record after its base, oldest first.

    `tip` is the newest record; `dropped` are authentic records past a gap, newer than the tip.
    """

    checkpoint: Found
    records: tuple[Found, ...]
    dropped: tuple[Found, ...]

    @property
    def tip(self) -> Found:
        """The newest record of the chain."""
        return self.records[-1] if self.records else self.checkpoint

    @property
    def root(self) -> Root:
        """The checkpoint's root."""
        root = self.checkpoint.commit.root
        assert root is not None
        return root


_Children = dict[bytes, list[Found]]
"""Records by their parent's hash, those first that are to be followed first."""


def chains(view: LogView) -> list[Chain]:
    """Candidates, newest checkpoint first. Each ends as far as its records reach.

    From a checkpoint's base each step takes the record that names the one before as its parent; of
    two, the one from which the record of the highest epoch descends. Whoever wrote in an epoch had
    read all that was acknowledged before it, and after it nobody of an older epoch acknowledges: so
    the other one is a straggler. The epochs of the two themselves do not tell: the younger may be
    the first record of a writer that crashed, on a member that the next writer did not see.
    """
    by_parent: ByParent = {}
    reach: dict[bytes, tuple[int, int]] = {}
    for found in sorted(view.records.values(), key=lambda found: found.commit.seq, reverse=True):
        commit = found.commit
        by_parent.setdefault(commit.parent, []).append(found)
        reach[found.hash] = max(reach.get(found.hash, (0, 0)), (commit.epoch, commit.seq))
        reach[commit.parent] = max(reach.get(commit.parent, (0, 0)), reach[found.hash])
    for steps in by_parent.values():
        steps.sort(key=lambda found: reach[found.hash], reverse=True)
    checkpoints = sorted((found for found in view.records.values()
                          if found.commit.root is not None),
                         key=lambda found: (found.commit.epoch, found.commit.seq), reverse=True)
    return [chain for checkpoint in checkpoints
            if (chain := _chain_from(checkpoint, by_parent, view)) is not None]


def _descendants(found: Found, by_parent: ByParent) -> Iterator[Found]:
    """A record and all that descend from it. A hash chain has no circles, so this ends."""
    ahead = [found]
    while ahead:
        found = ahead.pop()
        yield found
        ahead += _children(found.hash, found.commit.seq, by_parent)


def _children(parent: bytes, seq: int, by_parent: ByParent) -> list[Found]:
    return [found for found in by_parent.get(parent, ()) if found.commit.seq == seq + 1]


def _chain_from(checkpoint: Found, by_parent: ByParent, view: LogView) -> Chain | None:
    root = checkpoint.commit.root
    assert root is not None
    records: list[Found] = []
    parent, seq = root.base_hash, root.base_seq
    while True:
        steps = _children(parent, seq, by_parent)
        if not steps:
            break
        step = steps[0]
        records.append(step)
        parent, seq = step.hash, step.commit.seq
    if all(found.hash != checkpoint.hash for found in records):
        # Its own base is not linked to it: records between are missing.
        return None
    while records and records[-1].commit.more:
        # The step that these records begin was never finished, so never acknowledged.
        records.pop()
    tip = records[-1].commit
    # What descends from the tip is the unfinished step that was cut off.
    tail = {found.hash for found in _descendants(records[-1], by_parent)}
    dropped = tuple(found for found in view.records.values()
                    if found.commit.seq > tip.seq and found.commit.epoch >= tip.epoch
                    and found.hash not in tail)
    return Chain(checkpoint, tuple(records), dropped)


def adopt(view: LogView, *, drop_tail: bool) -> Chain | None:
    """ADOPT: the chain to go on from, None for a pool without any record.

    TooFewReachable when records past a gap show that something acknowledged is not here.
    """
    candidates = chains(view)
    if not candidates:
        if any(found.commit.root is not None for found in view.records.values()):
            raise TooFewReachable(
                "records between the newest checkpoint and its base cannot be read; bring back "
                "more targets, or use `ecfs salvage`")
        if view.records:
            first = min(found.commit.seq for found in view.records.values())
            if first > 1:
                raise TooFewReachable("no checkpoint can be read; bring back more targets, or use "
                                      "`ecfs salvage`")
        return None
    chain = max(candidates, key=lambda item: (item.tip.commit.epoch, item.tip.commit.seq))
    if chain.dropped and not drop_tail:
        newest = max(found.commit.seq for found in chain.dropped)
        raise TooFewReachable(
            f"commits up to {newest} exist, but {chain.tip.commit.seq + 1} is on no target that "
            "can be reached. Bring back more targets; to give up what came after, run "
            "`ecfs fsck -y`")
    return chain


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A place in a member's record file that does not hold what it should. `acknowledged`: the
    member said that it held the record; else it may be what a crash tore, and accuses nobody."""

    member: bytes
    epoch: int
    offset: int
    acknowledged: bool


def bad_records(view: LogView) -> list[BadRecord]:
    """What is bad in the files of members, once for each record.

    Each record names the members that missed the one before; so the last one of an epoch is never
    known to have been acknowledged by a member that does not have it.
    """
    by_epoch: dict[int, list[Found]] = {}
    for (epoch, _), found in sorted(view.records.items()):
        by_epoch.setdefault(epoch, []).append(found)
    result: dict[tuple[bytes, int, int], BadRecord] = {}
    for member, epoch, at in view.bad:
        known = by_epoch.get(epoch, [])
        index = bisect_right(known, at, key=lambda found: found.offset) - 1
        inside = index >= 0 and at < known[index].offset + known[index].length
        offset = known[index].offset if inside else at
        after = view.records.get((epoch, known[index].commit.seq + 1)) if inside else None
        result[member, epoch, offset] = BadRecord(
            member, epoch, offset, after is not None and member not in after.commit.missed)
    return list(result.values())


@dataclass(slots=True)
class MetadataTable:
    """Metadata stripes and segments by number and id: what the page map's places refer to."""

    stripes: dict[int, MetadataStripe]
    segments: dict[int, SegmentEntry]

    def ref(self, number: int) -> StripeRef:
        """Reference of a metadata stripe; Damage when the root does not name it."""
        stripe = self.stripes.get(number)
        segment = self.segments.get(stripe.segment) if stripe is not None else None
        if stripe is None or segment is None:
            raise Damage(f"metadata stripe {number} is not in the checkpoint")
        return StripeRef(segment, KIND_METADATA, stripe.offset, stripe.body_len, stripe.salt,
                         stripe.digest)


def load_map(root: Root, read: Callable[[int, int, int], bytes]) -> PageMap:
    """The page map of a root; `read(stripe, start, length)` reads an extent of a stripe."""
    chunks = []
    for chunk in root.chunks:
        if chunk.length > CHUNK_LEN:
            raise Damage("a chunk of the page map is too long")
        chunks.append(read(chunk.stripe, chunk.start, chunk.length))
    return PageMap.from_chunks(chunks, root.page_count)


def replay(chain: Chain, pages: PageStore) -> tuple[LoggedWrite, ...]:
    """Bring the pages from the checkpoint's base to the tip; what was written since, and is in none
    of them. Damage when a delta does not apply."""
    writes: list[LoggedWrite] = []
    for found in chain.records:
        commit = found.commit
        pages.apply(commit.pages, commit.page_count)
        if commit.entered:
            writes.clear()
        writes += commit.writes
    return tuple(writes)
