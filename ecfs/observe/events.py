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
    CHANGE_LOST = "change-lost"
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
    REFUSED = "refused"
    FORCED = "forced"
    AUDIT_MISSING = "audit-missing"
    AUDIT_UNWRITTEN = "audit-unwritten"


class Severity(StrEnum):
    """What an event asks of a person: nothing, a look, an act, an act at once."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    ALARM = "alarm"


SEVERITIES = {
    EventKind.SHARD_BAD: Severity.WARNING,
    EventKind.SHARD_MISSING: Severity.WARNING,
    EventKind.SHARD_MENDED: Severity.INFO,
    EventKind.STRIPE_UNREADABLE: Severity.ERROR,
    EventKind.HEADER_BAD: Severity.WARNING,
    EventKind.LABEL_BAD: Severity.WARNING,
    EventKind.RECORD_BAD: Severity.WARNING,
    EventKind.RECORD_TORN: Severity.INFO,
    EventKind.CLAIM_BAD: Severity.WARNING,
    EventKind.TARGET_AWAY: Severity.ERROR,
    EventKind.TARGET_BACK: Severity.INFO,
    EventKind.TARGET_FOREIGN: Severity.WARNING,
    EventKind.TARGET_CLONE: Severity.ERROR,
    EventKind.TARGET_STALE: Severity.WARNING,
    EventKind.TARGET_SLOW: Severity.WARNING,
    EventKind.TARGET_UNSAFE_FILE: Severity.ERROR,
    EventKind.CLAIMED: Severity.INFO,
    EventKind.FENCED: Severity.ERROR,
    EventKind.ROLLBACK_REFUSED: Severity.ALARM,
    EventKind.ROLLBACK_ACCEPTED: Severity.WARNING,
    EventKind.FORK_REFUSED: Severity.ALARM,
    EventKind.READ_FAILED: Severity.WARNING,
    EventKind.WRITE_FAILED: Severity.WARNING,
    EventKind.READ_ONLY: Severity.ERROR,
    EventKind.CHANGE_LOST: Severity.ERROR,
    EventKind.RESILVERED: Severity.INFO,
    EventKind.REBUILT: Severity.INFO,
    EventKind.REPAIRED: Severity.INFO,
    EventKind.TAIL_DROPPED: Severity.ERROR,
    EventKind.METADATA_DAMAGED: Severity.ALARM,
    EventKind.COLUMN_ABANDONED: Severity.WARNING,
    EventKind.COLUMN_CUT: Severity.INFO,
    EventKind.CHECKPOINT: Severity.INFO,
    EventKind.MOUNTED: Severity.INFO,
    EventKind.UNMOUNTED: Severity.INFO,
    EventKind.REFUSED: Severity.WARNING,
    EventKind.FORCED: Severity.WARNING,
    EventKind.AUDIT_MISSING: Severity.ALARM,
    EventKind.AUDIT_UNWRITTEN: Severity.WARNING,
}


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
})

EVIDENCE_KINDS = IO_KINDS | TAG_KINDS | LABEL_KINDS | {
    EventKind.COLUMN_ABANDONED, EventKind.TARGET_STALE}
"""Failed checks, and what may explain them (a target that was away is stale, which is no error of
its own): audited, but one line of them may be lost in a crash, and floods are thinned."""

CRITICAL_KINDS = frozenset({
    EventKind.CLAIMED, EventKind.FENCED, EventKind.ROLLBACK_REFUSED, EventKind.ROLLBACK_ACCEPTED,
    EventKind.FORK_REFUSED, EventKind.READ_ONLY, EventKind.REBUILT, EventKind.REPAIRED,
    EventKind.TAIL_DROPPED, EventKind.METADATA_DAMAGED, EventKind.STRIPE_UNREADABLE,
    EventKind.MOUNTED, EventKind.UNMOUNTED, EventKind.REFUSED, EventKind.FORCED,
    EventKind.AUDIT_MISSING, EventKind.AUDIT_UNWRITTEN, EventKind.CHANGE_LOST,
})
"""Audited and synced before `Journal.record` returns."""

REPAIR_KINDS = frozenset({
    EventKind.SHARD_MENDED, EventKind.RESILVERED, EventKind.TARGET_BACK, EventKind.RECORD_TORN,
    EventKind.COLUMN_CUT,
})
"""What was put right by itself, and what accuses nobody: audited, but not synced at once."""

AUDITED_KINDS = EVIDENCE_KINDS | CRITICAL_KINDS | REPAIR_KINDS
"""What goes to the audit log; all other kinds are only counted, kept and logged."""

UNTHINNED_KINDS = frozenset({
    EventKind.CLAIMED, EventKind.FENCED, EventKind.ROLLBACK_ACCEPTED, EventKind.TAIL_DROPPED,
    EventKind.REBUILT, EventKind.FORCED, EventKind.AUDIT_MISSING,
})
"""Acts of a writer or of a person, rare by nature: never left out of a log."""

assert not EVIDENCE_KINDS & CRITICAL_KINDS
assert UNTHINNED_KINDS <= CRITICAL_KINDS
assert SEVERITIES.keys() == set(EventKind)
