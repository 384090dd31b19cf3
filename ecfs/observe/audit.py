"""The audit log: JSON lines, each with the hash of the line before it.

A line is an object in ASCII, at most AUDIT_LINE_LEN_MAX bytes long with its newline: `seq` (from
1), `time` (RFC 3339), `pool` (id in hex, where one is known), the event's fields, `left_out`
(events of its kind not written before it), `log` (first half of the hash of line 1, in every line
but that), `previous` (BLAKE3 of the line before, without newline; 64 zeros at first) and, where a
crash left a torn line behind, `torn`: the BLAKE3 of what it left. So no line can be changed, taken
from the middle or put elsewhere. What is cut off the end the file alone cannot tell: the head of
the chain (`AuditLog.head`) is in every commit record, see `ecfs.formats.commit`.

A file that has grown past AUDIT_FILE_LEN_MAX becomes `<path>.<number of its last line, 16 hex
digits>`, and the chain goes on in a new one; the newest AUDIT_FILES_KEPT of those stay.
"""

import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ecfs.base.errors import Bug
from ecfs.base.limits import (
    AUDIT_FILE_LEN_MAX,
    AUDIT_FILES_KEPT,
    AUDIT_LINE_LEN_MAX,
    AUDIT_TEXT_LEN_MAX,
)
from ecfs.base.world import Clock
from ecfs.observe.auditchain import (
    AuditError,
    Link,
    find_line,
    first_kept,
    hash_of,
    last_link,
    old_files,
    walk,
)
from ecfs.observe.events import Event

AUDIT_LOG_NAME = "audit.jsonl"
AUDIT_LOG_ID_LEN = 16
AUDIT_HASH_LEN = 32
_TAIL_LEN = 3 * AUDIT_LINE_LEN_MAX
_REOPEN_COUNT_MAX = 16


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where a log stands: its id, the number of its newest line, and that line's hash."""

    log: bytes
    count: int
    hash: bytes

    def __post_init__(self) -> None:
        if len(self.log) != AUDIT_LOG_ID_LEN or len(self.hash) != AUDIT_HASH_LEN or self.count < 1:
            raise Bug("a head of an audit log that cannot be")


class AuditLog:
    """Appends to one file. Thread-safe, and several processes may share the file: each line is
    written under flock(2) after a look at what others appended.

    One lock, held over everything. A line that was lost behind our back is not passed over: the
    chain goes on from the line that this object knows, and `verify` finds the break.
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._end = 0
        self._link = Link()
        self._durable = Link()
        self._sync_failed = False
        self._torn: str | None = None
        self._torn_ended = False
        self._fd = self._open()

    def append(self, event: Event, *, sync: bool = True, left_out_count: int = 0,
               pool: bytes | None = None) -> None:
        """Write one line; with `sync` it is durable on return. `left_out_count` events of its kind
        were not written before it; `pool` is the id of the pool that it is about. AuditError."""
        with self._lock:
            if self._fd < 0:
                raise AuditError(f"the audit log {self.path} is closed")
            try:
                with self._locked():
                    self._catch_up()
                    self._write_line(self._line(event, left_out_count, pool))
                    if sync:
                        self._sync()
                    if self._end >= AUDIT_FILE_LEN_MAX:
                        self._rotate()
            except OSError as error:
                raise AuditError(f"cannot write the audit log {self.path}: {error}") from error

    def head(self) -> AuditHead | None:
        """The newest line that is durable; None when there is none. Lines that are not durable yet
        are synced first: without new lines this makes no system call. When syncing fails, the head
        stays behind for good: a sync that failed once proves nothing afterwards."""
        with self._lock:
            try:
                if self._fd >= 0 and not self._link.seq:
                    with self._locked():
                        self._catch_up()
                if self._fd >= 0 and self._link.seq > self._durable.seq and not self._sync_failed:
                    self._sync()
            except (OSError, AuditError):
                self._sync_failed = True
            return _head_of(self._durable)

    def contains(self, head: AuditHead) -> bool:
        """Whether the log, as it is on disk now, has the line that `head` names. AuditError."""
        return find_line(self.path, head.hash.hex())

    def keeps(self, head: AuditHead) -> bool:
        """Whether a line of that number is still kept: old files go in time. AuditError."""
        return head.count >= first_kept(self.path)

    def close(self) -> None:
        """Close the file. Appending afterwards raises AuditError."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    @staticmethod
    def verify(path: str) -> int:
        """The number of the last line of a chain that holds. Raises Damage at the first line that
        breaks it; a torn last line, as a crash leaves it, is none and breaks nothing."""
        count = 0
        for line in walk(path):
            count = line.seq
        return count

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise AuditError(f"cannot open the audit log {self.path}: {error.strerror}") from error
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise AuditError(f"the audit log {self.path} is not a regular file")
        if not info.st_size:
            _sync_folder(os.path.dirname(self.path) or ".")
        return fd

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock on the file that has the log's name now: another process may have rotated."""
        for _ in range(_REOPEN_COUNT_MAX):
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if self._is_current():
                break
            os.close(self._fd)
            self._fd = -1
            self._fd = self._open()
            self._end = -1
        else:
            raise OSError("the file is exchanged again and again")
        fd = self._fd
        try:
            yield
        finally:
            if self._fd == fd:
                fcntl.flock(fd, fcntl.LOCK_UN)

    def _is_current(self) -> bool:
        try:
            found, ours = os.lstat(self.path), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _catch_up(self) -> None:
        """Find the last good line if the file is not as this object left it."""
        length = os.fstat(self._fd).st_size
        if length == self._end and self._link.seq:
            return
        start = max(0, length - _TAIL_LEN)
        tail = os.pread(self._fd, length - start, start)
        found, junk = last_link(tail)
        if not found.seq:
            found = _last_of_old_files(self.path)
        self._torn = hash_of(junk.removesuffix(b"\n")) if junk else None
        self._torn_ended = junk.endswith(b"\n")
        self._end = length
        if found.seq >= self._link.seq:
            self._link = found

    def _line(self, event: Event, left_out_count: int, pool: bytes | None) -> bytes:
        wall_us = self._clock.wall_ns() // 1000
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall_us)
        record: dict[str, Any] = {
            "seq": self._link.seq + 1,
            "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "pool": None if pool is None else pool[:AUDIT_LOG_ID_LEN].hex(),
            "kind": str(event.kind),
            "message": event.message[:AUDIT_TEXT_LEN_MAX],
            "target": None if event.target is None else event.target[:64].hex(),
            "segment": event.segment,
            "offset": event.offset,
            "expected": event.expected[:AUDIT_TEXT_LEN_MAX],
            "got": event.got[:AUDIT_TEXT_LEN_MAX],
            "previous": self._link.hash,
        }
        if self._link.log:
            record["log"] = self._link.log
        if left_out_count:
            record["left_out"] = left_out_count
        if self._torn is not None:
            record["torn"] = self._torn
        return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii")

    def _write_line(self, line: bytes) -> None:
        data = (b"\n" if self._torn is not None and not self._torn_ended else b"") + line + b"\n"
        if os.write(self._fd, data) != len(data):
            raise OSError("short write")
        self._end += len(data)
        self._link = self._link.after(line)
        self._torn = None

    def _sync(self) -> None:
        if self._sync_failed:
            raise OSError("an earlier sync failed")
        try:
            os.fsync(self._fd)
        except OSError:
            self._sync_failed = True
            raise
        self._durable = self._link

    def _rotate(self) -> None:
        """Give the file, which ends with a whole line, its old name and begin another. What a crash
        leaves in between is a log without a current file, which the next append makes."""
        self._sync()
        os.rename(self.path, f"{self.path}.{self._link.seq:016x}")
        fresh = self._open()
        os.close(self._fd)
        self._fd, self._end = fresh, 0
        for path in old_files(self.path)[:-AUDIT_FILES_KEPT]:
            os.unlink(path)


class UnwritableAuditLog(AuditLog):
    """A log that cannot be written, on a read-only disk say: it is read as any other, and each line
    is refused with the reason."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self._reason = reason

    def append(self, event: Event, *, sync: bool = True, left_out_count: int = 0,
               pool: bytes | None = None) -> None:
        """AuditError."""
        raise AuditError(self._reason)

    def head(self) -> AuditHead | None:
        """The newest line; None when there is none, or it cannot be read."""
        try:
            return _head_of(_last_of(self.path))
        except (OSError, AuditError):
            return None

    def contains(self, head: AuditHead) -> bool:
        """See AuditLog; a log whose folder could not even be made has no line."""
        return self._is_begun() and super().contains(head)

    def keeps(self, head: AuditHead) -> bool:
        """See AuditLog."""
        return not self._is_begun() or super().keeps(head)

    def close(self) -> None:
        """Nothing is open."""

    def _is_begun(self) -> bool:
        return os.path.isdir(os.path.dirname(self.path) or ".")


def _head_of(link: Link) -> AuditHead | None:
    if not link.seq:
        return None
    return AuditHead(bytes.fromhex(link.log), link.seq, bytes.fromhex(link.hash))


def _last_of(path: str) -> Link:
    """Where a log stands that nobody has opened."""
    link = _last_in(path) if os.path.lexists(path) else Link()
    return link if link.seq else _last_of_old_files(path)


def _last_of_old_files(path: str) -> Link:
    """Where a log stands whose current file has no line yet."""
    for old in reversed(old_files(path)):
        return _last_in(old)
    return Link()


def _last_in(path: str) -> Link:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_LEN))
        return last_link(file.read(_TAIL_LEN))[0]


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
