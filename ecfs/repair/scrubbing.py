"""Scrub: every shard, header and record of everything, read and checked; what is bad is mended."""

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ecfs.base.errors import AppendRefused, Damage, NoSpace, TargetError, Unreadable
from ecfs.base.limits import DAMAGED_PATHS_MAX, TARGET_SYNC_DEADLINE_S
from ecfs.formats import KIND_CONTENT, SegmentEntry, column_name
from ecfs.observe import Event, EventKind
from ecfs.repair.mending import ensure_column, is_column_bad, mend_stripe
from ecfs.repair.progress import Progress, ProgressTaker
from ecfs.repair.walking import has_ended, segments_of, walk
from ecfs.stripes import StripeRef, run_jobs
from ecfs.targets import Target
from ecfs.volume import Volume, find_bad, mend_labels, mend_records

_log = logging.getLogger("ecfs.repair")


@dataclass(slots=True)
class ScrubReport:
    """What a scrub found. Counts of shards, records and headers; lengths in bytes. `not_read`:
    names of targets that are not there."""

    segments_count: int = 0
    stripes_count: int = 0
    checked_len: int = 0
    bad_count: int = 0
    mended_count: int = 0
    unreadable_count: int = 0
    damaged_paths: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """`ecfs.scrub/1`."""
        return {
            "schema": "ecfs.scrub/1", "segments": self.segments_count,
            "stripes": self.stripes_count, "checked_bytes": self.checked_len,
            "bad": self.bad_count, "mended": self.mended_count,
            "unreadable_stripes": self.unreadable_count, "damaged_paths": self.damaged_paths,
            "not_read": self.not_read}


async def scrub(volume: Volume, *, progress: ProgressTaker = lambda progress: None,
                ) -> ScrubReport:
    """Check everything and mend what is bad. Goes on past what cannot be read."""
    try:
        await volume.fsync(None)
    except Damage as damage:
        # Of files whose metadata is lost; the rest is durable.
        _log.error("before the scrub: %s", damage)
    report = ScrubReport()
    scrubber = _Scrubber(volume, report, progress)
    await scrubber.run()
    return report


class _Scrubber:
    def __init__(self, volume: Volume, report: ScrubReport,
                 progress: Callable[[Progress], None]) -> None:
        self._volume = volume
        self._report = report
        self._progress = progress
        self._total_len = 0
        self._damaged: set[int] = set()

    async def run(self) -> None:
        """The whole scrub."""
        volume, report = self._volume, self._report
        found = segments_of(volume)
        self._total_len = sum(entry.length * self._here_count(entry) for entry, _, _ in found)
        for entry, kind, live in found:
            if volume.store.is_given_back(entry):
                continue
            report.segments_count += 1
            await self._scrub_headers(entry)
            async with aclosing(walk(volume.store, entry, kind, live)) as stripes:
                async for ref, is_live in stripes:
                    if self._still_needed(ref, kind):
                        await self._scrub_stripe(ref, is_live)
                    self._say()
            await self._scrub_lengths(entry)
        if volume.read_only:
            report.bad_count += await find_bad(volume)
        else:
            for bad, mended in (await mend_records(volume), await mend_labels(volume)):
                report.bad_count += bad
                report.mended_count += mended
        volume.damaged.clear()
        for inode in sorted(self._damaged)[:DAMAGED_PATHS_MAX]:
            volume.damaged.note(inode)
        report.damaged_paths = list(volume.status().damaged_paths)
        report.not_read = [member.name for member in volume.fleet if not member.online]

    def _here_count(self, entry: SegmentEntry) -> int:
        """Columns of a segment whose targets are there: no others are read."""
        return sum(member is not None and member.online
                   for member in map(self._volume.fleet.get, entry.columns))

    def _still_needed(self, ref: StripeRef, kind: int) -> bool:
        """Whether the segment has not been reclaimed while the scrub came here."""
        known = (self._volume.files.index.segments if kind == KIND_CONTENT
                 else self._volume.opened.table.segments)
        return ref.segment.id in known

    async def _scrub_stripe(self, ref: StripeRef, is_live: bool) -> None:
        report, volume = self._report, self._volume
        report.stripes_count += 1
        report.checked_len += ref.record_len * self._here_count(ref.segment)
        try:
            done = await mend_stripe(volume.store, ref)
        except Unreadable as error:
            if is_live and not volume.store.is_gone(ref):
                await self._rescue(ref, error)
            return
        except Damage:
            return
        report.bad_count += len(done.bad)
        report.mended_count += len(done.mended)

    async def _rescue(self, ref: StripeRef, error: Unreadable) -> None:
        """A stripe is past repair, but units on good shards may still open: those are moved."""
        volume, report = self._volume, self._report
        if ref.kind == KIND_CONTENT:
            row = volume.files.tables.stripe_at(ref.segment.id, ref.offset)
            if row is None:
                return
            try:
                lost = await volume.files.rescue(row.id, move=not volume.read_only)
            except (AppendRefused, NoSpace) as refused:
                _log.warning("what is left of a damaged stripe could not be moved: %s", refused)
                lost = await volume.files.rescue(row.id, move=False)
            self._damaged.update(lost)
        report.unreadable_count += 1
        volume.journal.record(Event(EventKind.STRIPE_UNREADABLE, str(error),
                                    segment=ref.segment.id, offset=ref.offset))

    async def _scrub_headers(self, entry: SegmentEntry) -> None:
        read_only = bool(self._volume.read_only)

        def check(target: Target, column: int) -> bool:
            target.forget(name)
            header = self._volume.store.column_header(entry, column)
            return (is_column_bad if read_only else ensure_column)(target, name, header)

        name = column_name(entry.epoch, entry.id)
        for target_id in await self._on_columns(entry, check):
            member = self._volume.fleet.get(target_id)
            if member is None or member.behind:
                # It may never have got the header; or it was replaced meanwhile.
                continue
            self._report.bad_count += 1
            self._report.mended_count += not read_only
            self._volume.journal.record(Event(
                EventKind.HEADER_BAD, f"{name}: the header " + (
                    "is wrong" if read_only else "was wrong and was put right"),
                target=target_id, segment=entry.id))

    async def _scrub_lengths(self, entry: SegmentEntry) -> None:
        """A column that goes on past its segment's end is cut there. Nobody is to blame: a crash
        leaves such stripes, which no commit names."""
        if self._volume.read_only or not has_ended(self._volume, entry):
            return

        def check(target: Target, column: int) -> bool:
            if target.size(name) <= entry.length:
                return False
            target.truncate(name, entry.length)
            target.sync(name)
            return True

        name = column_name(entry.epoch, entry.id)
        for target_id in await self._on_columns(entry, check):
            self._volume.journal.record(Event(
                EventKind.COLUMN_CUT, f"{name} went on past the end of its segment and was cut",
                target=target_id, segment=entry.id))

    async def _on_columns(self, entry: SegmentEntry,
                          check: Callable[[Target, int], bool]) -> list[bytes]:
        """Targets on whose column `check` had something to put right."""
        volume = self._volume
        jobs = []
        ids = []
        for column, target_id in enumerate(entry.columns):
            member = volume.fleet.get(target_id)
            if member is not None and member.online:
                assert member.target is not None and member.lane is not None
                jobs.append((member.lane, partial(check, member.target, column)))
                ids.append(target_id)
        results = await run_jobs(jobs, TARGET_SYNC_DEADLINE_S)
        if volume.store.is_given_back(entry):
            # Meanwhile: whatever was found there is past.
            return []
        self._report.bad_count += sum(isinstance(result, TargetError) for result in results)
        return [target_id for target_id, result in zip(ids, results, strict=True)
                if result is True]

    def _say(self) -> None:
        report = self._report
        self._progress(Progress(report.checked_len, max(self._total_len, report.checked_len),
                                report.mended_count, report.bad_count))
