"""The audit log over several files, its durable head, and what is done behind its back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.base.errors import Bug, Damage
from ecfs.observe import (
    AuditError,
    AuditHead,
    AuditLog,
    Event,
    EventKind,
    Journal,
    UnwritableAuditLog,
    walk,
)
from ecfs.observe.auditchain import old_files
from tests.unit.observe.test_audit import FixedClock, event

QUIET = Event(EventKind.SHARD_BAD, "bad")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "audit.jsonl")


@pytest.fixture
def log(path: str) -> Iterator[AuditLog]:
    log = AuditLog(path, FixedClock())
    yield log
    log.close()


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecfs.observe.audit.AUDIT_FILE_LEN_MAX", 2000)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long a file was each time that it was synced."""
    lengths: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        lengths.append(os.fstat(fd).st_size)

    monkeypatch.setattr("os.fsync", fsync)
    return lengths


# -- rotation ------------------------------------------------------------------------------------

def test_the_chain_goes_on_over_files_and_what_is_kept_is_bounded(
        log: AuditLog, path: str, small_files: None) -> None:
    for number in range(100):
        log.append(event(str(number)), sync=False)
        found = list(walk(path))
        assert found[-1].seq == number + 1
        assert [line.seq for line in found] == list(range(found[0].seq, number + 2))
        assert len(old_files(path)) <= 7
    assert found[0].seq > 1
    assert sum(map(os.path.getsize, [*old_files(path), path])) < 8 * 3000
    assert {line.log for line in found} == {found[-1].log}


def test_a_log_that_cannot_be_written_is_read_all_the_same(
        log: AuditLog, path: str, small_files: None) -> None:
    reading = UnwritableAuditLog(path, "read-only disk")
    assert reading.head() is None
    for number in range(20):
        log.append(Event(EventKind.CLAIMED, f"{number}"))
        head = log.head()
        assert head is not None and reading.head() == head
        assert reading.contains(head) and reading.keeps(head)
    with pytest.raises(AuditError, match="read-only disk"):
        reading.append(Event(EventKind.CLAIMED, "x"))
    assert AuditLog.verify(path) == 20
    assert head is not None
    missing = UnwritableAuditLog(path + "/none/audit", "read-only disk")
    assert (missing.head(), missing.contains(head), missing.keeps(head)) == (None, False, True)


def test_writers_follow_each_others_rotation(log: AuditLog, path: str, small_files: None) -> None:
    other = AuditLog(path, FixedClock())
    for number in range(30):
        (log, other)[number % 2].append(event(str(number)))
    other.close()
    assert [line.record["message"] for line in walk(path)] == [str(n) for n in range(30)]


@pytest.mark.parametrize("crash", ["no new file", "empty new file"])
def test_a_crash_while_rotating(path: str, small_files: None, crash: str) -> None:
    log = AuditLog(path, FixedClock())
    while not old_files(path):
        log.append(event())
    log.close()
    count = AuditLog.verify(path)
    if crash == "no new file":
        os.unlink(path)
    assert AuditLog.verify(path) == count
    log = AuditLog(path, FixedClock())
    head = log.head()
    assert head is not None and head.count == count and log.contains(head)
    log.append(event())
    log.close()
    assert AuditLog.verify(path) == count + 1


@pytest.mark.parametrize("which", [0, 3, -1])
def test_a_file_that_was_taken_away_is_noticed(
        log: AuditLog, path: str, small_files: None, which: int) -> None:
    while len(old_files(path)) < 6:
        log.append(event(), sync=False)
    log.append(event())
    os.unlink(old_files(path)[which])
    with pytest.raises(Damage):
        AuditLog.verify(path)


def test_a_missing_beginning_is_noticed_while_fewer_files_than_are_kept_are_there(
        log: AuditLog, path: str) -> None:
    for _ in range(5):
        log.append(event())
    with open(path, "rb") as file:
        lines = file.readlines()
    Path(path).write_bytes(b"".join(lines[2:]))
    with pytest.raises(Damage, match="after number 0"):
        AuditLog.verify(path)


def test_another_log_in_the_middle_is_noticed(log: AuditLog, path: str, tmp_path: Path) -> None:
    for _ in range(4):
        log.append(event("this"))
    other_path = str(tmp_path / "other.jsonl")
    other = AuditLog(other_path, FixedClock())
    for _ in range(4):
        other.append(event("that"))
    other.close()
    ours, theirs = (Path(p).read_bytes().splitlines(keepends=True) for p in (path, other_path))
    Path(path).write_bytes(b"".join([*ours[:2], *theirs[2:]]))
    with pytest.raises(Damage, match="after number 2"):
        AuditLog.verify(path)


# -- behind the back of a writer -----------------------------------------------------------------

@pytest.mark.parametrize("deed", ["removed", "cut", "emptied", "put back"])
def test_what_is_taken_away_while_the_log_is_open_breaks_the_chain(
        log: AuditLog, path: str, deed: str) -> None:
    for _ in range(3):
        log.append(event())
    old = Path(path).read_bytes()
    for _ in range(3):
        log.append(event())
    if deed == "removed":
        os.unlink(path)
    elif deed == "put back":
        os.unlink(path)
        Path(path).write_bytes(old)
    else:
        os.truncate(path, len(old) if deed == "cut" else 0)
    log.append(event("after"))
    with pytest.raises(Damage):
        AuditLog.verify(path)
    assert b"after" in Path(path).read_bytes()


# -- the head ------------------------------------------------------------------------------------

def test_the_head_is_the_newest_line_and_durable(
        log: AuditLog, path: str, synced: list[int]) -> None:
    assert log.head() is None
    log.append(event())
    log.append(QUIET, sync=False)
    before = len(synced)
    head = log.head()
    assert len(synced) == before + 1 and synced[-1] == os.path.getsize(path)
    assert head is not None and head.count == 2
    lines = list(walk(path))
    assert (head.hash.hex(), head.log.hex()) == (lines[1].hash, lines[0].hash[:32])
    assert log.contains(head)


def test_a_head_without_new_lines_costs_no_system_call(
        log: AuditLog, synced: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(event())
    head = log.head()

    def forbidden(*_: object) -> None:
        raise AssertionError("a system call for nothing")

    count = len(synced)
    with monkeypatch.context() as patch:
        for call in ("fsync", "fstat", "lstat", "pread", "open"):
            patch.setattr(f"ecfs.observe.audit.os.{call}", forbidden)
        heads = {log.head() for _ in range(1000)}
    assert heads == {head}
    assert len(synced) == count


def test_every_head_survives_a_crash_at_any_length_that_was_synced(
        path: str, synced: list[int]) -> None:
    """What a crash leaves is at least what was synced last."""
    log = AuditLog(path, FixedClock())
    heads = []
    for number in range(12):
        log.append(event() if number % 5 == 0 else QUIET, sync=number % 5 == 0)
        if number % 3 == 0:
            head = log.head()
            assert head is not None
            heads.append((head, synced[-1]))
    log.close()
    whole = Path(path).read_bytes()
    for head, durable_len in heads:
        for length in (durable_len, min(durable_len + 30, len(whole))):
            Path(path).write_bytes(whole[:length])
            reopened = AuditLog(path, FixedClock())
            assert reopened.contains(head)
            reopened.append(event("after the crash"))
            assert reopened.contains(head)
            reopened.close()
            assert AuditLog.verify(path) >= head.count


def test_a_failed_sync_keeps_the_head_where_it_was(
        log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(event())
    head = log.head()
    log.append(QUIET, sync=False)

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        assert log.head() == head
    assert log.head() == head
    with pytest.raises(AuditError):
        log.append(event())


def test_a_head_that_cannot_be_is_a_bug() -> None:
    for log, count, hashed in ((b"", 1, bytes(32)), (bytes(16), 0, bytes(32)), (bytes(16), 1, b"")):
        with pytest.raises(Bug):
            AuditHead(log, count, hashed)


def test_a_journal_hands_out_the_head_and_names_the_pool(path: str) -> None:
    journal = Journal(FixedClock(), audit=AuditLog(path, FixedClock()))
    assert journal.audit_head() is None
    journal.record(event())
    journal.pool_id = b"p" * 16
    journal.record(QUIET)
    head = journal.audit_head()
    assert head is not None and head.count == 2 and journal.audit_contains(head)
    assert [line.record["pool"] for line in walk(path)] == [None, (b"p" * 16).hex()]
    journal.close()
    journal.record(event())
    assert journal.audit_head() is None and not journal.audit_contains(head)
    assert (journal.count(EventKind.CLAIMED), AuditLog.verify(path)) == (2, 2)
    assert journal.audit_failed_count == 0
