"""What `ecfs sync` has returned for outlives a kill: bytes, names, and pages of mapped memory."""

import mmap
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.mounted_pool import MountedPool

LENGTH = 1_500_000


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    with tempfile.TemporaryDirectory(prefix="ecfs-sync-", dir="/dev/shm") as path:
        made = MountedPool(Path(path))
        made.mount()
        yield made
        made.unmount()
        made.check()


def test_what_was_synced_outlives_a_kill(pool: MountedPool) -> None:
    base = pool.mountpoint
    content = random.Random(5).randbytes(LENGTH)
    (base / "folder").mkdir()
    (base / "folder" / "file").write_bytes(content)
    mapped = os.open(base / "mapped", os.O_RDWR | os.O_CREAT)
    os.ftruncate(mapped, LENGTH)
    with mmap.mmap(mapped, LENGTH) as memory:
        memory[:] = content
        pool.sync()
    os.close(mapped)
    (base / "folder" / "file").rename(base / "moved")
    pool.sync()
    pool.kill()
    pool.mount()
    assert sorted(path.name for path in base.iterdir()) == ["folder", "mapped", "moved"]
    assert (base / "moved").read_bytes() == content
    assert (base / "mapped").read_bytes() == content
