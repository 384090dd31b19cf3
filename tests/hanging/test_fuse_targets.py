"""Targets on a FUSE file system whose server dies or hangs, as network shares do."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from ecfs.testing.mounted_pool import REPOSITORY, MountedPool

CONTENT = os.urandom(300_000)
SYNC_S = 45
"""A sync of a target may take 30 s before the target is given up."""
SOON_S = 15


class Share:
    """A file system in the memory of another process, which can be stopped or killed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ecfs.testing.memory_mount", str(place)], cwd=REPOSITORY,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def leave(self) -> None:
        """Dead and unmounted, whatever it was before."""
        self._process.kill()
        self._process.communicate()
        subprocess.run(["umount", "--lazy", self.place], check=False, capture_output=True)


class Bench:
    """A pool of which the first target lies on a share."""

    def __init__(self, place: Path) -> None:
        self.shares: list[Share] = []
        self.pool = MountedPool(place, furnish=lambda targets: self.share(targets[0]))
        self.pool.mount()

    def share(self, place: Path) -> None:
        self.shares.append(Share(place))

    def write(self, name: str) -> None:
        with (self.pool.mountpoint / name).open("wb") as file:
            file.write(CONTENT)
            os.fsync(file.fileno())

    def state_of(self, number: int) -> str:
        found: str = self.pool.status()["targets"][number]["state"]
        return found

    def read_all(self) -> None:
        for path in self.pool.mountpoint.iterdir():
            assert path.read_bytes() == CONTENT

    def clear(self) -> None:
        for share in self.shares:
            share.leave()
        if self.pool.mountpoint.is_mount():
            self.pool.kill()


@pytest.fixture
def bench() -> Iterator[Bench]:
    place = Path(tempfile.mkdtemp(prefix="ecfs-hanging-", dir="/dev/shm"))
    bench = Bench(place)
    try:
        yield bench
    finally:
        bench.clear()
        shutil.rmtree(place)


def within(seconds: float, work: Callable[[], object]) -> None:
    began = time.monotonic()
    work()
    assert time.monotonic() - began < seconds


async def test_the_server_of_a_target_dies(bench: Bench) -> None:
    """Every call on it fails then, close(2) too (ENOTCONN)."""
    bench.write("before")
    bench.shares[0].leave()
    within(SOON_S, lambda: bench.write("after"))
    assert bench.state_of(0) == "away"
    # What comes in its place is empty, and left alone.
    bench.share(bench.pool.targets[0])
    await trio.sleep(7)
    assert bench.state_of(0) == "away"
    bench.write("later")
    new = bench.pool.mountpoint.parent / "new"
    new.mkdir()
    bench.pool.replace(bench.pool.targets[0], new)
    bench.read_all()
    assert bench.pool.status()["state"] == "healthy"
    bench.pool.unmount()
    bench.pool.fsck()


async def test_the_server_of_a_target_hangs(bench: Bench) -> None:
    bench.write("before")
    bench.shares[0].signal(signal.SIGSTOP)
    within(SYNC_S, lambda: bench.write("meanwhile"))
    within(SOON_S, lambda: bench.write("after"))
    assert bench.state_of(0) == "away"
    within(SOON_S, bench.read_all)
    # Another one goes and comes back beside it.
    other = bench.pool.targets[1]
    other.rename(other.with_name("elsewhere"))
    within(SOON_S, lambda: bench.write("without"))
    other.with_name("elsewhere").rename(other)
    await until(bench, 1)
    bench.shares[0].signal(signal.SIGCONT)
    await until(bench, 0)
    bench.read_all()
    bench.pool.unmount()
    bench.pool.fsck()


async def test_unmounting_past_a_target_that_hangs(bench: Bench) -> None:
    """A call that a target never answers keeps the process, but nobody who waits for it."""
    bench.write("before")
    bench.shares[0].signal(signal.SIGSTOP)
    within(SYNC_S + SOON_S, bench.pool.unmount)
    within(SYNC_S, bench.pool.mount)
    bench.read_all()
    bench.shares[0].signal(signal.SIGCONT)
    await until(bench, 0)
    bench.pool.unmount()
    bench.pool.fsck()


async def until(bench: Bench, number: int) -> None:
    """The target is back and has caught up."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        target = bench.pool.status()["targets"][number]
        if target["state"] == "online" and not target["missed_bytes"]:
            return
        await trio.sleep(0.5)
    raise AssertionError(f"target {number} did not come back: {bench.pool.status()}")
