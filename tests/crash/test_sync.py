"""What `ecfs sync` has returned for outlives a kill: bytes, names, and pages of mapped memory."""

import mmap
import os
import random

from ecfs.testing.mounted_pool import MountedPool

LENGTH = 1_500_000


def test_what_was_synced_outlives_a_kill(mounted: MountedPool) -> None:
    base = mounted.mountpoint
    content = random.Random(5).randbytes(LENGTH)
    (base / "folder").mkdir()
    (base / "folder" / "file").write_bytes(content)
    mapped = os.open(base / "mapped", os.O_RDWR | os.O_CREAT)
    os.ftruncate(mapped, LENGTH)
    with mmap.mmap(mapped, LENGTH) as memory:
        memory[:] = content
        mounted.sync()
    os.close(mapped)
    (base / "folder" / "file").rename(base / "moved")
    mounted.sync()
    mounted.kill()
    mounted.mount()
    assert sorted(path.name for path in base.iterdir()) == ["folder", "mapped", "moved"]
    assert (base / "moved").read_bytes() == content
    assert (base / "mapped").read_bytes() == content
