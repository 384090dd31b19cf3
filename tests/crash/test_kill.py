"""A real mount, killed at random moments: what was fsynced is there when it is mounted again.

ECFS_KILL_LOOPS: how many times (10). ECFS_KILL_SEED: where the random moments begin.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.oracle import Oracle
from ecfs.testing.trees import Seen, snapshot_below
from tests.crash.world import some_bytes

LOOPS_COUNT = int(os.environ.get("ECFS_KILL_LOOPS", "10"))
SEED = int(os.environ.get("ECFS_KILL_SEED", "1"))
MOUNT_WAIT_S = 60.0
LIFE_S = (0.05, 2.0)
FSCK_EVERY = 5
ECFS = (sys.executable, "-c", "from ecfs.cli import main; main()")


class RealPool:
    """A pool over six directories, and the process that has it mounted."""

    def __init__(self, base: Path) -> None:
        self._environment = os.environ | {
            "XDG_STATE_HOME": str(base / "state"), "XDG_RUNTIME_DIR": str(base / "run"),
            "PYTHONPATH": str(Path(__file__).parents[2])}
        self._passfile = base / "passfile"
        self._passfile.write_text("correct horse\n")
        self._log = base / "log"
        self.mountpoint = base / "mnt"
        self.mountpoint.mkdir()
        (base / "run").mkdir(mode=0o700)
        self._targets = [str(base / f"t{number}") for number in range(6)]
        self._process: subprocess.Popen[bytes] | None = None
        self.run("mkfs", "--data", "4", "--parity", "2", "--kdf-memory", "64M", "--passfile",
                 str(self._passfile), *self._targets)

    def run(self, *words: str) -> None:
        """A command that must succeed."""
        done = subprocess.run([*ECFS, *words], env=self._environment, capture_output=True,
                              timeout=120, check=False)
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)

    def mount(self) -> None:
        """Over the dead mount of a killed process, if there is one."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*ECFS, "mount", "--foreground", "--passfile", str(self._passfile),
                 ":".join(self._targets), str(self.mountpoint)],
                env=self._environment, stdout=log, stderr=log)
        until = time.monotonic() + MOUNT_WAIT_S
        while not self._is_served():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            threading.Event().wait(0.02)

    def _is_served(self) -> bool:
        try:
            return self.mountpoint.is_mount() and os.listdir(self.mountpoint) is not None
        except OSError:
            return False

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def unmount(self) -> None:
        """Cleanly; returns when everything is durable and the process has ended."""
        assert self._process is not None
        self.run("umount", str(self.mountpoint))
        assert self._process.wait(30) == 0, self._log.read_text()

    def fsck(self) -> None:
        """Nothing is wrong."""
        self.run("fsck", "-n", "-f", "--passfile", str(self._passfile), ":".join(self._targets))

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        subprocess.run(["umount", "--lazy", self.mountpoint], check=False, capture_output=True)


@pytest.fixture
def pool() -> Iterator[RealPool]:
    """A fresh one."""
    base = Path(tempfile.mkdtemp(prefix="ecfs-kill-", dir="/dev/shm"))
    pool = RealPool(base)
    try:
        yield pool
    finally:
        pool.clear()
        shutil.rmtree(base)


class Writer:
    """Changes files and tells the oracle what was acknowledged, until the mount dies."""

    def __init__(self, root: Path, oracle: Oracle, seed: int) -> None:
        self._root = root
        self._oracle = oracle
        self._source = random.Random(seed)
        self._seed = seed
        self.acknowledged_count = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Ends when a call fails, for then the mount is dead."""
        steps = [self._write, self._write, self._write, self._replace, self._unlink,
                 self._truncate, self._lazy]
        number = 0
        try:
            while True:
                self._source.choice(steps)(number)
                number += 1
        except OSError:
            return
        except BaseException as error:
            self.failure = error

    def _name(self) -> bytes:
        return b"file%d" % self._source.randrange(12)

    def _path(self, name: bytes) -> bytes:
        return os.path.join(os.fsencode(self._root), name)

    def _put(self, name: bytes, number: int, *, sync: bool) -> None:
        """Bytes somewhere in a file."""
        length = self._source.choice([1, 700, 5_000, 40_000, 300_000])
        if not self._oracle.exists(name):
            self._oracle.create(name)
        offset = self._source.randrange(len(self._oracle.read(name)) + 1)
        data = some_bytes((self._seed, number), length)
        # Told first: from the first byte on the file may be the new one.
        self._oracle.write(name, offset, data)
        fd = os.open(self._path(name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, data, offset)
            if sync:
                os.fsync(fd)
                self._oracle.fsync(name)
                self.acknowledged_count += 1
        finally:
            os.close(fd)

    def _sync_folder(self) -> None:
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._oracle.fsync_dir()
        self.acknowledged_count += 1

    def _write(self, number: int) -> None:
        self._put(self._name(), number, sync=True)

    def _lazy(self, number: int) -> None:
        self._put(b"lazy%d" % self._source.randrange(3), number, sync=False)

    def _replace(self, number: int) -> None:
        """Write a new file, rename it over another: the old one or the new one, nothing between."""
        name = self._name()
        data = some_bytes((self._seed, number, "new"), self._source.choice([10, 9_000, 150_000]))
        fresh = b"fresh%d-%d" % (self._seed, number)
        self._oracle.create(fresh)
        self._oracle.write(fresh, 0, data)
        with open(self._path(fresh), "wb") as file:
            file.write(data)
            if not self._oracle.exists(name):
                # Only a rename over something brings the content along by itself.
                file.flush()
                os.fsync(file.fileno())
                self._oracle.fsync(fresh)
        self._oracle.rename(fresh, name)
        os.rename(self._path(fresh), self._path(name))
        self._sync_folder()

    def _unlink(self, number: int) -> None:
        name = self._name()
        if self._oracle.exists(name):
            self._oracle.unlink(name)
            os.unlink(self._path(name))
            self._sync_folder()

    def _truncate(self, number: int) -> None:
        name = self._name()
        if self._oracle.exists(name):
            size = self._source.randrange(len(self._oracle.read(name)) + 1)
            self._oracle.truncate(name, size)
            os.truncate(self._path(name), size)
            self._sync_folder()


def contents(root: Path) -> dict[bytes, Seen]:
    """All that is on the mount."""
    return snapshot_below(str(root))


def test_killed_again_and_again(pool: RealPool) -> None:
    source = random.Random(SEED)
    oracle = Oracle()
    acknowledged_count = 0
    for loop in range(LOOPS_COUNT):
        pool.mount()
        found = contents(pool.mountpoint)
        oracle.check(found, torn=True)
        oracle.settle(found)
        writer = Writer(pool.mountpoint, oracle, SEED * 1_000 + loop)
        thread = threading.Thread(target=writer.run)
        thread.start()
        # The writer goes on until the mount dies under it.
        thread.join(source.uniform(*LIFE_S))
        pool.kill()
        thread.join(60)
        assert not thread.is_alive()
        assert writer.failure is None, writer.failure
        acknowledged_count += writer.acknowledged_count
        if loop % FSCK_EVERY == FSCK_EVERY - 1:
            pool.mount()
            found = contents(pool.mountpoint)
            oracle.check(found, torn=True)
            oracle.settle(found)
            pool.unmount()
            pool.fsck()
            pool.mount()
            assert contents(pool.mountpoint) == found
            pool.kill()
    pool.mount()
    oracle.check(contents(pool.mountpoint), torn=True)
    pool.unmount()
    pool.fsck()
    assert acknowledged_count > 5 * LOOPS_COUNT
