"""Where events go: counts, the newest of them in memory, a log, the audit log."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable

from ecfs.base.limits import (
    EVENTS_KEPT_MAX,
    LOG_LINES_PER_KIND_MAX,
    LOG_WINDOW_S,
    TARGETS_COUNTED_MAX,
)
from ecfs.base.units import NS_PER_S
from ecfs.base.world import Clock
from ecfs.observe.audit import AuditHead, AuditLog
from ecfs.observe.auditchain import AuditError
from ecfs.observe.events import (
    AUDITED_KINDS,
    CRITICAL_KINDS,
    IO_KINDS,
    LABEL_KINDS,
    SEVERITIES,
    TAG_KINDS,
    UNTHINNED_KINDS,
    ErrorCounts,
    Event,
    EventKind,
    Severity,
)

_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING,
           Severity.ERROR: logging.ERROR, Severity.ALARM: logging.CRITICAL}


class _Thinning:
    """How many lines of one kind about one target were told in the present window, and how many
    left out."""

    __slots__ = ("began_ns", "left_out_count", "told_count")

    def __init__(self, now_ns: int) -> None:
        self.began_ns = now_ns
        self.told_count = 0
        self.left_out_count = 0


class Journal:
    """Records events from any thread. `record` never raises and never loses a count.

    Log and audit lines of one kind about one target are thinned to LOG_LINES_PER_KIND_MAX in
    LOG_WINDOW_S, so that nobody's faults hide another one's; the next line that is told says how
    many were left out. A critical kind is synced to the audit log within
    `record`, which may take milliseconds. An audit log that cannot be written is logged and counted
    in `audit_failed_count`; who must not go on without it calls `AuditLog.append` first.
    The first time, `on_audit_failure` is called with what is wrong, in whatever thread it was.
    `pool_id` goes into audit lines once it is known.
    """

    def __init__(self, clock: Clock, *, audit: AuditLog | None = None,
                 logger: logging.Logger | None = None) -> None:
        self.clock = clock
        self._audit = audit
        self._logger = logger
        self._lock = threading.Lock()
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT_MAX)
        self._counts: Counter[EventKind] = Counter()
        self._counts_of: dict[bytes, Counter[EventKind]] = {}
        self._thinnings: dict[tuple[EventKind, bytes | None], _Thinning] = {}
        self.audit_failed_count = 0
        self.audit_failure = ""
        self.on_audit_failure: Callable[[str], None] = lambda failure: None
        self.pool_id: bytes | None = None

    def record(self, event: Event) -> None:
        """Count the event, keep it, log it, and audit it if its kind asks for that."""
        with self._lock:
            self._kept.append(event)
            self._counts[event.kind] += 1
            target = None if event.target is None else self._counted_as(event.target)
            if target is not None:
                self._counts_of.setdefault(target, Counter())[event.kind] += 1
            left_out_count = self._admit(event.kind, target)
        if left_out_count is None:
            return
        audit = self._audit
        if audit is not None and event.kind in AUDITED_KINDS:
            self._write_audit(audit, event, left_out_count)
        if self._logger is not None:
            level = _LEVELS[SEVERITIES[event.kind]]
            more = f" ({left_out_count} more like this left out)" if left_out_count else ""
            self._logger.log(level, "%s%s", event.text(), more)

    def close(self) -> None:
        """Close the audit log. Events that still come are counted and logged, not audited."""
        audit, self._audit = self._audit, None
        if audit is not None:
            audit.close()

    def audit_head(self) -> AuditHead | None:
        """The durable head of the audit log, see `AuditLog.head`; None without a log."""
        audit = self._audit
        return None if audit is None else audit.head()

    def audit_contains(self, head: AuditHead) -> bool:
        """Whether the client's audit log has the line that `head` names; False without a log, or
        with one that cannot be read."""
        audit = self._audit
        try:
            return audit is not None and audit.contains(head)
        except AuditError as error:
            self._note_failure(error)
            return False

    def audit_keeps(self, head: AuditHead) -> bool:
        """Whether the audit log still keeps a line of that number; True when it cannot be told."""
        audit = self._audit
        try:
            return audit is None or audit.keeps(head)
        except AuditError as error:
            self._note_failure(error)
            return True

    def count(self, kind: EventKind) -> int:
        """How many events of a kind were recorded."""
        with self._lock:
            return self._counts[kind]

    def errors_of(self, target_id: bytes) -> ErrorCounts:
        """What is held against one target. Of more than TARGETS_COUNTED_MAX ids, the later ones
        share one count under the empty id."""
        with self._lock:
            counts = self._counts_of.get(target_id, Counter())
            return ErrorCounts(
                io=sum(counts[kind] for kind in IO_KINDS),
                tag=sum(counts[kind] for kind in TAG_KINDS),
                label=sum(counts[kind] for kind in LABEL_KINDS))

    def recent(self, n: int) -> list[Event]:
        """The newest `n` events, oldest first; at most EVENTS_KEPT_MAX are kept."""
        with self._lock:
            return list(self._kept)[-n:] if n > 0 else []

    def _counted_as(self, target: bytes) -> bytes:
        """The id under which it is counted, and its lines are: of too many, the empty one."""
        if target not in self._counts_of and len(self._counts_of) >= TARGETS_COUNTED_MAX:
            return b""
        return target

    def _admit(self, kind: EventKind, target: bytes | None) -> int | None:
        """How many were left out before this one, or None if it is to be left out itself."""
        if kind in UNTHINNED_KINDS:
            return 0
        now_ns = self.clock.monotonic_ns()
        thinning = self._thinnings.setdefault((kind, target), _Thinning(now_ns))
        if now_ns - thinning.began_ns >= LOG_WINDOW_S * NS_PER_S:
            thinning.began_ns, thinning.told_count = now_ns, 0
        if thinning.told_count >= LOG_LINES_PER_KIND_MAX:
            thinning.left_out_count += 1
            return None
        thinning.told_count += 1
        left_out_count, thinning.left_out_count = thinning.left_out_count, 0
        return left_out_count

    def _write_audit(self, audit: AuditLog, event: Event, left_out_count: int) -> None:
        try:
            audit.append(event, sync=event.kind in CRITICAL_KINDS, left_out_count=left_out_count,
                         pool=self.pool_id)
        except AuditError as error:
            self._note_failure(error)

    def _note_failure(self, error: AuditError) -> None:
        with self._lock:
            self.audit_failed_count += 1
            self.audit_failure = str(error)
            is_first = self.audit_failed_count == 1
        if self._logger is not None:
            self._logger.error("%s", error)
        if is_first:
            self.on_audit_failure(str(error))
