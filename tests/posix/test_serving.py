"""Beginning and end of a mount, and errors on the way, with the server in this process.

So no test may fork on the event loop's thread while a file of the mount is open in this process:
the child closes its copy before exec, which asks the very loop that waits for the exec.
"""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyfuse3
import pytest
import trio

from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.base.world import SystemClock
from ecfs.driver import MountOptions, Transport, serve, stop
from ecfs.driver.fuse_channel import unmount
from ecfs.testing.memory_volume import MemoryVolume

DEADLINE_S = 20


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ecfs-serving-"))
    yield path
    assert not path.is_mount()
    path.rmdir()


@pytest.fixture
def volume() -> MemoryVolume:
    return MemoryVolume(SystemClock())


@pytest.fixture(params=list(Transport))
def options(request: pytest.FixtureRequest) -> MountOptions:
    return MountOptions(transport=request.param)


async def mounted(nursery: trio.Nursery, volume: MemoryVolume, place: Path,
                  options: MountOptions) -> trio.Event:
    """Start serving; returns, once it is ready, an event that comes when it has ended."""
    ready, ended = trio.Event(), trio.Event()

    async def run() -> None:
        await serve(volume, str(place), options, ready=ready.set)
        ended.set()

    nursery.start_soon(run)
    await ready.wait()
    return ended


async def test_stop_unmounts(volume: MemoryVolume, place: Path, options: MountOptions) -> None:
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            ended = await mounted(nursery, volume, place, options)
            assert place.is_mount()
            await trio.to_thread.run_sync((place / "f").write_bytes, b"x")
            stop()
            await ended.wait()
    assert not place.is_mount()
    stop()


async def test_an_unmount_from_outside_ends_it(volume: MemoryVolume, place: Path,
                                               options: MountOptions) -> None:
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            ended = await mounted(nursery, volume, place, options)
            await trio.run_process(["umount", place])
            await ended.wait()
    assert not place.is_mount()


async def test_cancelling_unmounts(volume: MemoryVolume, place: Path,
                                   options: MountOptions) -> None:
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, options)
            nursery.cancel_scope.cancel()
    assert not place.is_mount()


async def test_one_mount_after_another(volume: MemoryVolume, place: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        for number in range(3):
            async with trio.open_nursery() as nursery:
                await mounted(nursery, volume, place, MountOptions())
                found = await trio.to_thread.run_sync(os.listdir, place)
                assert sorted(found) == [str(earlier) for earlier in range(number)]
                await trio.to_thread.run_sync((place / str(number)).touch)
                stop()


async def test_dirty_pages_arrive_before_the_end(volume: MemoryVolume, place: Path) -> None:
    content = os.urandom(3_000_000)

    def write() -> int:
        fd = os.open(place / "f", os.O_WRONLY | os.O_CREAT)
        os.write(fd, content)
        return fd

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, MountOptions(writeback=True))
            fd = await trio.to_thread.run_sync(write)
            nursery.start_soon(trio.to_thread.run_sync, os.close, fd)
            stop()
    inode = volume.tree.lookup(ROOT_INODE, b"f").inode
    assert volume.files.begin_read(inode, 0, 1 << 30) == content


async def test_what_is_unlinked_and_open_at_the_end_goes(
        volume: MemoryVolume, place: Path, options: MountOptions) -> None:
    def leave_open() -> int:
        fd = os.open(place / "f", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        os.unlink(place / "f")
        unmount(str(place))
        return fd

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, options)
            fd = await trio.to_thread.run_sync(leave_open)
            assert len(volume.tree.orphans(9)) == 1
            await trio.to_thread.run_sync(os.close, fd)
    assert volume.tree.orphans(9) == []


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ECONNABORTED])
async def test_either_word_for_the_end_of_the_connection_ends_it(
        volume: MemoryVolume, place: Path, options: MountOptions, number: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says ECONNABORTED when the end overtakes a request that was being copied out."""
    readv, main = os.readv, pyfuse3.main

    def ending(fd: int, buffers: list[memoryview]) -> int:
        try:
            return readv(fd, buffers)
        except OSError as error:
            raise OSError(number, "as asked") if error.errno == errno.ENODEV else error from None

    async def ending_main(min_tasks: int, max_tasks: int) -> None:
        await main(min_tasks=min_tasks, max_tasks=max_tasks)
        raise ExceptionGroup("as pyfuse3 does", [OSError(number, "as asked")])

    monkeypatch.setattr(os, "readv", ending)
    monkeypatch.setattr(pyfuse3, "main", ending_main)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            ended = await mounted(nursery, volume, place, options)
            await trio.run_process(["umount", place])
            await ended.wait()
    assert not place.is_mount()


async def test_an_error_of_the_device_is_told(
        volume: MemoryVolume, place: Path, options: MountOptions,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(fd: int, buffers: list[memoryview]) -> int:
        raise OSError(errno.EIO, "as asked")

    async def failing_main(min_tasks: int, max_tasks: int) -> None:
        raise ExceptionGroup("as pyfuse3 does", [OSError(errno.EIO, "as asked")])

    monkeypatch.setattr(os, "readv", failing)
    monkeypatch.setattr(pyfuse3, "main", failing_main)
    with trio.fail_after(DEADLINE_S), pytest.raises(ExceptionGroup) as caught:
        await serve(volume, str(place), options, ready=lambda: None)
    assert caught.group_contains(OSError, match="as asked")


async def test_a_read_only_mount(volume: MemoryVolume, place: Path,
                                 options: MountOptions) -> None:
    options = MountOptions(read_only=True, transport=options.transport)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, options)
            with pytest.raises(OSError) as caught:
                await trio.to_thread.run_sync((place / "f").touch)
            assert caught.value.errno == errno.EROFS
            stop()


async def test_an_impossible_mount(volume: MemoryVolume) -> None:
    with pytest.raises(OSError, match="No such file"):
        await serve(volume, "/nowhere/at/all", MountOptions(), ready=lambda: None)
    with pytest.raises(ValueError, match="nonsense"):
        await serve(volume, "/tmp", MountOptions(flags=frozenset({"nonsense"})),
                    ready=lambda: None)


def drop_pages(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def breaks_at_once(inode: InodeId, offset: int, length: int) -> bytes:
    """An error that nobody foresaw."""
    raise ZeroDivisionError


async def breaks_later(inode: InodeId, offset: int, length: int) -> bytes:
    """The same, of what was waited for."""
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


@pytest.mark.parametrize("broken_read", [breaks_at_once, breaks_later])
async def test_the_unforeseen_is_eio_and_the_mount_lives(
        volume: MemoryVolume, place: Path, options: MountOptions, broken_read: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, options)
            await trio.to_thread.run_sync((place / "f").write_bytes, b"content")
            await trio.to_thread.run_sync(drop_pages, place / "f")
            with monkeypatch.context() as patch:
                patch.setattr(volume.files, "begin_read", broken_read)
                with pytest.raises(OSError) as caught:
                    await trio.to_thread.run_sync((place / "f").read_bytes)
                assert caught.value.errno == errno.EIO
            assert await trio.to_thread.run_sync((place / "f").read_bytes) == b"content"
            stop()
    assert "ZeroDivisionError" in caplog.text


async def test_a_handler_that_runs_out_of_something_is_answered_for(
        volume: MemoryVolume, place: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    """StopIteration of a handler's own is no end of a coroutine."""
    def run_out(parent: InodeId, name: bytes) -> None:
        next(iter(()))

    caplog.set_level(logging.ERROR)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, MountOptions())
            with monkeypatch.context() as patch:
                patch.setattr(volume.tree, "find", run_out)
                with pytest.raises(OSError) as caught:
                    await trio.to_thread.run_sync(os.stat, place / "f", abandon_on_cancel=True)
                assert caught.value.errno == errno.EIO
            stop()
    assert "StopIteration" in caplog.text


async def test_many_waiting_requests_do_not_stop_the_others(
        volume: MemoryVolume, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = trio.Event()
    original = volume.fsync

    async def slow_fsync(inode: InodeId | None) -> None:
        await release.wait()
        await original(inode)

    def sync(name: str) -> None:
        fd = os.open(place / name, os.O_WRONLY | os.O_CREAT)
        os.fsync(fd)
        os.close(fd)

    monkeypatch.setattr(volume, "fsync", slow_fsync)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, MountOptions())
            async with trio.open_nursery() as waiting:
                for number in range(12):
                    waiting.start_soon(trio.to_thread.run_sync, sync, str(number))
                while len(await trio.to_thread.run_sync(os.listdir, place)) < 12:
                    await trio.lowlevel.checkpoint()
                await trio.to_thread.run_sync((place / "other").write_bytes, b"x")
                release.set()
            stop()
    assert volume.fsync_count == 12


async def test_mounting_through_the_helper(volume: MemoryVolume, place: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """What others than root do; the helper itself does not mind that root calls it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await mounted(nursery, volume, place, MountOptions(read_only=True))
            assert "fuse.ecfs ro,nosuid,nodev" in Path("/proc/mounts").read_text()
            assert await trio.to_thread.run_sync(os.listdir, place) == []
            stop()
    assert not place.is_mount()


async def test_orphans_of_a_bad_end_are_swept(volume: MemoryVolume, place: Path) -> None:
    volume.tree.create(ROOT_INODE, b"f", mode=0o600, uid=0, gid=0)
    volume.tree.unlink(ROOT_INODE, b"f")
    with trio.fail_after(DEADLINE_S):
        for read_only, left in ((True, 1), (False, 0)):
            async with trio.open_nursery() as nursery:
                await mounted(nursery, volume, place, MountOptions(read_only=read_only))
                assert len(volume.tree.orphans(9)) == left
                stop()
