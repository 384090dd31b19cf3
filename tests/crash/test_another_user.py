"""One machine, two users with locks and sockets of their own: whoever has a pool mounted keeps it.

As in `sudo ecfs fsck` of a pool that somebody mounted without sudo.
"""

import os
import random
import threading
import time
from pathlib import Path

import pytest

from ecfs.base.limits import TAKEOVER_QUIET_S
from ecfs.base.processes import is_running
from ecfs.testing.mounted_pool import MountedPool

IN_USE, NOT_CHECKED = 16, 8


def write(path: Path, content: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


@pytest.mark.parametrize("words, status", [
    (("mount",), IN_USE), (("fsck", "-f", "-y"), NOT_CHECKED), (("scrub",), IN_USE)])
def test_a_pool_that_another_user_of_this_machine_has_mounted_is_in_use(
        mounted: MountedPool, words: tuple[str, ...], status: int) -> None:
    write(mounted.mountpoint / "before", b"before")
    refused = mounted.run_elsewhere(*words)
    assert refused.returncode == status, refused.stderr
    assert "E-IN-USE" in refused.stderr and "is mounted on" in refused.stderr
    write(mounted.mountpoint / "after", b"after")
    assert mounted.status()["state"] == "healthy"


def test_a_pool_that_another_user_has_mounted_is_not_made_anew(mounted: MountedPool) -> None:
    write(mounted.mountpoint / "before", b"before")
    refused = mounted.make_again_elsewhere()
    assert refused.returncode == IN_USE, refused.stderr
    assert "is in use by" in refused.stderr
    write(mounted.mountpoint / "after", b"after")


def test_root_unmounts_what_another_user_mounted_and_waits_until_it_is_written(
        mounted: MountedPool) -> None:
    pid = mounted.serving_pid()
    content = random.Random(1).randbytes(20_000_000)
    (mounted.mountpoint / "file").write_bytes(content)
    told = mounted.unmount_elsewhere(mounted.mountpoint).stderr
    # Older kernels do not say which process it is that serves a mount.
    assert not is_running(pid) or "it may still be writing" in told
    while is_running(pid):
        threading.Event().wait(0.05)
    mounted.fsck()
    mounted.mount()
    assert (mounted.mountpoint / "file").read_bytes() == content


def test_what_a_killed_process_of_another_user_had_is_taken_at_once(mounted: MountedPool) -> None:
    write(mounted.mountpoint / "file", b"synced")
    mounted.kill()
    began_s = time.monotonic()
    taken = mounted.run_elsewhere("mount")
    assert taken.returncode == 0, taken.stderr
    assert time.monotonic() - began_s < TAKEOVER_QUIET_S / 2
    assert (mounted.mountpoint.parent / "other-mount" / "file").read_bytes() == b"synced"
    mounted.unmount_elsewhere(mounted.mountpoint.parent / "other-mount")
    mounted.mount()
