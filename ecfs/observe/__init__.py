"""What happened, told once: typed events, their counts, the log lines and the audit chain.

Owns the vocabulary of events and the client's own record of them. Knows nothing of targets, keys or
files; it never decides anything, and a failure to record never fails what was recorded.
"""

from ecfs.observe.audit import AuditError, AuditLog
from ecfs.observe.events import (
    AUDITED_KINDS,
    CRITICAL_KINDS,
    EVIDENCE_KINDS,
    ErrorCounts,
    Event,
    EventKind,
)
from ecfs.observe.journal import Journal

__all__ = [
    "AUDITED_KINDS", "CRITICAL_KINDS", "EVIDENCE_KINDS", "AuditError", "AuditLog", "ErrorCounts",
    "Event", "EventKind", "Journal",
]
