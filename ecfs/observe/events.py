"""The kinds of events and which of them count as what."""

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """A stable id for each thing worth telling; it never changes once released."""

    SHARD_BAD = "shard-bad"
    SHARD_MISSING = "shard-missing"
    SHARD_MENDED = "shard-mended"
    STRIPE_UNREADABLE = "stripe-unreadable"
    HEADER_BAD = "header-bad"
    LABEL_BAD = "label-bad"
    RECORD_BAD = "record-bad"
    RECORD_TORN = "record-torn"
    CLAIM_BAD = "claim-bad"
    TARGET_AWAY = "target-away"
    TARGET_BACK = "target-back"
    TARGET_FOREIGN = "target-foreign"
    TARGET_CLONE = "target-clone"
    TARGET_STALE = "target-stale"
    TARGET_SLOW = "target-slow"
    TARGET_UNSAFE_FILE = "target-unsafe-file"
    CLAIMED = "claimed"
    FENCED = "fenced"
    ROLLBACK_REFUSED = "rollback-refused"
    ROLLBACK_ACCEPTED = "rollback-accepted"
    FORK_REFUSED = "fork-refused"
    READ_FAILED = "read-failed"
    WRITE_FAILED = "write-failed"
    READ_ONLY = "read-only"
    RESILVERED = "resilvered"
    REBUILT = "rebuilt"
    REPAIRED = "repaired"
    TAIL_DROPPED = "tail-dropped"
    METADATA_DAMAGED = "metadata-damaged"
    COLUMN_ABANDONED = "column-abandoned"
    COLUMN_CUT = "column-cut"
    CHECKPOINT = "checkpoint"
    MOUNTED = "mounted"
    UNMOUNTED = "unmounted"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with the evidence (invariant I6) as far as it has any."""

    kind: EventKind
    message: str
    target: bytes | None = None
    segment: int | None = None
    offset: int | None = None
    expected: str = ""
    got: str = ""

    def text(self) -> str:
        """The event in one line, for a log."""
        parts = [f"{self.kind}: {self.message}"]
        if self.target is not None:
            parts.append(f"target={self.target.hex()}")
        if self.segment is not None:
            parts.append(f"segment={self.segment:x}")
        if self.offset is not None:
            parts.append(f"offset={self.offset}")
        if self.expected or self.got:
            parts.append(f"expected={self.expected} got={self.got}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """How often a target failed: `io` answered with an error or not at all, `tag` gave bytes that
    fail their check, `label` has labels or claims that are bad or belong elsewhere."""

    io: int = 0
    tag: int = 0
    label: int = 0


IO_KINDS = frozenset({
    EventKind.TARGET_AWAY, EventKind.TARGET_SLOW, EventKind.TARGET_UNSAFE_FILE,
    EventKind.READ_FAILED, EventKind.WRITE_FAILED,
})
TAG_KINDS = frozenset({
    EventKind.SHARD_BAD, EventKind.SHARD_MISSING, EventKind.HEADER_BAD, EventKind.RECORD_BAD,
})
LABEL_KINDS = frozenset({
    EventKind.LABEL_BAD, EventKind.CLAIM_BAD, EventKind.TARGET_FOREIGN, EventKind.TARGET_CLONE,
    EventKind.TARGET_STALE,
})

EVIDENCE_KINDS = IO_KINDS | TAG_KINDS | LABEL_KINDS | {EventKind.COLUMN_ABANDONED}
"""Failed checks: audited, but one line of them may be lost in a crash, and floods are thinned."""

CRITICAL_KINDS = frozenset({
    EventKind.CLAIMED, EventKind.FENCED, EventKind.ROLLBACK_REFUSED, EventKind.ROLLBACK_ACCEPTED,
    EventKind.FORK_REFUSED, EventKind.READ_ONLY, EventKind.REBUILT, EventKind.REPAIRED,
    EventKind.TAIL_DROPPED, EventKind.METADATA_DAMAGED, EventKind.STRIPE_UNREADABLE,
    EventKind.MOUNTED, EventKind.UNMOUNTED,
})
"""Audited and synced before `Journal.record` returns."""

AUDITED_KINDS = EVIDENCE_KINDS | CRITICAL_KINDS
"""What goes to the audit log; all other kinds are only counted, kept and logged."""

UNTHINNED_KINDS = frozenset({
    EventKind.CLAIMED, EventKind.FENCED, EventKind.ROLLBACK_ACCEPTED, EventKind.TAIL_DROPPED,
    EventKind.REBUILT,
})
"""Acts of a writer or of a person, rare by nature: never left out of a log."""

QUIET_KINDS = frozenset({
    EventKind.SHARD_MENDED, EventKind.TARGET_BACK, EventKind.CLAIMED, EventKind.RESILVERED,
    EventKind.REBUILT, EventKind.REPAIRED, EventKind.CHECKPOINT, EventKind.MOUNTED,
    EventKind.UNMOUNTED,
})
"""Good news: logged as information, all else as a warning."""

assert not EVIDENCE_KINDS & CRITICAL_KINDS
assert UNTHINNED_KINDS <= CRITICAL_KINDS
