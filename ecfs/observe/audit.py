"""The audit log: JSON lines, each with the hash of the line before it.

A line is an object in ASCII, at most AUDIT_LINE_LEN_MAX bytes long with its newline: `seq` (from
1), `time` (RFC 3339), the event's fields, `left_out` (events of its kind not written before it),
`previous` (BLAKE3 of the line before, without newline; 64 zeros at first) and, where a crash left a
torn line behind, `torn`: the BLAKE3 of what it left. So no line can be changed, taken from the
middle or put elsewhere. What is cut off the end, or changed in the last line, goes unnoticed: the
file alone cannot tell.
"""

import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from blake3 import blake3

from ecfs.base.errors import Damage, EcfsError
from ecfs.base.limits import AUDIT_LINE_LEN_MAX, AUDIT_TEXT_LEN_MAX
from ecfs.base.world import Clock
from ecfs.observe.events import Event

NO_LINE_HASH = "0" * 64
_TAIL_LEN = 3 * AUDIT_LINE_LEN_MAX


class AuditError(EcfsError):
    """The audit log cannot be read or written."""

    id = "E-AUDIT"


@dataclass(frozen=True, slots=True)
class _Link:
    """Where the chain stands: the last good line."""

    seq: int = 0
    hash: str = NO_LINE_HASH


class AuditLog:
    """Appends to one file. Thread-safe, and several processes may share the file: each line is
    written under flock(2) after a look at what others appended."""

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._end = 0
        self._link = _Link()
        self._torn: str | None = None
        self._torn_ended = False
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise AuditError(f"cannot open the audit log {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise AuditError(f"the audit log {path} is not a regular file")

    def append(self, event: Event, *, sync: bool = True, left_out_count: int = 0) -> None:
        """Write one line; with `sync` it is durable on return. `left_out_count` events of its kind
        were not written before it. Raises AuditError."""
        with self._lock:
            if self._fd < 0:
                raise AuditError(f"the audit log {self.path} is closed")
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                try:
                    self._catch_up()
                    self._write_line(self._line(event, left_out_count))
                    if sync:
                        os.fsync(self._fd)
                finally:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
            except OSError as error:
                raise AuditError(f"cannot write the audit log {self.path}: {error}") from error

    def close(self) -> None:
        """Close the file. Appending afterwards raises AuditError."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    @staticmethod
    def verify(path: str) -> int:
        """The number of lines whose chain holds. Raises Damage at the first that breaks it; a torn
        last line, as a crash leaves it, is none and breaks nothing."""
        link = before = _Link()
        last = junk = b""
        for line in _lines(path):
            record = _parsed(line) if line.endswith(b"\n") else None
            torn = record.get("torn") if record is not None else None
            if torn is not None and torn == _hash((junk or last).removesuffix(b"\n")):
                link, junk = (link, b"") if junk else (before, b"")
            if record is None or (junk and torn is None):
                junk += line
                if len(junk) > _TAIL_LEN:
                    break
            elif junk or not _follows(record, link):
                raise _broken(path, link)
            else:
                before, last = link, line
                link = _Link(link.seq + 1, _hash(line.removesuffix(b"\n")))
        if junk.endswith(b"\n") or len(junk) > _TAIL_LEN:
            raise _broken(path, link)
        return link.seq

    def _catch_up(self) -> None:
        """Find the last good line if the file is not as this object left it."""
        length = os.fstat(self._fd).st_size
        if length == self._end:
            return
        start = max(0, length - _TAIL_LEN)
        tail = os.pread(self._fd, length - start, start)
        self._link, junk = _last_link(tail)
        self._torn = _hash(junk.removesuffix(b"\n")) if junk else None
        self._torn_ended = junk.endswith(b"\n")
        self._end = length

    def _line(self, event: Event, left_out_count: int) -> bytes:
        wall_us = self._clock.wall_ns() // 1000
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall_us)
        record: dict[str, Any] = {
            "seq": self._link.seq + 1,
            "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "kind": str(event.kind),
            "message": event.message[:AUDIT_TEXT_LEN_MAX],
            "target": None if event.target is None else event.target[:64].hex(),
            "segment": event.segment,
            "offset": event.offset,
            "expected": event.expected[:AUDIT_TEXT_LEN_MAX],
            "got": event.got[:AUDIT_TEXT_LEN_MAX],
            "previous": self._link.hash,
        }
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
        self._link = _Link(self._link.seq + 1, _hash(line))
        self._torn = None


def _lines(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while line := file.readline(AUDIT_LINE_LEN_MAX):
                yield line
    except OSError as error:
        raise AuditError(f"cannot read the audit log {path}: {error.strerror}") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _follows(record: dict[str, Any], link: _Link) -> bool:
    return record.get("seq") == link.seq + 1 and record.get("previous") == link.hash


def _last_link(tail: bytes) -> tuple[_Link, bytes]:
    """The last line that parses, and what a crash left behind it. Only `verify` judges the chain; a
    writer goes on from what is there."""
    end = len(tail)
    while (newline := tail.rfind(b"\n", 0, end)) >= 0:
        line = tail[tail.rfind(b"\n", 0, newline) + 1:newline]
        record = _parsed(line)
        if record is not None and isinstance(record.get("seq"), int):
            return _Link(record["seq"], _hash(line)), tail[newline + 1:]
        end = newline
    return _Link(), tail


def _broken(path: str, link: _Link) -> Damage:
    return Damage(f"{path}: the line after number {link.seq} is not what was written there")


def _hash(line: bytes) -> str:
    return blake3(line).hexdigest()
