"""What happened, told once: typed events, their counts, the log lines and the audit chain.

Owns the vocabulary of events and the client's own record of them. Knows nothing of targets, keys or
files; it never decides anything, and a failure to record never fails what was recorded.
"""

from ecfs.observe.audit import AUDIT_HASH_LEN, AUDIT_LOG_ID_LEN, AuditHead, AuditLog
from ecfs.observe.auditchain import AuditError, AuditLine, walk
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
    "AUDITED_KINDS", "AUDIT_HASH_LEN", "AUDIT_LOG_ID_LEN", "CRITICAL_KINDS", "EVIDENCE_KINDS",
    "AuditError", "AuditHead", "AuditLine", "AuditLog", "ErrorCounts", "Event", "EventKind",
    "Journal", "walk",
]
