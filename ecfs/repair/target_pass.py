"""fsck of the targets: columns, labels, claims, commit records, and who is missing.

`look` only reads. `put_right` re-creates what can be re-created, by mending; labels and claims are
written anew by opening the pool and by its checkpoints.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ecfs.base.errors import Damage, EcfsError, TargetError, Unreadable
from ecfs.base.limits import (
    COLUMN_HEADER_LEN,
    LABEL_LEN_MAX,
    TARGET_SYNC_DEADLINE_S,
)
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import (
    CLAIM_PATTERN,
    COLUMN_PATTERN,
    COMMITS_PATTERN,
    HEARTBEAT_PATTERN,
    KIND_METADATA,
    LABEL_PATTERN,
    SEGMENTS_FOLDER,
    SegmentEntry,
    check_label,
    claim_name,
    column_name,
    decode_claim,
    decode_label,
    labels_among,
)
from ecfs.metadata import CheckQueries
from ecfs.repair.findings import Finding, Findings
from ecfs.repair.mending import catch_up, ensure_column, mend_stripe
from ecfs.repair.salvage_log import FOLDER_PATTERN
from ecfs.repair.walking import has_ended, segments_of, walk
from ecfs.stripes import Member, run_jobs
from ecfs.targets import Target
from ecfs.volume import Volume, box_keys, label_mac, mend_records

T = TypeVar("T")

SEGMENTS_PER_JOB = 32
LABELS_LOOKED_AT = 2
IGNORED_NAMES = frozenset({"lost+found", SEGMENTS_FOLDER})
TARGET_FINDINGS = frozenset({
    "segments-column-missing", "segments-column-short", "segments-column-header",
    "segments-column-long", "targets-label", "targets-claim", "targets-records",
    "targets-missing", "targets-data-endangered"})

_PATTERNS = (LABEL_PATTERN, CLAIM_PATTERN, COMMITS_PATTERN, HEARTBEAT_PATTERN)


@dataclass(slots=True)
class TargetPass:
    """The passes `segments` and `targets` over an open volume."""

    volume: Volume
    findings: Findings
    notes: Counter[str] = field(default_factory=Counter)
    damaged_segments: set[int] = field(default_factory=set)

    async def look(self) -> None:
        """Read sizes, headers, labels, claims and records; change nothing."""
        self._check_missing()
        self._check_endangered()
        for member in self.volume.fleet.online():
            await self._check_columns(member)
            await self._count_strays(member)
            await self._check_label_and_claim(member)
        self._check_records()

    # -- who is there ------------------------------------------------------------------------

    def _segments(self) -> list[SegmentEntry]:
        table = self.volume.opened.table
        return [*table.segments.values(), *self.volume.files.index.segments.values()]

    def _check_missing(self) -> None:
        for member in self.volume.fleet:
            if not member.online:
                self.findings.add(Finding(
                    "targets-missing", f"{member.name} ({member.path}) is {member.state}: "
                    f"{member.reason}{member.remedy and '. ' + member.remedy}", harmless=True))

    def _check_endangered(self) -> None:
        """Stripes with fewer than k places that are there and have not missed their shard."""
        queries = CheckQueries(self.volume.database)
        online = {member.id for member in self.volume.fleet.online()}
        metadata = self.volume.opened.table.segments
        anything_missed = queries.misses_anything()
        for entry in self._segments():
            present = online.intersection(entry.columns)
            if len(present) < entry.data:
                short = 1 if entry.id in metadata else queries.stripes_in(entry.id)
            elif anything_missed and entry.id not in metadata:
                short = queries.stripes_short_of(present, entry.id, len(present) - entry.data)
            else:
                short = 0
            if short:
                self.findings.add(Finding(
                    "targets-data-endangered", f"segment {entry.id}: {short} stripes have fewer "
                    f"than {entry.data} places that can be reached; bring targets back"))

    # -- columns -----------------------------------------------------------------------------

    async def _check_columns(self, member: Member) -> None:
        entries = [entry for entry in self._segments() if member.id in entry.columns]
        for at in range(0, len(entries), SEGMENTS_PER_JOB):
            group = entries[at : at + SEGMENTS_PER_JOB]
            names = [column_name(entry.epoch, entry.id) for entry in group]
            seen = await self._in_lane(member, partial(_columns_of, names=names))
            for entry, name, (length, header) in zip(group, names, seen or [], strict=False):
                self._judge_column(member, entry, name, length, header)

    def _judge_column(self, member: Member, entry: SegmentEntry, name: str, length: int,
                      header: bytes) -> None:
        expected = self.volume.store.column_header(entry, entry.columns.index(member.id))
        where = f"{member.name}: {name}"
        if length < 0:
            self._damaged(entry, "missing", f"{where} is not there")
        elif header != expected:
            self._damaged(entry, "header", f"{where} does not begin with its header")
        elif length < entry.length:
            self._damaged(entry, "short", f"{where} is {entry.length - length} bytes too short")
        elif length > entry.length:
            self.findings.add(Finding(
                "segments-column-long", f"{where} goes on for {length - entry.length} bytes that "
                "no commit names", harmless=True))

    def _damaged(self, entry: SegmentEntry, what: str, description: str) -> None:
        self.damaged_segments.add(entry.id)
        self.findings.add(Finding(f"segments-column-{what}", description))

    async def _count_strays(self, member: Member) -> None:
        """Files that nothing names: left by a crash, or put there by somebody else. No error."""
        known = {column_name(entry.epoch, entry.id) for entry in self._segments()}
        counts = await self._in_lane(member, partial(strays_of, known=known))
        if counts:
            self.notes["stray_columns"] += counts[0]
            self.notes["odd_names"] += counts[1]

    # -- labels, claims, records -------------------------------------------------------------

    async def _check_label_and_claim(self, member: Member) -> None:
        opened = self.volume.opened
        best = (opened.label.epoch, opened.label.generation)
        mac = label_mac(opened.master)

        def read_labels(target: Target) -> str:
            found = labels_among(target.list_names())[:LABELS_LOOKED_AT]
            for number, (epoch, generation, name) in enumerate(found):
                target.forget(name)
                signed = decode_label(target.read(name, 0, LABEL_LEN_MAX + 1))
                label = check_label(signed, mac)
                if signed.was_rotten:
                    return f"{name} is rotten and had to be corrected"
                if (label.epoch, label.generation) != (epoch, generation):
                    return f"{name} is another label than its name says"
                if number == 0 and (epoch, generation) < best:
                    return f"its newest label is {name}, others have a newer one"
            return "" if found else "it has no label"

        reason = await self._reason(member, read_labels)
        if reason:
            self.findings.add(Finding("targets-label", f"{member.name}: {reason}"))
            return
        assert opened.chain is not None
        epoch = opened.chain.tip.commit.epoch
        keys = box_keys(opened.master, self.volume.pool_id, "claim")

        def read_claim(target: Target) -> str:
            decode_claim(target.read(claim_name(epoch), 0, BLOCK_LEN), keys, epoch)
            return ""

        reason = await self._reason(member, read_claim)
        if reason:
            self.findings.add(Finding(
                "targets-claim", f"{member.name}: the claim of epoch {epoch}: {reason}"))

    def _check_records(self) -> None:
        """Every record since the checkpoint that is kept is on every member that could be read."""
        opened = self.volume.opened
        view, chain = opened.view, opened.chain
        if view is None or chain is None:
            return
        lacking: Counter[bytes] = Counter()
        for found in chain.records:
            holders = view.holders.get((found.commit.epoch, found.commit.seq), set())
            lacking.update(view.read - holders)
        bad = Counter(member for member, _, _ in view.bad)
        for target_id in view.read:
            if lacking[target_id] or bad[target_id]:
                member = self.volume.fleet[target_id]
                self.findings.add(Finding(
                    "targets-records", f"{member.name} lacks {lacking[target_id]} of "
                    f"{len(chain.records)} commit records and has {bad[target_id]} bad places"))

    # -- doing -------------------------------------------------------------------------------

    async def put_right(self) -> None:
        """Mend the damaged segments and the records, let targets catch up, write new labels.

        What does not work is found again by the look that follows. The second checkpoint, at which
        everything points to records of this epoch, is the one that closing the volume writes.
        """
        volume = self.volume
        for entry, kind, live in segments_of(volume):
            if entry.id in self.damaged_segments:
                await self._mend_headers(entry)
                async with aclosing(walk(volume.store, entry, kind, live)) as stripes:
                    async for ref, _ in stripes:
                        try:
                            await mend_stripe(volume.store, ref)
                        except (Unreadable, Damage):
                            continue
                if kind != KIND_METADATA:
                    await self._cut_long(entry)
        for member in volume.fleet.online():
            if member.behind:
                await catch_up(volume, member)
        await mend_records(volume)
        await volume.checkpoint()

    async def _mend_headers(self, entry: SegmentEntry) -> None:
        name = column_name(entry.epoch, entry.id)
        for column, target_id in enumerate(entry.columns):
            member = self.volume.fleet.get(target_id)
            if member is not None and member.online:
                header = self.volume.store.column_header(entry, column)
                await self._in_lane(member, partial(_ensure, name=name, header=header))

    async def _cut_long(self, entry: SegmentEntry) -> None:
        """What goes on past the end of a segment that no longer grows is cut."""
        if not has_ended(self.volume, entry):
            return
        name = column_name(entry.epoch, entry.id)
        for target_id in entry.columns:
            member = self.volume.fleet.get(target_id)
            if member is not None and member.online:
                await self._in_lane(member, partial(_cut, name=name, length=entry.length))

    async def _in_lane(self, member: Member, work: Callable[[Target], T]) -> T | None:
        assert member.target is not None and member.lane is not None
        (result,) = await run_jobs([(member.lane, partial(work, member.target))],
                                   TARGET_SYNC_DEADLINE_S)
        if isinstance(result, TargetError):
            self.findings.add(Finding("targets-io", f"{member.name}: {result}"))
            return None
        return result

    async def _reason(self, member: Member, work: Callable[[Target], str]) -> str:
        """What is wrong, empty for nothing."""
        assert member.target is not None and member.lane is not None
        try:
            return await member.lane.run(work, member.target, deadline_s=TARGET_SYNC_DEADLINE_S)
        except EcfsError as error:
            return str(error)


def _columns_of(target: Target, names: list[str]) -> list[tuple[int, bytes]]:
    """(length, header) of each column; length -1 where there is none."""
    seen = []
    for name in names:
        target.forget(name)
        try:
            seen.append((target.size(name), target.read(name, 0, COLUMN_HEADER_LEN)))
        except TargetError:
            seen.append((-1, b""))
    return seen


def strays_of(target: Target, known: set[str]) -> tuple[int, int]:
    """Counts of columns that nothing names, and of names that are none of ours."""
    strays = 0
    odd = sum(1 for name in target.list_names() if name not in IGNORED_NAMES
              and not any(pattern.fullmatch(name) for pattern in _PATTERNS))
    for folder in target.list_names(SEGMENTS_FOLDER):
        if FOLDER_PATTERN.fullmatch(folder) is None:
            odd += 1
            continue
        path = f"{SEGMENTS_FOLDER}/{folder}"
        for name in target.list_names(path):
            if COLUMN_PATTERN.fullmatch(name) is None:
                odd += 1
            elif f"{path}/{name}" not in known:
                strays += 1
    return strays, odd


def _ensure(target: Target, name: str, header: bytes) -> bool:
    return ensure_column(target, name, header)


def _cut(target: Target, name: str, length: int) -> None:
    if target.size(name) > length:
        target.truncate(name, length)
        target.sync(name)
