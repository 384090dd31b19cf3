"""A pool on real file systems that was written full: what is deleted can be written again."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.mounted_pool import MountedPool
from tests.crash.world import some_bytes

FILE_LEN = 1 << 20


def on_tmpfs(targets: list[Path]) -> None:
    """A small file system of its own for each target."""
    for target in targets:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", target], check=True)


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    """4+2 on six targets of 40 MiB, mounted."""
    with tempfile.TemporaryDirectory(prefix="ecfs-full-", dir="/dev/shm") as base:
        made = MountedPool(Path(base), furnish=on_tmpfs)
        made.mount()
        try:
            yield made
        finally:
            if os.path.ismount(made.mountpoint):
                made.unmount()
            for target in made.targets:
                subprocess.run(["umount", target], check=True)


def data_of(number: int) -> bytes:
    return some_bytes((number, 1), FILE_LEN)


def put(pool: MountedPool, number: int) -> None:
    """One file, durable. OSError where there is no room."""
    fd = os.open(pool.mountpoint / f"f{number}", os.O_WRONLY | os.O_CREAT)
    try:
        os.write(fd, data_of(number))
        os.fsync(fd)
    finally:
        os.close(fd)


def fill(pool: MountedPool) -> list[int]:
    """Files until there is no more room; their numbers."""
    whole: list[int] = []
    with pytest.raises(OSError) as refused:
        while True:
            put(pool, len(whole))
            whole.append(len(whole))
    assert refused.value.errno == errno.ENOSPC
    (pool.mountpoint / f"f{len(whole)}").unlink(missing_ok=True)
    assert len(whole) > 60
    return whole


def check(pool: MountedPool, numbers: list[int]) -> None:
    for number in numbers:
        assert (pool.mountpoint / f"f{number}").read_bytes() == data_of(number)


def delete_some(pool: MountedPool, whole: list[int]) -> list[int]:
    """Every second file; those that are left."""
    for number in whole[::2]:
        (pool.mountpoint / f"f{number}").unlink()
    return whole[1::2]


def available(pool: MountedPool) -> int:
    told = os.statvfs(pool.mountpoint)
    return told.f_bavail * told.f_frsize


def test_what_is_deleted_can_be_written_at_once(pool: MountedPool) -> None:
    """Also by who does not wait, and df(1) says so once that is synced."""
    whole = fill(pool)
    kept = delete_some(pool, whole)
    put(pool, len(whole))
    pool.sync()
    assert available(pool) > len(whole) // 2 * FILE_LEN * 0.75
    for number in range(len(whole) + 1, len(whole) + len(whole) // 3):
        put(pool, number)
        kept.append(number)
    check(pool, [*kept, len(whole)])
    pool.unmount()
    pool.check()
    pool.mount()
    check(pool, [*kept, len(whole)])


def test_a_kill_in_the_middle_of_it_loses_nothing(pool: MountedPool) -> None:
    whole = fill(pool)
    kept = delete_some(pool, whole)
    put(pool, len(whole))
    pool.kill()
    pool.mount()
    check(pool, [*kept, len(whole)])
    for number in range(len(whole) + 1, len(whole) + len(whole) // 3):
        put(pool, number)
        kept.append(number)
    check(pool, kept)
    pool.unmount()
    pool.fsck()
