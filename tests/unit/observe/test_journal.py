import json
import logging
import threading
from pathlib import Path

import pytest

from ecfs.base.limits import (
    EVENTS_KEPT_MAX,
    LOG_LINES_PER_KIND_MAX,
    LOG_WINDOW_S,
    TARGETS_COUNTED_MAX,
)
from ecfs.base.units import NS_PER_S
from ecfs.observe import (
    AUDITED_KINDS,
    CRITICAL_KINDS,
    AuditLog,
    ErrorCounts,
    Event,
    EventKind,
    Journal,
    UnwritableAuditLog,
)


class HandClock:
    def __init__(self) -> None:
        self.now_ns = 0

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def journal(clock: HandClock, lines: Lines) -> Journal:
    logger = logging.Logger("test")
    logger.addHandler(lines)
    return Journal(clock, logger=logger)


def bad(target: bytes = b"t", kind: EventKind = EventKind.SHARD_BAD) -> Event:
    return Event(kind, "a shard failed its check", target=target, segment=255, offset=8192,
                 expected="aa", got="bb")


def test_counts_by_kind_and_target(journal: Journal) -> None:
    for kind in EventKind:
        journal.record(bad(b"a", kind))
    journal.record(bad(b"b"))
    journal.record(Event(EventKind.MOUNTED, "mounted"))
    assert journal.count(EventKind.SHARD_BAD) == 2
    assert journal.errors_of(b"a") == ErrorCounts(io=5, tag=4, label=4)
    assert journal.errors_of(b"b") == ErrorCounts(tag=1)
    assert journal.errors_of(b"c") == ErrorCounts()


def test_a_target_that_was_away_is_not_held_to_be_wrong(journal: Journal) -> None:
    journal.record(bad(b"a", EventKind.TARGET_STALE))
    assert journal.errors_of(b"a") == ErrorCounts()
    assert EventKind.TARGET_STALE in AUDITED_KINDS


def test_kinds_have_stable_ids() -> None:
    assert str(EventKind.SHARD_BAD) == "shard-bad"
    assert all(kind.value == kind.name.lower().replace("_", "-") for kind in EventKind)


def test_the_newest_events_are_kept(journal: Journal) -> None:
    for number in range(EVENTS_KEPT_MAX + 5):
        journal.record(Event(EventKind.CHECKPOINT, str(number)))
    assert [event.message for event in journal.recent(2)] == [
        str(EVENTS_KEPT_MAX + 3), str(EVENTS_KEPT_MAX + 4)]
    assert len(journal.recent(1 << 30)) == EVENTS_KEPT_MAX
    assert journal.recent(0) == []


def test_log_lines_tell_the_evidence(journal: Journal, lines: Lines) -> None:
    journal.record(bad(b"\x0a"))
    journal.record(Event(EventKind.MOUNTED, "here"))
    assert lines.lines == [
        (logging.WARNING, "shard-bad: a shard failed its check target=0a segment=ff offset=8192 "
                          "expected=aa got=bb"),
        (logging.INFO, "mounted: here")]


def test_a_flood_is_thinned_and_told(journal: Journal, lines: Lines, clock: HandClock) -> None:
    for _ in range(1000):
        journal.record(bad())
    journal.record(Event(EventKind.TARGET_AWAY, "another kind is not affected"))
    assert len(lines.lines) == LOG_LINES_PER_KIND_MAX + 1
    assert journal.count(EventKind.SHARD_BAD) == 1000
    clock.now_ns += int(LOG_WINDOW_S * NS_PER_S)
    journal.record(bad())
    journal.record(bad())
    left_out = 1000 - LOG_LINES_PER_KIND_MAX
    assert lines.lines[-2][1].endswith(f"({left_out} more like this left out)")
    assert "left out" not in lines.lines[-1][1]


def test_a_flood_of_one_target_hides_no_other(journal: Journal, lines: Lines) -> None:
    for _ in range(100):
        journal.record(bad(b"\x0a"))
    journal.record(bad(b"\x0b"))
    journal.record(Event(EventKind.SHARD_BAD, "of no target"))
    assert len(lines.lines) == LOG_LINES_PER_KIND_MAX + 2
    assert "target=0b" in lines.lines[-2][1]


def test_a_flood_of_ids_is_thinned_as_one_target(journal: Journal, lines: Lines) -> None:
    for number in range(TARGETS_COUNTED_MAX + 100):
        journal.record(bad(number.to_bytes(16, "big")))
    assert len(lines.lines) == TARGETS_COUNTED_MAX + LOG_LINES_PER_KIND_MAX


def test_acts_are_never_left_out(journal: Journal, lines: Lines) -> None:
    for _ in range(100):
        journal.record(Event(EventKind.ROLLBACK_ACCEPTED, "by hand"))
    assert len(lines.lines) == 100


def test_hostile_ids_do_not_fill_the_memory(journal: Journal) -> None:
    for number in range(TARGETS_COUNTED_MAX + 100):
        journal.record(bad(number.to_bytes(16, "big")))
    assert journal.errors_of(b"").tag == 100
    assert journal.errors_of((0).to_bytes(16, "big")).tag == 1
    assert journal.count(EventKind.SHARD_BAD) == TARGETS_COUNTED_MAX + 100


def test_threads_lose_no_count(journal: Journal) -> None:
    def record() -> None:
        for _ in range(500):
            journal.record(bad())

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.count(EventKind.SHARD_BAD) == 2000
    assert journal.errors_of(b"t").tag == 2000


def test_only_audited_kinds_reach_the_audit_log(tmp_path: Path, clock: HandClock) -> None:
    path = str(tmp_path / "audit")
    journal = Journal(clock, audit=AuditLog(path, clock))
    for kind in EventKind:
        journal.record(Event(kind, "x"))
    with open(path) as file:
        kinds = [json.loads(line)["kind"] for line in file]
    assert sorted(kinds) == sorted(AUDITED_KINDS)
    assert EventKind.CHECKPOINT not in AUDITED_KINDS
    assert EventKind.ROLLBACK_ACCEPTED in CRITICAL_KINDS
    assert AuditLog.verify(path) == len(kinds)


def test_the_first_failure_of_the_audit_log_is_told_to_somebody(
        tmp_path: Path, clock: HandClock) -> None:
    journal = Journal(clock, audit=UnwritableAuditLog(str(tmp_path / "audit"), "read-only disk"))
    told: list[str] = []
    journal.on_audit_failure = told.append
    for _ in range(3):
        journal.record(Event(EventKind.CLAIMED, "x"))
    assert (told, journal.audit_failed_count) == (["read-only disk"], 3)
    assert journal.audit_failure == "read-only disk"


def test_a_failing_audit_log_never_fails_the_event(
        tmp_path: Path, clock: HandClock, lines: Lines) -> None:
    audit = AuditLog(str(tmp_path / "audit"), clock)
    audit.close()
    logger = logging.Logger("test")
    logger.addHandler(lines)
    journal = Journal(clock, audit=audit, logger=logger)
    journal.record(Event(EventKind.CLAIMED, "x"))
    assert journal.audit_failed_count == 1
    assert [level for level, _ in lines.lines] == [logging.ERROR, logging.INFO]
