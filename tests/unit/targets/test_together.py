"""Work on several targets in one thread: syncs side by side, and what becomes of a bad target."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from ecfs.base.errors import Fault, TargetError
from ecfs.base.world import SystemClock, SystemThreads
from ecfs.targets import DirectoryTarget, Lane, MemoryTarget, SyncSteps, Target, Together, run_steps
from ecfs.targets import together as module
from ecfs.targets.kernel_aio import AioQueue
from tests.posix.conftest import memory_mount

NAME = "file"


@pytest.fixture
def queue() -> Iterator[AioQueue]:
    queue = AioQueue(4)
    yield queue
    queue.close()


@pytest.fixture
def together() -> Iterator[Together]:
    together = Together.open(partial(Lane, threads=SystemThreads(), clock=SystemClock()))
    assert together is not None
    yield together
    together.close()


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[list[DirectoryTarget]]:
    targets = []
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        targets.append(DirectoryTarget(tmp_path / str(number)))
        targets[-1].create(NAME, b"old")
    yield targets
    for target in targets:
        target.close()


def write(target: Target) -> SyncSteps[bytes]:
    """Write, have it synced, read it back."""
    target.write(NAME, 0, [b"new"])
    yield NAME
    return target.read(NAME, 0, 9)


# -- syncing descriptors -------------------------------------------------------------------------

def test_descriptors_are_synced_and_bad_ones_told(queue: AioQueue, tmp_path: Path) -> None:
    """/dev/null cannot be synced, nor can what is closed; neither keeps others from it."""
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    null = os.open(os.devnull, os.O_RDONLY)
    closed = os.dup(file)
    os.close(closed)
    try:
        for fds, wanted in (([file], [None]), ([file] * 9, [None] * 9), ([], []),
                            ([null], [errno.EINVAL]), ([closed], [errno.EBADF]),
                            ([file, null, file], [None, errno.EINVAL, None]),
                            ([closed, file], [errno.EBADF, None])):
            os.write(file, b"x")
            assert [error and error.errno for error in queue.fdatasync(fds)] == wanted
    finally:
        os.close(file)
        os.close(null)


def test_a_sync_that_fails_later_is_told() -> None:
    """On a file system whose server says EIO."""
    with memory_mount("syncs-fail") as path:
        queue, files = AioQueue(4), [os.open(path / name, os.O_CREAT | os.O_RDWR) for name in "ab"]
        good = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)
        try:
            outcome = queue.fdatasync([files[0], good, files[1]])
        finally:
            for fd in (*files, good):
                os.close(fd)
            queue.close()
    assert [error and error.errno for error in outcome] == [errno.EIO, None, errno.EIO]


# -- work on targets -----------------------------------------------------------------------------

async def test_all_targets_do_their_part(together: Together,
                                         targets: list[DirectoryTarget]) -> None:
    for _ in range(3):
        assert await together.run(targets, write) == [b"new"] * 6


async def test_one_that_fails_spoils_nothing_for_the_others(
        together: Together, targets: list[DirectoryTarget]) -> None:
    targets[1].remove(NAME)
    targets[4].close()
    results = await together.run(targets, write)
    assert results is not None
    faults = [result.fault if isinstance(result, TargetError) else None for result in results]
    assert faults == [None, Fault.MISSING, None, None, Fault.AWAY, None]


async def test_a_failed_sync_is_raised_where_the_work_waits_for_it(
        together: Together, targets: list[DirectoryTarget]) -> None:
    """Of one that is in doubt already, of one whose file goes while it is written, and of one that
    is served by who says EIO; work may answer it, and go on."""
    def careful(target: Target) -> SyncSteps[str]:
        target.write(NAME, 0, [b"new"])
        if target is targets[2]:
            os.unlink(Path(target.path) / NAME)
        try:
            yield NAME
        except TargetError as error:
            return f"failed: {error.fault}"
        return "synced"

    targets[0]._files.suspect(NAME)
    with memory_mount("syncs-fail") as path:
        (path / NAME).touch()
        served = DirectoryTarget(path)
        results = await together.run([*targets, served], careful)
        again = await together.run([served], careful)
        served.close()
    assert results == [f"failed: {Fault.IO}", "synced", f"failed: {Fault.MISSING}", "synced",
                       "synced", "synced", f"failed: {Fault.IO}"]
    assert again == [f"failed: {Fault.IO}"]
    assert run_steps(targets[0], careful(targets[0])) == f"failed: {Fault.IO}"
    assert run_steps(targets[1], careful(targets[1])) == "synced"


async def test_other_errors_of_the_work_come_out(together: Together,
                                                 targets: list[DirectoryTarget]) -> None:
    def broken(target: Target) -> SyncSteps[None]:
        yield NAME
        raise KeyError("x")

    with pytest.raises(KeyError):
        await together.run(targets, broken)


async def test_targets_of_other_kinds_are_left_to_their_lanes(
        together: Together, targets: list[DirectoryTarget]) -> None:
    other = MemoryTarget("other")
    other.create(NAME, b"old")
    assert await together.run([*targets, other], write) is None
    assert other.read(NAME, 0, 9) == targets[0].read(NAME, 0, 9) == b"old"


async def test_a_target_that_hangs_is_not_waited_for(
        together: Together, targets: list[DirectoryTarget],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up soon; the thread that hangs is not asked again, and neither are slow disks."""
    monkeypatch.setattr(module, "ROUNDS_APART", 3)
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    released = threading.Event()
    hung = []

    def hang(target: Target) -> SyncSteps[bytes]:
        if target is targets[3]:
            hung.append(target)
            released.wait()
        return (yield from write(target))

    begin = time.monotonic()
    assert await together.run(targets, hang) is None
    assert time.monotonic() - begin < 5
    assert await together.run(targets, hang) is None
    released.set()
    with trio.fail_after(10):
        while together._lane.busy_since_ns() is not None:
            await trio.sleep(0.01)
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    for _ in range(2):
        assert await together.run(targets, hang) is None
    assert hung == [targets[3]]
    assert await together.run(targets, hang) is not None


def test_where_the_kernel_does_not_offer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert Together.open(opened.append) is None  # type: ignore[arg-type]
    assert opened == []
