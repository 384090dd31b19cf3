"""fsck of the database: its own structure, the tree, and what content the maps lead to.

Each check finds rows in batches and, where the mode allows, repairs them before the next check
runs, for later ones rely on earlier ones. Repairs are changes of the open transaction.
"""

import os
from collections.abc import Awaitable, Callable

from ecfs.base.errors import Damage, EcfsError, Unreadable
from ecfs.base.ids import InodeId
from ecfs.formats import KIND_CONTENT
from ecfs.metadata import (
    ATTRIBUTE_CHECKS,
    CONTENT_CHECKS,
    EXTENT_CHECKS,
    MAP_CHECKS,
    ROOT_CHECKS,
    SEGMENT_CHECKS,
    TREE_CHECKS,
    CheckQueries,
    RowCheck,
    StripeRow,
)
from ecfs.metadata.database import Row
from ecfs.repair.findings import FINDINGS_PER_ID_MAX, Finding, Findings, FsckMode
from ecfs.repair.segment_rows import bad_segment_rows, rebuild_row
from ecfs.stripes import Layout, StripeRef
from ecfs.volume import Volume

BATCH_COUNT = 10_000
PATHS_PER_ID_MAX = 1000
EXTENTS_BATCH_COUNT = 10_000
STRANGERS_MAX = 1000

_BEFORE_CONTENT = (*ROOT_CHECKS, *MAP_CHECKS, *TREE_CHECKS, *ATTRIBUTE_CHECKS, *CONTENT_CHECKS)


class DatabasePass:
    """The passes `database`, `tree` and `content` over an open volume."""

    def __init__(self, volume: Volume, mode: FsckMode, findings: Findings) -> None:
        self._volume = volume
        self._database = volume.database
        self._queries = CheckQueries(volume.database)
        self._mode = mode
        self._findings = findings
        self._special: dict[str, Callable[[Row], Awaitable[bool]]] = {
            "tree-entry-in-file": self._move_entry,
            "tree-name-invalid": self._rename,
            "tree-inode-unreachable": self._take_in,
            "tree-directory-cycle": self._cut_cycle,
            "content-map-not-regular": self._split_content,
            "content-segment-missing": self._find_segment,
            "content-stripe-overlap": self._drop_unreadable,
        }

    async def run(self) -> None:
        """All checks, in order."""
        self._check_structure()
        for check in _BEFORE_CONTENT:
            await self._run(check)
        await self._check_segment_rows()
        for check in SEGMENT_CHECKS:
            # Before anything is given up, `content-segment-missing` tries to find it again.
            if check.id != "content-segment-lost" or self._mode is FsckMode.YES:
                await self._run(check)
        await self._check_places()
        for check in EXTENT_CHECKS:
            await self._run(check)
        await self._check_strangers()
        if self._mode is not FsckMode.LOOK:
            self._refresh()

    # -- the database itself -----------------------------------------------------------------

    def _check_structure(self) -> None:
        """SQLite's own check. What an index lacks, a new index has; past anything else nothing is
        repaired, for what the rows say may be wrong."""
        complaints = self._complaints()
        repaired = False
        if complaints and self._mode is not FsckMode.LOOK:
            try:
                with self._database.change():
                    self._queries.rebuild_indexes()
                repaired = not self._complaints()
            except EcfsError:
                repaired = False
        for complaint in complaints:
            self._findings.add(Finding("database-corrupt", complaint, repaired=repaired))
        if complaints and not repaired:
            self._mode = FsckMode.LOOK

    def _complaints(self) -> list[str]:
        try:
            return self._database.integrity_findings()
        except Damage as damage:
            return [str(damage)]

    # -- checks of rows ----------------------------------------------------------------------

    async def _run(self, check: RowCheck) -> None:
        try:
            await self._run_batches(check)
        except Damage as damage:
            self._mode = FsckMode.LOOK
            self._add(Finding("database-unreadable", f"{check.id} could not be checked: {damage}"))

    async def _run_batches(self, check: RowCheck) -> None:
        may = self._may(check.gives_up) and not (
            check.id == "content-stripe-unused" and self._findings.left_counts[
                "content-extent-missing"])  # A stripe of which a file still wants bytes stays.
        failed: set[Row] = set()
        while True:
            limit = BATCH_COUNT if may else FINDINGS_PER_ID_MAX + 1
            rows = [row for row in self._queries.find(check, limit + len(failed))
                    if row not in failed]
            for row in rows:
                path = self._path_of(row[0]) if (
                    check.gives_up or self._findings.counts[check.id] < PATHS_PER_ID_MAX) else None
                repaired = may and await self._repair(check, row)
                if not repaired:
                    failed.add(row)
                self._add(Finding(check.id, check.text.format(*row), path, repaired,
                                  check.gives_up))
            if not may or not rows or len(failed) > BATCH_COUNT:
                return
            await self._volume.room()

    def _may(self, gives_up: bool) -> bool:
        return self._mode is FsckMode.YES or (self._mode is FsckMode.SAFE and not gives_up)

    async def _repair(self, check: RowCheck, row: Row) -> bool:
        special = self._special.get(check.id)
        if special is not None:
            return await special(row)
        with self._database.change():
            self._queries.repair(check, row)
        return True

    def _add(self, finding: Finding) -> None:
        self._findings.add(finding)

    def _path_of(self, inode: int) -> str | None:
        if not inode:
            return None
        try:
            path = self._volume.tree.path_of(InodeId(inode))
        except EcfsError:
            return None
        return None if path is None else os.fsdecode(path)

    @property
    def _now_ns(self) -> int:
        return self._volume.environment.clock.wall_ns()

    # -- repairs that are more than a statement ----------------------------------------------

    async def _move_entry(self, row: Row) -> bool:
        with self._database.change():
            self._queries.remove_entry(row[0], row[1])
            self._queries.take_in(row[2], self._now_ns)
        return True

    async def _rename(self, row: Row) -> bool:
        with self._database.change():
            self._queries.rename_entry(row[0], row[1])
        return True

    async def _take_in(self, row: Row) -> bool:
        with self._database.change():
            self._queries.take_in(row[0], self._now_ns)
        return True

    async def _cut_cycle(self, row: Row) -> bool:
        with self._database.change():
            found = self._queries.member_of_cycle(row[0])
            if found is not None:
                inode, parent, name = found
                self._queries.remove_entry(parent, name)
                self._queries.take_in(inode, self._now_ns)
        return True

    async def _split_content(self, row: Row) -> bool:
        with self._database.change():
            self._queries.split_content(row[0], self._now_ns)
        return True

    async def _find_segment(self, row: Row) -> bool:
        return await rebuild_row(self._volume, self._queries, row[1])

    async def _drop_unreadable(self, row: Row) -> bool:
        """Of two stripes that overlap, at most one can be what lies there."""
        self._refresh()
        dropped = False
        for stripe_id in (row[1], row[2]):
            try:
                stripe = self._volume.files.tables.stripe(stripe_id)
                await self._volume.store.examine(self._ref_of(stripe), note=False)
            except Unreadable:
                with self._database.change():
                    self._queries.drop_stripe(stripe_id)
                dropped = True
        return dropped

    def _ref_of(self, row: StripeRow) -> StripeRef:
        segment = self._volume.files.index.segments[row.segment]
        return StripeRef(segment, KIND_CONTENT, row.offset, row.body_len, row.salt, row.digest)

    # -- checks that SQL cannot make ---------------------------------------------------------

    async def _check_segment_rows(self) -> None:
        """Rows of segments that cannot be: their columns are looked for on the targets."""
        known = {member.id for member in self._volume.fleet}
        for segment, reason in bad_segment_rows(self._queries, known):
            repaired = self._may(False) and await rebuild_row(
                self._volume, self._queries, segment)
            if not repaired and self._may(True):
                with self._database.change():
                    self._queries.drop_segment(segment)
                self._add(Finding("content-segment-invalid", f"segment {segment}: {reason}",
                                  None, True, True))
                continue
            self._add(Finding("content-segment-invalid", f"segment {segment}: {reason}", None,
                              repaired))

    async def _check_places(self) -> None:
        """Extents that cannot lie where they are said to lie in their stripe."""
        after = 0
        unit_len = self._volume.store.identity.master.unit_len
        try:
            while rows := self._queries.extents_to_place(after, EXTENTS_BATCH_COUNT):
                after = rows[-1][0]
                for extent, stripe, start, length, data, body_len in rows:
                    if not _fits(start, length, Layout(data, body_len, unit_len)):
                        self._report_misplaced(extent, stripe)
                await self._volume.room()
        except Damage as damage:
            self._mode = FsckMode.LOOK
            self._add(Finding("database-unreadable", f"places of extents: {damage}"))

    def _report_misplaced(self, extent: int, stripe: int) -> None:
        path = self._path_of(self._queries.file_of_extent(extent))
        repaired = self._may(True)
        if repaired:
            with self._database.change():
                self._queries.drop_extent(extent)
        self._add(Finding("content-extent-outside-stripe",
                          f"extent {extent} cannot lie where it is said to in stripe {stripe}",
                          path, repaired, True))

    async def _check_strangers(self) -> None:
        known = [member.id for member in self._volume.fleet]
        for target in self._queries.missed_by_strangers(known, STRANGERS_MAX):
            repaired = self._may(False)
            if repaired:
                with self._database.change():
                    self._queries.forget_missed(target)
            self._add(Finding("content-missed-stranger", "shards are said to be missed by target "
                              f"{target.hex()}, which the pool does not have", None, repaired))

    def _refresh(self) -> None:
        """What the volume has in memory of segments and stripes follows the database."""
        index = self._volume.files.index
        rows = {entry.id: entry for entry in self._volume.files.tables.segments()}
        for segment_id in set(index.segments) - set(rows):
            index.drop_segment(segment_id)
        for entry in rows.values():
            index.put_segment(entry)
        index.forget_all()


def _fits(start: int, length: int, layout: Layout) -> bool:
    if start < 0 or length <= 0:
        return False
    try:
        layout.units_of(start, length)
    except Damage:
        return False
    return True
