import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from ecfs.base.errors import Damage
from ecfs.observe import AuditError, AuditLog, Event, EventKind

WALL_NS = 1_700_000_000_123_456_789


class FixedClock:
    def wall_ns(self) -> int:
        return WALL_NS

    def monotonic_ns(self) -> int:
        return 0


def event(message: str = "hello") -> Event:
    return Event(EventKind.CLAIMED, message, target=b"\x01" * 16, segment=7, offset=4096,
                 expected="aa", got="bb")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "audit.log")


@pytest.fixture
def log(path: str) -> Iterator[AuditLog]:
    log = AuditLog(path, FixedClock())
    yield log
    log.close()


def lines_of(path: str) -> list[bytes]:
    with open(path, "rb") as file:
        return file.read().splitlines()


def test_lines_carry_the_event_and_form_a_chain(log: AuditLog, path: str) -> None:
    log.append(event("one"))
    log.append(event("two"), sync=False, left_out_count=3)
    first, second = (json.loads(line) for line in lines_of(path))
    assert first == {
        "seq": 1, "time": "2023-11-14T22:13:20.123456Z", "pool": None,
        "kind": "claimed", "message": "one",
        "target": "01" * 16, "segment": 7, "offset": 4096, "expected": "aa", "got": "bb",
        "previous": "0" * 64}
    assert (second["seq"], second["left_out"]) == (2, 3)
    assert second["previous"] == blake3(lines_of(path)[0]).hexdigest()
    assert AuditLog.verify(path) == 2


def test_the_file_is_private(log: AuditLog, path: str) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_an_empty_log_verifies(log: AuditLog, path: str) -> None:
    assert AuditLog.verify(path) == 0


def test_the_chain_goes_on_after_reopening(path: str) -> None:
    for number in range(5):
        log = AuditLog(path, FixedClock())
        log.append(event(str(number)))
        log.close()
    assert AuditLog.verify(path) == 5


def test_two_writers_share_one_chain(log: AuditLog, path: str) -> None:
    other = AuditLog(path, FixedClock())
    for _ in range(10):
        log.append(event())
        other.append(event())
    other.close()
    assert AuditLog.verify(path) == 20


def test_threads_share_one_chain(log: AuditLog, path: str) -> None:
    def append() -> None:
        for _ in range(20):
            log.append(event(), sync=False)

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditLog.verify(path) == 80


@pytest.mark.parametrize("tear", ["change", "drop", "swap", "insert", "cut inside", "junk at end"])
def test_tampering_is_found(log: AuditLog, path: str, tear: str) -> None:
    for number in range(6):
        log.append(event(str(number)))
    lines = lines_of(path)
    if tear == "change":
        lines[2] = lines[2].replace(b'"message":"2"', b'"message":"X"')
    elif tear == "drop":
        del lines[2]
    elif tear == "swap":
        lines[2], lines[3] = lines[3], lines[2]
    elif tear == "insert":
        lines.insert(3, lines[3])
    elif tear == "cut inside":
        lines[2] = lines[2][:20]
    else:
        lines.append(b"junk")
    with open(path, "wb") as file:
        file.write(b"\n".join(lines) + b"\n")
    with pytest.raises(Damage):
        AuditLog.verify(path)


def test_an_endless_line_is_refused_in_bounded_memory(path: str) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Damage):
        AuditLog.verify(path)


def test_a_torn_line_at_any_length_is_survived(path: str) -> None:
    log = AuditLog(path, FixedClock())
    log.append(event("kept"))
    kept_len = os.path.getsize(path)
    log.append(event("torn"))
    log.close()
    with open(path, "rb") as file:
        whole = file.read()
    for length in range(kept_len + 1, len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:length])
        assert AuditLog.verify(path) == 1
        log = AuditLog(path, FixedClock())
        log.append(event("after"))
        log.append(event("later"))
        log.close()
        assert AuditLog.verify(path) == 3, length
        told = json.loads(lines_of(path)[2])
        assert told["torn"] == blake3(whole[kept_len:length]).hexdigest()
        assert told["message"] == "after"


def test_the_first_line_may_be_torn(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b'{"seq":1,"ti')
    log = AuditLog(path, FixedClock())
    log.append(event())
    log.close()
    assert AuditLog.verify(path) == 1


def test_crash_after_crash(path: str) -> None:
    log = AuditLog(path, FixedClock())
    log.append(event())
    log.close()
    for number in range(8):
        size = os.path.getsize(path)
        log = AuditLog(path, FixedClock())
        log.append(event())
        log.close()
        os.truncate(path, size + 3 + 40 * number)
        assert AuditLog.verify(path) == 1
    log = AuditLog(path, FixedClock())
    log.append(event())
    log.append(event())
    log.close()
    assert AuditLog.verify(path) == 3


def test_long_and_odd_text_is_bounded(log: AuditLog, path: str) -> None:
    odd = "\U0001f600\udcff\n\"" * 10_000
    log.append(Event(EventKind.CLAIMED, odd, expected=odd, got=odd, target=b"x" * 10_000))
    log.append(event())
    assert AuditLog.verify(path) == 2


def test_a_planted_link_or_fifo_is_refused(tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "missing/log"):
        with pytest.raises(AuditError):
            AuditLog(str(tmp_path / name), FixedClock())


def test_errors_are_typed(path: str) -> None:
    log = AuditLog(path, FixedClock())
    log.close()
    with pytest.raises(AuditError):
        log.append(event())
    with pytest.raises(AuditError):
        AuditLog.verify(path + ".missing")
