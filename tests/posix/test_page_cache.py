"""What a descriptor for nothing but writing writes, others see in the kernel's page cache."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ecfs.targets.kernel_aio import _EVENT, _IOCB, AioQueue
from ecfs.testing.mounted_pool import MountedPool, mounted_pool

BLOCK = 4096
QUARTER = BLOCK // 4
LINE = b"." * 99 + b"\n"
GROWING_S = 2.0
RECORD_LEN = 10_240
CREATE = os.O_WRONLY | os.O_CREAT


class WritingQueue(AioQueue):
    """Writes by the kernel's asynchronous I/O."""

    def pwrite(self, fd: int, pieces: list[tuple[int, bytes]], rw_flags: int = 0) -> list[int]:
        """All `(offset, bytes)` at the same time; the result of each."""
        for number, (offset, content) in enumerate(pieces):
            address = ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value
            _IOCB.pack_into(self._calls, number * _IOCB.size, number, 0, rw_flags, 1, 0, fd,
                            address, len(content), offset, 0, 0, 0)
        results = [0] * len(pieces)
        begun = self._call(self._submit, self._context, ctypes.c_long(len(pieces)), self._places)
        while begun:
            count = self._call(self._getevents, self._context, ctypes.c_long(1),
                               ctypes.c_long(begun), self._events, None)
            for at in range(count):
                number, _, result, _ = _EVENT.unpack_from(self._events, at * _EVENT.size)
                results[number] = result
            begun -= count
        return results


def test_who_reads_what_grows_reads_no_zeros(root: Path) -> None:
    """Two append through the descriptor that made the file; others read below its size."""
    path = root / "f"
    writing = os.open(path, CREATE | os.O_APPEND)
    with _others([lambda: os.write(writing, LINE)] * 2 + [lambda: os.stat(path).st_size]):
        reading = os.open(path, os.O_RDONLY)
        at = 0
        until_s = time.monotonic() + GROWING_S
        while time.monotonic() < until_s:
            got = os.pread(reading, 1 << 20, at)
            assert b"\0" not in got, f"zeros at {at + got.index(0)} of {os.fstat(reading).st_size}"
            at += len(got) // len(LINE) * len(LINE)
    content = os.pread(reading, at, 0)
    assert at > 10 * BLOCK
    assert content == LINE * (at // len(LINE))
    os.close(reading)
    os.close(writing)


def test_what_is_written_outlives_stores_beside_it(root: Path) -> None:
    """Of one page a quarter is written through the descriptor that made the file, and the others
    are stored into by somebody else's mapping."""
    path = root / "f"
    writing = os.open(path, CREATE)
    os.write(writing, bytes(BLOCK))
    reading = os.open(path, os.O_RDWR)
    with mmap.mmap(reading, BLOCK) as mapped, _others([lambda: _store(mapped)] * 2):
        until_s = time.monotonic() + GROWING_S
        number = 0
        while time.monotonic() < until_s:
            number = number % 255 + 1
            wanted = bytes([number]) * QUARTER
            assert os.pwrite(writing, wanted, 0) == QUARTER
            assert os.pread(reading, QUARTER, 0) == wanted
            assert mapped[:QUARTER] == wanted
    os.fsync(reading)
    assert path.read_bytes()[:QUARTER] == wanted
    os.close(reading)
    os.close(writing)


def _store(mapped: mmap.mmap) -> None:
    mapped[QUARTER:] = os.urandom(1) * (BLOCK - QUARTER)
    mapped.flush()


@contextlib.contextmanager
def _others(works: Sequence[Callable[[], object]]) -> Iterator[None]:
    """Processes which do that over and over meanwhile, each one thing."""
    pids = []
    for work in works:
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                while True:
                    work()
            os._exit(1)
        pids.append(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status), "it did so to the end"


def test_other_descriptors_and_mappings_agree(root: Path) -> None:
    path = root / "f"
    writing = os.open(path, CREATE)
    os.write(writing, b"a" * 3 * BLOCK)
    with path.open("r+b") as other, mmap.mmap(other.fileno(), 3 * BLOCK) as mapped:
        for number in range(50):
            mapped[BLOCK + number] = ord("m")
            os.pwrite(writing, b"w", BLOCK + 100 + number)
            os.pwrite(other.fileno(), b"o", BLOCK + 200 + number)
            assert os.pread(other.fileno(), 1, BLOCK + 100 + number) == b"w"
            assert mapped[BLOCK + 100 + number] == ord("w")
            assert mapped[BLOCK + 200 + number] == ord("o")
        wanted = bytearray(b"a" * 3 * BLOCK)
        for start, byte in ((0, b"m"), (100, b"w"), (200, b"o")):
            wanted[BLOCK + start:BLOCK + start + 50] = byte * 50
        assert mapped[:] == wanted
    os.close(writing)
    assert path.read_bytes() == wanted


def test_all_that_append_append(root: Path) -> None:
    path = root / "f"
    first = os.open(path, CREATE | os.O_APPEND)
    second = os.open(path, os.O_RDWR | os.O_APPEND)
    wanted = b""
    for number in range(200):
        line = b"line %d\n" % number
        os.write(second if number % 3 else first, line)
        wanted += line
        assert os.fstat(first).st_size == len(wanted)
        assert os.pread(second, len(line), len(wanted) - len(line)) == line
    assert path.read_bytes() == wanted
    os.close(first)
    os.close(second)


def test_a_file_is_written_from_itself(root: Path) -> None:
    path = root / "f"
    writing = os.open(path, CREATE)
    os.write(writing, os.urandom(BLOCK) * 40)
    with path.open("rb") as other, \
            mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = mapped[:]
        assert os.pwritev(writing, [memoryview(mapped)[:10 * BLOCK]], 10 * BLOCK + 7) == 10 * BLOCK
        after = before[:10 * BLOCK + 7] + before[:10 * BLOCK] + before[20 * BLOCK + 7:]
        assert mapped[:] == after
        assert os.sendfile(writing, other.fileno(), 0, 100) == 100
    os.close(writing)
    assert len(path.read_bytes()) == 40 * BLOCK + 100


def test_many_small_pieces_are_one_write(root: Path) -> None:
    writing = os.open(root / "f", CREATE)
    pieces = [bytes([number % 256]) * (number % 7 + 1) for number in range(1000)]
    assert os.writev(writing, pieces) == sum(map(len, pieces))
    os.close(writing)
    assert (root / "f").read_bytes() == b"".join(pieces)


def test_writes_that_nobody_waits_for(root: Path) -> None:
    """They grow the file, then overwrite it, pages in part all over."""
    writing = os.open(root / "f", CREATE)
    pieces = [(number * RECORD_LEN, bytes([65 + number]) * RECORD_LEN) for number in range(8)]
    queue = WritingQueue(8)
    try:
        for _ in range(5):
            assert queue.pwrite(writing, pieces) == [RECORD_LEN] * 8
            assert (root / "f").read_bytes() == b"".join(content for _, content in pieces)
            pieces = [(offset, content.lower()) for offset, content in reversed(pieces)]
            pieces.sort()
    finally:
        queue.close()
        os.close(writing)


def test_it_can_do_nothing_but_write(root: Path) -> None:
    writing = os.open(root / "f", CREATE)
    os.write(writing, b"content")
    with pytest.raises(OSError) as caught:
        os.pread(writing, 1, 0)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError) as caught:
        mmap.mmap(writing, 7, prot=mmap.PROT_WRITE)
    assert caught.value.errno == errno.EACCES
    again = os.open(f"/proc/self/fd/{writing}", os.O_RDWR)
    with mmap.mmap(again, 7) as mapped:
        mapped[0] = ord("C")
        assert os.pread(again, 7, 0) == b"Content"
    os.ftruncate(writing, 3)
    assert os.lseek(writing, 0, os.SEEK_END) == 3
    assert fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    os.close(writing)
    os.close(again)
    assert (root / "f").read_bytes() == b"Con"


@pytest.mark.others
def test_privileges_go_with_a_write_of_who_has_none(root: Path) -> None:
    os.chmod(root, 0o777)
    script = ("import os, sys\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
              "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\nos.write(fd, b'x')\n"
              "os.fchmod(fd, 0o6755)\nprint(oct(os.fstat(fd).st_mode))\nos.write(fd, b'y')\n"
              "print(oct(os.fstat(fd).st_mode))\n")
    told = subprocess.run([sys.executable, "-c", script, root / "f"], check=True,
                          capture_output=True, text=True).stdout.split()
    assert told == ["0o106755", "0o100755"]
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o755


def test_a_capability_goes_with_a_write_of_roots(root: Path) -> None:
    path = root / "f"
    writing = os.open(path, CREATE)
    os.write(writing, b"x")
    os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    os.write(writing, b"y")
    with pytest.raises(OSError) as caught:
        os.getxattr(path, "security.capability")
    assert caught.value.errno == errno.ENODATA
    os.close(writing)


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    with mounted_pool() as made:
        yield made


def test_a_write_that_asks_to_be_durable_is(pool: MountedPool) -> None:
    """pwritev2(2) with RWF_DSYNC or RWF_SYNC, by itself and by asynchronous I/O."""
    for name, flag in (("dsync", os.RWF_DSYNC), ("sync", os.RWF_SYNC)):
        writing = os.open(pool.mountpoint / name, CREATE)
        for number in range(5):
            assert os.pwritev(writing, [b"%d" % number * RECORD_LEN], number * RECORD_LEN,
                              flag) == RECORD_LEN
        os.close(writing)
    writing = os.open(pool.mountpoint / "queued", CREATE)
    queue = WritingQueue(5)
    pieces = [(number * RECORD_LEN, b"%d" % number * RECORD_LEN) for number in range(5)]
    assert queue.pwrite(writing, pieces, os.RWF_DSYNC) == [RECORD_LEN] * 5
    queue.close()
    os.close(writing)
    pool.kill()
    pool.mount()
    for name in ("dsync", "sync", "queued"):
        assert (pool.mountpoint / name).read_bytes() == b"".join(
            b"%d" % number * RECORD_LEN for number in range(5))
