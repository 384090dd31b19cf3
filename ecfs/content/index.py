"""Content segments in memory, and references to their stripes."""

from collections import OrderedDict
from dataclasses import replace

from ecfs.base.errors import Damage
from ecfs.formats import KIND_CONTENT, SegmentEntry
from ecfs.metadata import ContentTables, StripeRow
from ecfs.stripes import StripeRef

REFS_MAX = 4096


class StripeIndex:
    """Finds the reference of a stripe by its id; a bounded cache over the tables."""

    def __init__(self, tables: ContentTables) -> None:
        self._tables = tables
        self._segments = {entry.id: entry for entry in tables.segments()}
        self._refs: OrderedDict[int, StripeRef] = OrderedDict()

    @property
    def segments(self) -> dict[int, SegmentEntry]:
        """All content segments that the database knows."""
        return self._segments

    def put_segment(self, entry: SegmentEntry) -> None:
        """A segment that is new, longer, or has other columns."""
        known = self._segments.get(entry.id)
        if known is not None and known.columns != entry.columns:
            self._refs.clear()
        self._segments[entry.id] = entry

    def replace_target(self, old: bytes, new: bytes) -> None:
        """Every column of one target is another's."""
        for entry in list(self._segments.values()):
            if old in entry.columns:
                columns = tuple(new if one == old else one for one in entry.columns)
                self._segments[entry.id] = replace(entry, columns=columns)
        self._refs.clear()

    def drop_segment(self, segment_id: int) -> None:
        """A segment that was reclaimed."""
        self._segments.pop(segment_id, None)
        self._refs.clear()

    def ref(self, stripe_id: int) -> StripeRef:
        """The reference of a stripe; Damage when the tables do not know it."""
        found = self._refs.get(stripe_id)
        if found is None:
            found = self.ref_of(self._tables.stripe(stripe_id))
            self._refs[stripe_id] = found
            if len(self._refs) > REFS_MAX:
                self._refs.popitem(last=False)
        return found

    def ref_of(self, row: StripeRow) -> StripeRef:
        """The reference that a row makes."""
        segment = self._segments.get(row.segment)
        if segment is None:
            raise Damage(f"segment {row.segment} is not in the metadata")
        return StripeRef(segment, KIND_CONTENT, row.offset, row.body_len, row.salt, row.digest)

    def forget(self, stripe_id: int) -> None:
        """The stripe's row is gone; SQLite may give its id to another."""
        self._refs.pop(stripe_id, None)

    def forget_all(self) -> None:
        """Drop all cached references."""
        self._refs.clear()
