"""What happened, told once: typed events, their counts, the log lines and the audit chain.

Owns the vocabulary of events and the client's own record of them. Knows nothing of targets, keys or
files; it never decides anything, and a failure to record never fails what was recorded.
"""

from ecfs.observe.audit import (
    AUDIT_HASH_LEN,
    AUDIT_LOG_ID_LEN,
    AUDIT_LOG_NAME,
    AuditHead,
    AuditLog,
    UnwritableAuditLog,
)
from ecfs.observe.auditchain import AuditError, AuditLine, walk
from ecfs.observe.events import (
    AUDITED_KINDS,
    CRITICAL_KINDS,
    EVIDENCE_KINDS,
    SEVERITIES,
    ErrorCounts,
    Event,
    EventKind,
    Severity,
)
from ecfs.observe.journal import Journal

__all__ = [
    "AUDITED_KINDS", "AUDIT_HASH_LEN", "AUDIT_LOG_ID_LEN", "AUDIT_LOG_NAME", "CRITICAL_KINDS",
    "EVIDENCE_KINDS", "SEVERITIES", "AuditError", "AuditHead", "AuditLine", "AuditLog",
    "ErrorCounts", "Event", "EventKind", "Journal", "Severity", "UnwritableAuditLog",
    "walk",
]
