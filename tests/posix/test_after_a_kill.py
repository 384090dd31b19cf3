"""Holes, shared extents, lists and files without names, after the mount was killed."""

import ctypes
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ecfs.testing.mounted_pool import MountedPool, mounted_pool

KEEP_SIZE, PUNCH_HOLE = 1, 2
LENGTH = 5_000_000


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    with mounted_pool() as made:
        yield made


def copied(source: int, target: int, length: int) -> None:
    done_len = 0
    while done_len < length:
        done_len += os.copy_file_range(source, target, length - done_len, done_len, done_len)


def test_what_was_synced_is_there_and_nothing_dangles(pool: MountedPool) -> None:
    base = pool.mountpoint
    content = bytearray(random.Random(3).randbytes(LENGTH))
    source = os.open(base / "source", os.O_RDWR | os.O_CREAT)
    target = os.open(base / "target", os.O_RDWR | os.O_CREAT)
    os.write(source, content)
    copied(source, target, LENGTH)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate(target, KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(1_000_000),
                          ctypes.c_long(2_500_000)) == 0
    content[1_000_000:3_500_000] = bytes(2_500_000)
    subprocess.run(["setfacl", "-m", "u:1234:rw", base / "target"], check=True)
    unnamed = os.open(base, os.O_TMPFILE | os.O_RDWR)
    os.write(unnamed, b"x" * 1_000_000)
    os.fsync(target)
    (base / "source").unlink()
    late = os.open(base / "late", os.O_RDWR | os.O_CREAT)
    copied(target, late, LENGTH)
    pool.kill()
    for fd in (source, target, unnamed, late):
        with suppress(OSError):
            # The mount is gone; the descriptor goes all the same.
            os.close(fd)
    pool.mount()
    assert (base / "target").read_bytes() == content
    assert os.getxattr(base / "target", "system.posix_acl_access")
    assert (base / "target").stat().st_blocks < (LENGTH - 2_000_000) // 512
    names = set(os.listdir(base))
    assert {"target"} <= names <= {"target", "source", "late"}
    if "late" in names:
        found = (base / "late").read_bytes()
        assert found == content[:len(found)]
    assert not os.statvfs(base).f_files - os.statvfs(base).f_ffree > 1 + len(names) + 1
