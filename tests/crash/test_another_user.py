"""One machine, two users with locks and sockets of their own: whoever has a pool mounted keeps it.

As in `sudo ecfs fsck` of a pool that somebody mounted without sudo.
"""

import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.base.limits import TAKEOVER_QUIET_S
from ecfs.base.processes import is_running
from ecfs.testing.mounted_pool import MountedPool

IN_USE, NOT_CHECKED = 16, 8


@pytest.fixture
def pool() -> Iterator[MountedPool]:
    with tempfile.TemporaryDirectory(prefix="ecfs-users-", dir="/dev/shm") as path:
        made = MountedPool(Path(path))
        made.mount()
        yield made
        made.unmount()
        made.check()


def write(path: Path, content: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


@pytest.mark.parametrize("words, status", [
    (("mount",), IN_USE), (("fsck", "-f", "-y"), NOT_CHECKED), (("scrub",), IN_USE)])
def test_a_pool_that_another_user_of_this_machine_has_mounted_is_in_use(
        pool: MountedPool, words: tuple[str, ...], status: int) -> None:
    write(pool.mountpoint / "before", b"before")
    refused = pool.run_elsewhere(*words)
    assert refused.returncode == status, refused.stderr
    assert "E-IN-USE" in refused.stderr and "is mounted on" in refused.stderr
    write(pool.mountpoint / "after", b"after")
    assert pool.status()["state"] == "healthy"


def test_a_pool_that_another_user_has_mounted_is_not_made_anew(pool: MountedPool) -> None:
    write(pool.mountpoint / "before", b"before")
    refused = pool.make_again_elsewhere()
    assert refused.returncode == IN_USE, refused.stderr
    assert "is in use by" in refused.stderr
    write(pool.mountpoint / "after", b"after")


def test_root_unmounts_what_another_user_mounted_and_waits_until_it_is_written(
        pool: MountedPool) -> None:
    pid = pool.serving_pid()
    content = random.Random(1).randbytes(20_000_000)
    (pool.mountpoint / "file").write_bytes(content)
    told = pool.unmount_elsewhere(pool.mountpoint).stderr
    # Older kernels do not say which process it is that serves a mount.
    assert not is_running(pid) or "it may still be writing" in told
    while is_running(pid):
        threading.Event().wait(0.05)
    pool.fsck()
    pool.mount()
    assert (pool.mountpoint / "file").read_bytes() == content


def test_what_a_killed_process_of_another_user_had_is_taken_at_once(pool: MountedPool) -> None:
    write(pool.mountpoint / "file", b"synced")
    pool.kill()
    began_s = time.monotonic()
    taken = pool.run_elsewhere("mount")
    assert taken.returncode == 0, taken.stderr
    assert time.monotonic() - began_s < TAKEOVER_QUIET_S / 2
    assert (pool.mountpoint.parent / "other-mount" / "file").read_bytes() == b"synced"
    pool.unmount_elsewhere(pool.mountpoint.parent / "other-mount")
    pool.mount()
