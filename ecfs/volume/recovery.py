"""From records to the newest state: which chain is adopted, and what it says.

Pure over a `LogView`, but for loading the page map, which reads metadata stripes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ecfs.base.errors import Damage, TooFewReachable
from ecfs.formats import KIND_METADATA, MetadataStripe, Root, SegmentEntry
from ecfs.metadata import CHUNK_LEN, PageMap, PageStore
from ecfs.stripes import StripeRef
from ecfs.volume.records import Found, LogView


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
    two, the one on the way to the record of the highest epoch: its writer had read all that older
    epochs acknowledged, and no older one acknowledges after it. What it did not follow, a straggler
    or the first record of an epoch that ended there, was acknowledged by nobody. Their own epochs
    do not tell: who saw only the older of the two went on from that.
    """
    by_parent: _Children = {}
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


def _chain_from(checkpoint: Found, by_parent: _Children,
                view: LogView) -> Chain | None:
    root = checkpoint.commit.root
    assert root is not None
    records: list[Found] = []
    parent, seq = root.base_hash, root.base_seq
    while True:
        steps = [found for found in by_parent.get(parent, ()) if found.commit.seq == seq + 1]
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
    dropped = tuple(found for found in view.records.values()
                    if found.commit.seq > tip.seq and found.commit.epoch >= tip.epoch
                    and not _is_tail_of(found, records, by_parent))
    return Chain(checkpoint, tuple(records), dropped)


def _is_tail_of(found: Found, records: list[Found], by_parent: _Children) -> bool:
    """Whether a record belongs to the unfinished step that was cut off the chain's end."""
    parent = records[-1].hash
    while steps := by_parent.get(parent):
        if steps[0].hash == found.hash:
            return True
        parent = steps[0].hash
    return False


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
    chain = max(candidates, key=lambda item: (item.tip.commit.seq, item.tip.commit.epoch))
    if chain.dropped and not drop_tail:
        newest = max(found.commit.seq for found in chain.dropped)
        raise TooFewReachable(
            f"commits up to {newest} exist, but {chain.tip.commit.seq + 1} is on no target that "
            "can be reached. Bring back more targets; to give up what came after, run "
            "`ecfs fsck -y`")
    return chain


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


def replay(chain: Chain, pages: PageStore) -> None:
    """Bring the pages from the checkpoint's base to the tip. Damage when a delta does not apply."""
    for found in chain.records:
        commit = found.commit
        pages.apply(commit.pages, commit.page_count)
