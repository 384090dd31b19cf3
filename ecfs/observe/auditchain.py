"""Reading an audit log: its files in order, its lines, and whether their chain holds."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from ecfs.base.errors import Damage, EcfsError
from ecfs.base.limits import AUDIT_FILES_KEPT, AUDIT_LINE_LEN_MAX

NO_LINE_HASH = "0" * 64
LOG_ID_DIGITS = 32
_JUNK_LEN_MAX = 3 * AUDIT_LINE_LEN_MAX
_READ_LEN = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
_LOG_ID = re.compile(r"[0-9a-f]{32}")


class AuditError(EcfsError):
    """The audit log cannot be read or written."""

    id = "E-AUDIT"


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: number and hash of the last good line, and the log's id."""

    seq: int = 0
    hash: str = NO_LINE_HASH
    log: str = ""

    def after(self, line: bytes) -> "Link":
        """The chain with one more line (without its newline)."""
        hashed = hash_of(line)
        return Link(self.seq + 1, hashed, self.log or hashed[:LOG_ID_DIGITS])


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line whose place in the chain is proven, as far as the files reach back. `broken_before`:
    it does not follow the line before; what comes after it is chained to it."""

    seq: int
    hash: str
    log: str
    record: dict[str, Any]
    broken_before: bool = False


def old_files(path: str) -> list[str]:
    """The files that a log has filled, oldest first. AuditError when the folder is unreadable."""
    folder, name = os.path.split(path)
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{16}")
    try:
        names = os.listdir(folder or ".")
    except OSError as error:
        raise AuditError(f"cannot read the audit log {path}: {error.strerror}") from error
    return [os.path.join(folder, found) for found in sorted(names) if pattern.fullmatch(found)]


def _raise(damage: Damage) -> None:
    raise damage


def walk(path: str, on_break: Callable[[Damage], None] = _raise) -> Iterator[AuditLine]:
    """The lines of a log, oldest first. `on_break` gets a Damage at each line that breaks the
    chain; if it returns, the lines from there on follow. Raises AuditError when a file cannot be
    read.

    A log may begin with a number above 1 only where as many old files are there as are ever kept.
    A torn last line, as a crash leaves it, is none and breaks nothing.
    """
    files = old_files(path)
    link = before = _base(files)
    last: AuditLine | None = None
    last_raw = junk = b""
    # A crash in the middle of a rotation leaves old files only.
    present = [*files, path] if not files or os.path.lexists(path) else files
    for line in _lines(present):
        record = parsed(line) if line.endswith(b"\n") else None
        torn = record.get("torn") if record is not None else None
        if torn is not None and torn == hash_of((junk or last_raw).removesuffix(b"\n")):
            if junk:
                junk = b""
            else:
                # What looked like the last line had lost its newline: it was torn after all.
                link, last = before, None
        if record is None or (junk and torn is None):
            junk += line
            if len(junk) > _JUNK_LEN_MAX:
                break
            continue
        broken = bool(junk) or not _follows(record, link)
        if broken:
            on_break(_broken(path, link))
            junk, link = b"", _claimed_base(record)
        if last is not None:
            yield last
        before, last_raw = link, line
        link = link.after(line.removesuffix(b"\n"))
        last = AuditLine(link.seq, link.hash, link.log, record, broken)
    if last is not None:
        yield last
    if junk.endswith(b"\n") or len(junk) > _JUNK_LEN_MAX:
        on_break(_broken(path, link))


def find_line(path: str, wanted: str) -> bool:
    """Whether a line with this hash is in the log, newest file first; the chain is not judged.
    AuditError when a file cannot be read."""
    for file in reversed([*old_files(path), path]):
        try:
            length = os.path.getsize(file)
        except FileNotFoundError:
            continue
        # The newest lines first: what is asked for is nearly always among them.
        for start in (max(0, length - _READ_LEN), 0):
            if any(hash_of(line.removesuffix(b"\n")) == wanted
                   for line in _lines([file], start=start)):
                return True
            if not start:
                break
    return False


def first_kept(path: str) -> int:
    """The number of the oldest line that is kept, as it says itself; 0 where none is. AuditError
    when a file cannot be read."""
    files = [file for file in (*old_files(path), path) if os.path.lexists(file)]
    seq = (parsed(next(_lines(files), b"")) or {}).get("seq")
    return seq if isinstance(seq, int) else 0


def last_link(tail: bytes) -> tuple[Link, bytes]:
    """The last line that parses, and what a crash left behind it. Only `walk` judges the chain; a
    writer goes on from what is there."""
    end = len(tail)
    while (newline := tail.rfind(b"\n", 0, end)) >= 0:
        line = tail[tail.rfind(b"\n", 0, newline) + 1:newline]
        record = parsed(line)
        if record is not None and isinstance(record.get("seq"), int) and record["seq"] > 0:
            log = record.get("log")
            if not (isinstance(log, str) and _LOG_ID.fullmatch(log)):
                log = hash_of(line)[:LOG_ID_DIGITS]
            return Link(record["seq"], hash_of(line), log), tail[newline + 1:]
        end = newline
    return Link(), tail


def parsed(line: bytes) -> dict[str, Any] | None:
    """The object in a line, None when there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def hash_of(line: bytes) -> str:
    """What the next line names as `previous`."""
    return blake3(line).hexdigest()


def _base(files: list[str]) -> Link:
    """What the oldest line that is kept goes on from."""
    if len(files) < AUDIT_FILES_KEPT:
        return Link()
    return _claimed_base(parsed(next(_lines(files), b"")) or {})


def _claimed_base(record: dict[str, Any]) -> Link:
    """What a line says that it goes on from."""
    seq, previous, log = record.get("seq"), record.get("previous"), record.get("log")
    if isinstance(seq, int) and seq > 1 and isinstance(previous, str) and isinstance(log, str) and (
            _HASH.fullmatch(previous) and _LOG_ID.fullmatch(log)):
        return Link(seq - 1, previous, log)
    return Link()


def _lines(paths: list[str], *, start: int = 0) -> Iterator[bytes]:
    for path in paths:
        try:
            with open(path, "rb") as file:
                file.seek(start)
                while line := file.readline(AUDIT_LINE_LEN_MAX):
                    yield line
        except OSError as error:
            raise AuditError(f"cannot read the audit log {path}: {error.strerror}") from error


def _follows(record: dict[str, Any], link: Link) -> bool:
    return (record.get("seq") == link.seq + 1 and record.get("previous") == link.hash
            and record.get("log", "") == link.log)


def _broken(path: str, link: Link) -> Damage:
    return Damage(f"{path}: the line after number {link.seq} is not what was written there")
