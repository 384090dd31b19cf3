"""The client's audit log held against the head that the pool keeps in every commit record.

The pool cannot be changed by who rewrites the log on the client, the log cannot be changed by who
holds the targets: a head that is in the one and not in the other tells of it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ecfs.base.errors import EcfsError, Fenced
from ecfs.formats import Commit
from ecfs.observe import AuditHead, Event, EventKind, Journal
from ecfs.volume.anchor import Anchor


class AuditMatch(StrEnum):
    """How the client's log and the head in the newest commit stand to each other."""

    MATCHES = "matches"
    MISSING = "missing"
    OTHER_LOG = "other_log"
    OTHER_CLIENT = "other_client"
    NOT_RECORDED = "not_recorded"
    NOT_KEPT = "not_kept"

    @property
    def is_alarm(self) -> bool:
        """Whether evidence may have been taken away."""
        return self in (AuditMatch.MISSING, AuditMatch.OTHER_LOG)


_TEXTS = {
    AuditMatch.MATCHES: "the log contains the line that commit {seq} names",
    AuditMatch.MISSING: (
        "line {count} of the log, which this client had written before commit {seq}, is not there: "
        "the log was cut, rewritten, or put back from an older copy"),
    AuditMatch.OTHER_LOG: (
        "commit {seq} was written on this machine ({host}) with another log; if another user or "
        "state directory mounted the pool here, look there (XDG_STATE_HOME), else the log was "
        "taken away"),
    AuditMatch.OTHER_CLIENT: (
        "commit {seq} was written by another client ({host}, writer {writer}); only its log can be "
        "compared"),
    AuditMatch.NOT_RECORDED: (
        "commit {seq} names no audit log: its writer ({host}, writer {writer}) had none that it "
        "could write"),
    AuditMatch.NOT_KEPT: (
        "line {count} of the log, which commit {seq} names, is older than what the log keeps: "
        "nothing can be compared before the next commit"),
}


@dataclass(frozen=True, slots=True)
class AuditEvidence:
    """What a commit says of its writer's log, and what this client's log says to that."""

    match: AuditMatch
    seq: int
    epoch: int
    writer: bytes
    host: str
    head: AuditHead | None

    @classmethod
    def none(cls) -> "AuditEvidence":
        """Of a pool that has no commit yet."""
        return cls(AuditMatch.NOT_RECORDED, 0, 0, b"", "", None)

    @property
    def text(self) -> str:
        """The finding in a sentence."""
        return _TEXTS[self.match].format(
            seq=self.seq, host=self.host or "unknown", writer=self.writer.hex(),
            count=self.head.count if self.head else 0)

    @property
    def advice(self) -> list[str]:
        """What the user should know of, in the state of the pool."""
        return [f"The audit log does not fit the pool: {self.text}."] if self.match.is_alarm else []

    def to_json(self, own: AuditHead | None) -> dict[str, Any]:
        """The member `audit` of `ecfs.status/1`; `own` is where this client's log stands."""
        return {
            "match": self.match.value, "text": self.text,
            "log": own.log.hex() if own else None, "count": own.count if own else 0,
            "pool": {
                "commit": self.seq, "epoch": self.epoch, "writer": self.writer.hex(),
                "host": self.host, "log": self.head.log.hex() if self.head else None,
                "count": self.head.count if self.head else None,
                "hash": self.head.hash.hex() if self.head else None}}


def compare_audit(commit: Commit, journal: Journal, *, host: str,
                  anchor: Anchor | None) -> AuditEvidence:
    """Hold the log against a commit. `anchor`, where it is of the commit's epoch, proves that this
    client wrote it; so does the id of the log."""
    head = commit.audit
    if head is None:
        match = AuditMatch.NOT_RECORDED
    elif journal.audit_contains(head):
        match = AuditMatch.MATCHES
    else:
        own = journal.audit_head()
        if own is not None and own.log == head.log and not journal.audit_keeps(head):
            match = AuditMatch.NOT_KEPT
        elif (own is not None and own.log == head.log) or (
                anchor is not None and anchor.epoch == commit.epoch):
            match = AuditMatch.MISSING
        elif commit.host == host:
            match = AuditMatch.OTHER_LOG
        else:
            match = AuditMatch.OTHER_CLIENT
    return AuditEvidence(match, commit.seq, commit.epoch, commit.writer, commit.host, head)


def evidence_now(newest: Commit | None, at_open: AuditEvidence | None, journal: Journal,
                 host: str) -> AuditEvidence:
    """The same for an open pool: its own newest commit, or what was found when it was opened. A
    line that was missing then stays an alarm."""
    if newest is None or (at_open is not None and at_open.match is AuditMatch.MISSING):
        return at_open or AuditEvidence.none()
    return compare_audit(newest, journal, host=host, anchor=None)


def audit_advice(evidence: AuditEvidence, journal: Journal) -> list[str]:
    """What the user should know of the log, in the state of the pool."""
    failed = [f"Nothing is noted in the audit log: {journal.audit_failure}."
              ] if journal.audit_failure else []
    return [*evidence.advice, *failed]


def note_unwritable(journal: Journal, error: EcfsError) -> None:
    """A volume that was written to is read-only from now on."""
    journal.record(Event(
        EventKind.FENCED if isinstance(error, Fenced) else EventKind.READ_ONLY, str(error)))


def note_audit(evidence: AuditEvidence, journal: Journal) -> None:
    """An alarm is an event, which the log that goes on from here keeps."""
    if evidence.match is AuditMatch.MISSING and evidence.head is not None:
        own = journal.audit_head()
        journal.record(Event(
            EventKind.AUDIT_MISSING, evidence.text,
            expected=f"{evidence.head.count} {evidence.head.hash.hex()}",
            got=f"{own.count} {own.hash.hex()}" if own else "no log"))
