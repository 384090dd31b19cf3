"""Reads that must not wait: what comes in a moment is asked for again, for as long as that pays."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ecfs.base.patience import Patience
from ecfs.base.units import NS_PER_US
from ecfs.targets.reading import PATIENT_LEN_MAX, READ_WINDOW_NS_MAX, ReadingNow

CONTENT = bytes(range(256)) * 1024


class SlowDisk:
    """A clock that goes on by a microsecond at each look; `preadv` that refuses what was not asked
    for `latency_ns` ago."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, latency_ns: int) -> None:
        self.now_ns = 0
        self.latency_ns = latency_ns
        self.asked_count = 0
        self._begun_ns: dict[int, int] = {}
        self._preadv: Callable[..., int] = os.preadv
        monkeypatch.setattr("ecfs.targets.reading.os.preadv", self._read)

    def monotonic_ns(self) -> int:
        self.now_ns += NS_PER_US
        return self.now_ns

    def wall_ns(self) -> int:
        raise NotImplementedError

    def _read(self, fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        self.asked_count += 1
        if self.now_ns - self._begun_ns.setdefault(offset, self.now_ns) < self.latency_ns:
            raise BlockingIOError(errno.EAGAIN, "not there yet")
        return self._preadv(fd, buffers, offset)


@pytest.fixture
def fd(tmp_path: Path) -> int:
    (tmp_path / "column").write_bytes(CONTENT)
    return os.open(tmp_path / "column", os.O_RDONLY)


def reading(disk: SlowDisk) -> ReadingNow:
    patience = Patience(disk, cores_count=2, window_ns_max=READ_WINDOW_NS_MAX)
    return ReadingNow(is_memory=False, patience=patience)


def test_what_comes_in_a_moment_is_taken(monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    disk = SlowDisk(monkeypatch, READ_WINDOW_NS_MAX // 2)
    now = reading(disk)
    for offset in (5, 40_000):
        began_ns = disk.now_ns
        assert now.read(fd, offset, 16_400) == CONTENT[offset : offset + 16_400]
        assert disk.now_ns - began_ns < READ_WINDOW_NS_MAX * 2 // 3


@pytest.mark.parametrize("windows", [1.5, 10])
def test_a_slow_disk_costs_little_after_a_while(monkeypatch: pytest.MonkeyPatch, fd: int,
                                                windows: float) -> None:
    disk = SlowDisk(monkeypatch, int(windows * READ_WINDOW_NS_MAX))
    now = reading(disk)
    spent = []
    for offset in range(10):
        began_ns = disk.now_ns
        assert now.read(fd, offset, 100) is None
        spent.append(disk.now_ns - began_ns)
        # A lane gets it no sooner.
        disk.now_ns = began_ns + disk.latency_ns
        now.waited(100)
    assert spent == sorted(spent, reverse=True)
    assert spent[0] >= READ_WINDOW_NS_MAX > 10 * spent[-1]


@pytest.mark.parametrize(("lane_ns", "long"), [(READ_WINDOW_NS_MAX // 2, True),
                                               (READ_WINDOW_NS_MAX, False)])
def test_a_disk_that_got_fast_is_noticed_by_what_the_lanes_read(
        monkeypatch: pytest.MonkeyPatch, fd: int, lane_ns: int, *, long: bool) -> None:
    disk = SlowDisk(monkeypatch, 10 * READ_WINDOW_NS_MAX)
    now = reading(disk)
    for offset in range(10):
        assert now.read(fd, offset, 100) is None
    disk.latency_ns = READ_WINDOW_NS_MAX // 2
    assert now.read(fd, 100, 100) is None
    disk.now_ns += lane_ns
    now.waited(PATIENT_LEN_MAX + 1)
    assert now.read(fd, 200, 100) is None, "a long read tells nothing of short ones"
    disk.now_ns += lane_ns
    now.waited(100)
    assert (now.read(fd, 300, 100) is not None) == long


def test_who_looks_again_before_he_waits_asks_once(monkeypatch: pytest.MonkeyPatch,
                                                  fd: int) -> None:
    disk = SlowDisk(monkeypatch, 10 * READ_WINDOW_NS_MAX)
    now = reading(disk)
    assert now.read(fd, 500, 100) is None
    for _ in range(2):
        asked = disk.asked_count
        assert now.read(fd, 500, 100) is None
        assert disk.asked_count == asked + 1
    # Of something else he is patient, and once that was given up, of the first again.
    for offset in (600, 500):
        asked = disk.asked_count
        assert now.read(fd, offset, 100) is None
        assert disk.asked_count > asked + 2
    disk.now_ns += disk.latency_ns
    assert now.read(fd, 500, 100) == CONTENT[500:600]


def test_long_reads_are_asked_for_once(monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    disk = SlowDisk(monkeypatch, 2 * NS_PER_US)
    now = reading(disk)
    assert now.read(fd, 0, PATIENT_LEN_MAX + 1) is None
    assert disk.asked_count == 1
    assert now.read(fd, 1, PATIENT_LEN_MAX) == CONTENT[1 : PATIENT_LEN_MAX + 1]
    assert disk.asked_count > 2


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_cannot_promise_is_asked_once(
        monkeypatch: pytest.MonkeyPatch, fd: int, number: int) -> None:
    disk = SlowDisk(monkeypatch, 0)
    now = reading(disk)

    def refuse(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        disk.asked_count += 1
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ecfs.targets.reading.os.preadv", refuse)
    assert now.read(fd, 0, 100) is None
    assert not now.is_offered
    assert disk.asked_count == 1


def test_without_patience_there_is_one_question(monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    disk = SlowDisk(monkeypatch, 2 * NS_PER_US)
    now = ReadingNow(is_memory=False, patience=None)
    assert now.read(fd, 0, 100) is None
    now.waited(100)
    assert disk.asked_count == 1


def test_what_is_really_on_a_disk_comes(tmp_path: Path) -> None:
    """On this machine's own disk and clock: a page that is not in memory is fetched by asking."""
    from ecfs.base.world import SystemClock

    path = tmp_path / "column"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        patience = Patience(SystemClock(), cores_count=2, window_ns_max=10**10)
        now = ReadingNow(is_memory=False, patience=patience)
        found = now.read(fd, 4096, 16_400)
        assert found == CONTENT[4096:20_496] or not now.is_offered
    finally:
        os.close(fd)
