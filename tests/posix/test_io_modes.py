"""Ways to open and write: past the page cache, synced by themselves, mapped, locked, limited."""

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.mounted_pool import MountedPool, mounted_pool

BLOCK = 4096


@pytest.mark.parametrize("flags", [os.O_DIRECT, os.O_DIRECT | os.O_SYNC, os.O_SYNC, os.O_DSYNC])
def test_what_one_way_writes_every_way_reads(root: Path, flags: int) -> None:
    direct = os.open(root / "f", os.O_RDWR | os.O_CREAT | flags)
    cached = os.open(root / "f", os.O_RDWR)
    aligned = mmap.mmap(-1, 4 * BLOCK)
    for number in range(8):
        aligned[:] = bytes([number]) * len(aligned)
        assert os.pwritev(direct, [aligned], number * BLOCK) == len(aligned)
        assert os.pread(cached, len(aligned), number * BLOCK) == aligned[:]
        os.pwrite(cached, b"cached", number * BLOCK + 10)
        assert os.preadv(direct, [aligned], number * BLOCK) == len(aligned)
        assert aligned[10:16] == b"cached"
    assert os.fstat(direct).st_size == 11 * BLOCK
    os.close(direct)
    os.close(cached)


def test_a_mapping_and_a_descriptor_agree(root: Path) -> None:
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 4 * BLOCK)
    with mmap.mmap(fd, 4 * BLOCK) as mapped:
        mapped[BLOCK:BLOCK + 6] = b"mapped"
        mapped.flush(BLOCK, BLOCK)
        assert os.pread(fd, 6, BLOCK) == b"mapped"
        os.pwrite(fd, b"written", 2 * BLOCK)
        assert mapped[2 * BLOCK:2 * BLOCK + 7] == b"written"
        before = os.fstat(fd).st_mtime_ns
        mapped[0:1] = b"x"
        mapped.flush()
        assert os.fstat(fd).st_mtime_ns >= before
    os.close(fd)
    assert (root / "f").read_bytes()[BLOCK:BLOCK + 6] == b"mapped"


def test_locks_hold_between_processes(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x" * 100)
    tried = ("import fcntl, sys\nfile = open(sys.argv[1], 'r+b')\n"
             "try:\n    {}\nexcept OSError as error:\n    print(error.errno)\n"
             "else:\n    print('locked')\n")

    def other(lock: str) -> str:
        return subprocess.run([sys.executable, "-c", tried.format(lock), path], check=True,
                              capture_output=True, text=True).stdout.strip()

    whole = "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert other(whole) == str(errno.EWOULDBLOCK)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert other(whole) == "locked"
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 20)
        part = "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, {})"
        assert other(part.format(25)) in (str(errno.EACCES), str(errno.EAGAIN))
        assert other(part.format(30)) == "locked"


def test_a_limit_of_the_process_stops_a_write(root: Path) -> None:
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    action = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, old[1]))
    try:
        assert os.pwrite(fd, b"x" * 20_000, 0) == 10_000
        for act in (lambda: os.pwrite(fd, b"x", 10_000), lambda: os.ftruncate(fd, 10_001)):
            with pytest.raises(OSError) as caught:
                act()
            assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, action)
    os.close(fd)


def test_the_largest_offset(root: Path) -> None:
    largest = (1 << 63) - 1
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    assert os.pwrite(fd, b"end", largest - 3) == 3
    assert os.fstat(fd).st_size == largest
    assert os.pread(fd, 4, largest - 4) == b"\0end"
    assert os.fstat(fd).st_blocks <= 16
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.pwrite64(fd, b"xy", ctypes.c_size_t(2), ctypes.c_int64(largest)) == -1
    assert ctypes.get_errno() in (errno.EFBIG, errno.EINVAL)
    os.ftruncate(fd, 0)
    os.close(fd)


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    with mounted_pool() as made:
        yield made


def test_what_was_written_in_step_outlives_a_kill_of_the_mount(pool: MountedPool) -> None:
    wanted = {}
    for name, flags in (("sync", os.O_SYNC), ("dsync", os.O_DSYNC), ("both", os.O_SYNC)):
        fd = os.open(pool.mountpoint / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o640)
        for number in range(20):
            os.write(fd, b"%s %d\n" % (name.encode(), number))
        wanted[name] = b"".join(b"%s %d\n" % (name.encode(), number) for number in range(20))
        os.close(fd)
    pool.kill()
    pool.mount()
    assert {name: (pool.mountpoint / name).read_bytes() for name in wanted} == wanted
