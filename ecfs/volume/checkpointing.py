"""Checkpoints: pages that changed go into coded stripes, then the map, then a record, then labels.

Commits go on while a checkpoint is written; it describes the state as of its base commit, and a
mount replays what came after.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import trio

from ecfs.base.errors import AppendRefused, Damage
from ecfs.base.limits import (
    CHECKPOINT_DELTA_LEN_MAX,
    CHECKPOINT_OVERLAY_PAGES_MAX,
    STRIPE_PAYLOAD_MAX,
)
from ecfs.base.units import BLOCK_LEN, MIB
from ecfs.formats import (
    KIND_METADATA,
    ChunkPlace,
    Label,
    MetadataStripe,
    Root,
    SegmentEntry,
    encode_directory,
)
from ecfs.metadata import CHUNK_PLACES, PageMap, PageStore
from ecfs.stripes import StripeStore, Written
from ecfs.volume.committing import Committer, Tip
from ecfs.volume.recovery import MetadataTable

PAGES_PER_STRIPE = STRIPE_PAYLOAD_MAX // BLOCK_LEN
CHUNKS_PER_STRIPE = 32
APPEND_TRIES = 4
MOVED_PAGES_MAX = 4096
SPARSE_SLACK_LEN = 4 * MIB


@dataclass(slots=True)
class _Draft:
    """A checkpoint that is being written."""

    page_map: PageMap
    places: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    stripes: dict[int, MetadataStripe] = field(default_factory=dict)
    segments: dict[int, SegmentEntry] = field(default_factory=dict)
    chunks: dict[int, ChunkPlace] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A checkpoint that is acknowledged: its record, its base, and the metadata segments that
    neither it nor the one before needs."""

    tip: Tip
    base: Tip
    released: list[SegmentEntry]


class Checkpointer:
    """Writes checkpoints. `lock`: one at a time; it is taken before the committer's.

    `note_behind` puts into the open transaction who is behind, as far as that is not noted yet.
    """

    def __init__(self, *, pages: PageStore, store: StripeStore, committer: Committer,
                 table: MetadataTable, chunks: dict[int, ChunkPlace], next_stripe: int,
                 note_behind: Callable[[], object]) -> None:
        self._pages = pages
        self._store = store
        self._committer = committer
        self.table = table
        self._chunks = chunks
        self._next_stripe = next_stripe
        self._note_behind = note_behind
        self.lock = trio.Lock()
        self.root_tip: Tip | None = None
        self._previous = dict(table.segments)
        self._older: dict[int, SegmentEntry] = {}

    def known_segments(self) -> set[tuple[int, int]]:
        """(epoch, id) of metadata segments that this checkpoint or the one before needs."""
        return {(entry.epoch, entry.id)
                for entry in [*self._older.values(), *self._previous.values(),
                              *self.table.segments.values()]}

    def due(self) -> bool:
        """Whether so much changed since the last checkpoint that one is due."""
        return (len(self._pages.overlay) > CHECKPOINT_OVERLAY_PAGES_MAX
                or self.log_len() > CHECKPOINT_DELTA_LEN_MAX)

    def log_len(self) -> int:
        """Bytes of records, padding included, since the newest checkpoint of this epoch."""
        tip, root = self._committer.tip, self.root_tip
        return tip.offset + tip.length - (0 if root is None else root.offset + root.length)

    def is_behind(self) -> bool:
        """Whether records follow the newest checkpoint."""
        return self.root_tip is None or self.root_tip.seq != self._committer.tip.seq

    async def write(self, label: Label, *, clean: bool,
                    before: Callable[[], Awaitable[None]]) -> Checkpointed:
        """Write a checkpoint up to its record. `before` runs first, under the lock."""
        async with self.lock:
            await before()
            async with self._committer.lock:
                await trio.lowlevel.checkpoint_if_cancelled()  # see `Committer.commit`
                self._committer.note_history()
                await self._committer.commit_locked()
                base = self._committer.tip
                self._committer.carry_again()
                page_count = self._pages.page_count
                changed = dict(self._pages.overlay)
                draft = _Draft(self._copied_map(page_count))
            self._add_sparse(changed, page_count)
            await self._write_pages(draft, changed)
            await self._write_chunks(draft)
            root = self._root(draft, base, page_count, label)
            async with self._committer.lock:
                # Before the record: who adopts this checkpoint, be it acknowledged or not, knows
                # who lacks shards of it. That they lack its record as well tells nobody for long:
                # a mount that is killed may have given them that, and noted nothing.
                self._note_behind()
                tip = await self._committer.send_root(root, clean=clean)
                self._adopt(draft, root)
            needed = {entry.id for entry in root.segments}
            released = [entry for segment_id, entry in self._older.items()
                        if segment_id not in needed and segment_id not in self._previous]
            self._older = self._previous
            self._previous = {entry.id: entry for entry in root.segments}
            self.root_tip = tip
            return Checkpointed(tip, base, released)

    def _copied_map(self, page_count: int) -> PageMap:
        source = self._pages.map
        copy = PageMap.from_chunks(
            [source.chunk(number) for number in range(source.chunks_count())],
            min(len(source), page_count))
        copy.changed = set(source.changed)
        if len(source) > page_count:
            copy.changed.add(page_count // CHUNK_PLACES)
        return copy

    def _add_sparse(self, changed: dict[int, bytes], page_count: int) -> None:
        """Pages of metadata segments that are mostly dead move, so that the segments can go."""
        live: dict[int, int] = {}
        for number, count in self._pages.map.live_pages().items():
            stripe = self.table.stripes.get(number)
            if stripe is not None:
                live[stripe.segment] = live.get(stripe.segment, 0) + count * BLOCK_LEN
        open_ids = self._store.open_segment_ids()
        sparse = {segment_id for segment_id, entry in self.table.segments.items()
                  if segment_id not in open_ids
                  and live.get(segment_id, 0) * 2 + SPARSE_SLACK_LEN // 4 < entry.length
                  * entry.data}
        numbers = {number for number, stripe in self.table.stripes.items()
                   if stripe.segment in sparse}
        moved = 0
        for page in self._pages.map.pages_in(numbers):
            if moved >= MOVED_PAGES_MAX:
                break
            if page not in changed and page <= page_count:
                try:
                    changed[page] = self._pages.committed(page)
                except Damage:
                    # It stays where it is; whoever needs it is told.
                    continue
                moved += 1

    async def _write_pages(self, draft: _Draft, changed: dict[int, bytes]) -> None:
        for group in _groups(sorted(changed), PAGES_PER_STRIPE):
            stripe, number = await self._append(draft, [changed[page] for page in group])
            for page, start in zip(group, stripe.starts, strict=True):
                place = number << 32 | start
                draft.page_map.set_place(page, place)
                draft.places[page] = (changed[page], place)

    async def _write_chunks(self, draft: _Draft) -> None:
        """Chunks that changed, and those in stripes that should die with their segment."""
        count = draft.page_map.chunks_count()
        keep = {number: place for number, place in self._chunks.items()
                if number < count and number not in draft.page_map.changed}
        live_segments = {self.table.stripes[place.stripe].segment for place in keep.values()}
        if len(live_segments) > 2:
            keep = {}
        wanted = [number for number in range(count) if number not in keep]
        draft.chunks = dict(keep)
        for group in _groups(wanted, CHUNKS_PER_STRIPE):
            data = [draft.page_map.chunk(number) for number in group]
            stripe, stripe_number = await self._append(draft, data)
            for number, start, chunk in zip(group, stripe.starts, data, strict=True):
                draft.chunks[number] = ChunkPlace(stripe_number, start, len(chunk))

    async def _append(self, draft: _Draft, extents: list[bytes]) -> tuple[Written, int]:
        """One durable metadata stripe and its number."""
        for _ in range(APPEND_TRIES):
            try:
                stripe = await self._store.append(
                    KIND_METADATA, extents, lambda starts: encode_directory([]))
            except AppendRefused:
                continue
            (outcome,) = await self._store.sync([stripe])
            if isinstance(outcome, Written):
                number, self._next_stripe = self._next_stripe, self._next_stripe + 1
                ref = outcome.ref
                self._store.fleet.note_missed(outcome.missed, named=False)
                draft.stripes[number] = MetadataStripe(
                    number, ref.segment.id, ref.offset, ref.body_len, ref.salt, ref.digest)
                segment = ref.segment
                draft.segments[segment.id] = SegmentEntry(
                    segment.id, segment.epoch, segment.data, segment.parity, segment.columns,
                    ref.offset + ref.record_len)
                return outcome, number
        raise AppendRefused("too few targets take metadata; the checkpoint is put off")

    def _root(self, draft: _Draft, base: Tip, page_count: int, label: Label) -> Root:
        live = set(draft.page_map.live_pages()) | {
            place.stripe for place in draft.chunks.values()}
        stripes = {number: stripe for number, stripe in
                   (self.table.stripes | draft.stripes).items() if number in live}
        used = {stripe.segment for stripe in stripes.values()}
        segments = {segment_id: entry for segment_id, entry in
                    (self.table.segments | draft.segments).items() if segment_id in used}
        return Root(
            base_seq=base.seq, base_hash=base.hash, page_count=page_count,
            chunks=tuple(draft.chunks[number] for number in sorted(draft.chunks)),
            stripes=tuple(stripes[number] for number in sorted(stripes)),
            segments=tuple(segments[key] for key in sorted(segments)),
            next_segment=self._store.next_segment, next_stripe=self._next_stripe,
            next_order=self._store.next_order, version=label.version,
            incompatible=label.incompatible, read_only_compatible=label.read_only_compatible,
            data=label.data, parity=label.parity, liars=label.liars, members=label.members,
            targets=tuple(entry.id for entry in label.targets),
            slots_generation=label.slots_generation)

    def _adopt(self, draft: _Draft, root: Root) -> None:
        """The checkpoint is acknowledged: memory follows."""
        self.table.stripes.clear()
        self.table.stripes.update({stripe.number: stripe for stripe in root.stripes})
        self.table.segments.clear()
        self.table.segments.update({entry.id: entry for entry in root.segments})
        # Only now does who catches up find these stripes.
        self._store.fleet.name_missed()
        self._chunks = draft.chunks
        current = self._pages.map
        current.changed = set()
        self._pages.settle(draft.places)
        current.changed = set()
        if len(current) > self._pages.page_count:
            current.truncate(self._pages.page_count)


def _groups(items: list[int], length: int) -> Iterator[list[int]]:
    """Consecutive groups of at most `length` items."""
    for at in range(0, len(items), length):
        yield items[at : at + length]
