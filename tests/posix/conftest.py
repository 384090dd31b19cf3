"""The mount that these tests run on. They need nothing but a path: any mount will do.

`MOUNTERS` is the one place that knows how mounts are made: a name and a context manager that
yields the mount point. Each test runs on each of them, in a fresh directory.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ecfs.testing.mounted_pool import OPTIONS, mounted_pool

REPOSITORY = Path(__file__).parents[2]
UNMOUNT_WAIT_S = 20

Mounter = Callable[[], AbstractContextManager[Path]]


@contextlib.contextmanager
def memory_mount(*words: str) -> Iterator[Path]:
    """A memory volume, served by another process; anything that it logs is a failure."""
    mountpoint = Path(tempfile.mkdtemp(prefix="ecfs-posix-"))
    process = subprocess.Popen(
        [sys.executable, "-m", "ecfs.testing.memory_mount", str(mountpoint), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=REPOSITORY)
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == "ready\n", process.communicate()
        yield mountpoint
    finally:
        if mountpoint.is_mount():
            subprocess.run(["umount", mountpoint], check=False)
        try:
            _, log = process.communicate(timeout=UNMOUNT_WAIT_S)
        finally:
            process.kill()
            if mountpoint.is_mount():
                subprocess.run(["umount", "--lazy", mountpoint], check=True)
            mountpoint.rmdir()
    assert not log, log
    assert process.returncode == 0


@contextlib.contextmanager
def pool_mount(options: str = OPTIONS) -> Iterator[Path]:
    """A pool, 4+2 over six directories, through the command line; clean to fsck afterwards."""
    with mounted_pool(options) as pool:
        yield pool.mountpoint


MOUNTERS: dict[str, Mounter] = {
    "memory": memory_mount,
    "memory-alone": lambda: memory_mount("alone"),
    "pool": pool_mount,
    "memory-pyfuse3": lambda: memory_mount("pyfuse3"),
    "memory-pyfuse3-alone": lambda: memory_mount("pyfuse3", "alone"),
}
# The second transport is an independent check of the first, not a second product.
PYFUSE3_MODULES = ("test_differential.py", "test_files.py", "test_fallbacks.py")
PYFUSE3_ONLY_MODULES = ("test_fallbacks.py",)
PYFUSE3_ALONE_MODULES = ("test_root_alone.py", "test_files.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests over pyfuse3 only where the transports could differ, and those with other users
    only where these are let in."""
    def is_left_out(item: pytest.Item) -> bool:
        module = item.path.name
        if "-alone" in item.name and item.get_closest_marker("others"):
            return True
        if "memory-pyfuse3-alone" in item.name:
            return module not in PYFUSE3_ALONE_MODULES
        if "memory-pyfuse3" in item.name:
            return module not in PYFUSE3_MODULES
        return module in PYFUSE3_ONLY_MODULES

    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", params=sorted(MOUNTERS))
def mountpoint(request: pytest.FixtureRequest) -> Iterator[Path]:
    """One mount for all tests that follow each other."""
    with MOUNTERS[request.param]() as path:
        yield path


@pytest.fixture
def lets_others_in(request: pytest.FixtureRequest) -> bool:
    """Whether the mount is for all users, and not for root alone."""
    return "-alone" not in request.node.name


@pytest.fixture
def root(mountpoint: Path) -> Iterator[Path]:
    """An empty directory on the mount."""
    path = Path(tempfile.mkdtemp(dir=mountpoint))
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


def renameat2(old: Path, new: Path, flags: int) -> None:
    """rename(2) with flags; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@pytest.fixture
def rename_with_flags() -> Callable[[Path, Path, int], None]:
    """`renameat2` as a fixture."""
    return renameat2


@pytest.fixture
def reference() -> Iterator[Path]:
    """An empty directory on an ordinary file system."""
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=parent) as path:
        yield Path(path)
