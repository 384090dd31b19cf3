"""The event loop makes no system call that a target can hold up: those go through the lanes.

A share of NFS or FUSE that hangs holds up every call on it: close(2), and lstat(2) of a path that
leads there, as much as a read. Here every call that a loop makes on a target is caught.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ecfs.repair import MendingQueue, replace_target, scrub
from ecfs.testing.pools import QUICK_KDF, SECRET, Ground
from ecfs.testing.shell import Shell
from ecfs.volume import Environment, PoolOrder, create_pool, open_volume

CALLS = ("close", "open", "stat", "lstat", "fstat", "fstatvfs", "statvfs", "listdir", "scandir",
         "pread", "preadv", "pwritev", "pwrite", "fsync", "fdatasync", "ftruncate", "unlink",
         "rename", "mkdir", "rmdir", "readlink", "posix_fadvise", "posix_fallocate")


class Watch:
    """Notes each call of the loop's thread on what lies below a folder."""

    def __init__(self, below: Path) -> None:
        self._below = os.path.realpath(below)
        self._loop = threading.get_ident()
        self._readlink = os.readlink
        self.caught: list[str] = []
        self.elsewhere_count = 0

    def wrap(self, name: str, honest: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if any(map(self._is_below, (*args[:2], more.get("dir_fd")))):
                if threading.get_ident() != self._loop:
                    self.elsewhere_count += 1
                elif not (name == "preadv" and args[3] & os.RWF_NOWAIT):
                    self.caught.append(f"{name}{args[:1]}")
            return honest(*args, **more)

        return call

    def _is_below(self, what: object) -> bool:
        if isinstance(what, int) and what > 2:
            try:
                place = self._readlink(f"/proc/self/fd/{what}")
            except OSError:
                return False
        elif isinstance(what, str | bytes | os.PathLike):
            place = os.path.abspath(os.fsdecode(what))
        else:
            return False
        return place.startswith(self._below)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    base = tmp_path / "targets"
    base.mkdir()
    watch = Watch(base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecfs.targets.directory.lies_in_memory", lambda fd: False)
        for name in CALLS:
            patch.setattr(os, name, watch.wrap(name, getattr(os, name)))
        yield watch


def spoil(folder: Path) -> None:
    for place in sorted(folder.rglob("*.col")):
        with place.open("r+b") as file:
            file.seek(8192)
            file.write(b"rot" * 100)


async def until_whole(volume: Any) -> None:
    with trio.fail_after(60):
        while any(not member.online or member.behind for member in volume.fleet):
            await trio.sleep(0.05)


async def test_whatever_happens_targets_are_asked_in_their_lanes_only(
        tmp_path: Path, watch: Watch) -> None:
    targets = tmp_path / "targets"
    paths = tuple(str(targets / f"t{number}") for number in range(6))
    environment = Environment.system(tmp_path / "state", tmp_path / "run")
    ground = Ground(targets)
    await create_pool(PoolOrder(paths, ground.geometry, SECRET, QUICK_KDF), environment)
    watch.caught.clear()
    content = os.urandom(3 << 20)
    async with open_volume(paths, SECRET, environment, None, MendingQueue()) as volume:
        shell = Shell(volume)
        for name in (b"one", b"two", b"three"):
            await shell.write(name, content)
        await volume.fsync(None)
        # One is away, comes back, and catches up.
        await trio.to_thread.run_sync(os.rename, targets / "t1", targets / "gone")
        await shell.write(b"without", content)
        shell.unlink(b"two")
        await volume.checkpoint()
        await trio.to_thread.run_sync(os.rename, targets / "gone", targets / "t1")
        await until_whole(volume)
        # One rots, and is mended by a read and by a scrub.
        await trio.to_thread.run_sync(spoil, targets / "t2" / "segments")
        assert await shell.read(b"three") == content
        await scrub(volume)
        await replace_target(volume, paths[3], str(targets / "new"))
        await volume.fsync(None)
        await volume.checkpoint()
        volume.status()
    assert watch.elsewhere_count > 1000
    assert sorted(set(watch.caught)) == []
