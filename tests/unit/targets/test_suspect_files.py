"""I5: a sync that failed once proves nothing on the next call."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.base.errors import Fault
from ecfs.base.limits import TARGET_FILES_SUSPECT_MAX
from ecfs.targets import DirectoryTarget
from ecfs.targets.open_files import OpenFiles
from ecfs.testing.target_contract import all_raise, raises


class Disk:
    """The system's sync calls, failing while told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = False
        self.synced: list[int] = []
        for name in ("fdatasync", "fsync"):
            self._wrap(name, monkeypatch)

    def _wrap(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(os, name)

        def sync(fd: int) -> None:
            if self.failing:
                raise OSError(errno.EIO, "no")
            self.synced.append(os.fstat(fd).st_ino)
            real(fd)

        monkeypatch.setattr(os, name, sync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def target(tmp_path: Path, disk: Disk) -> Iterator[DirectoryTarget]:
    target = DirectoryTarget(tmp_path, files_open_max=4)
    yield target
    target.close()


def test_a_failed_sync_stays_failed_until_forgotten(target: DirectoryTarget, disk: Disk) -> None:
    target.create("a", b"x")
    target.create("b", b"x")
    disk.failing = True
    with raises(Fault.IO):
        target.sync("a")
    disk.failing = False
    for _ in range(2):
        with raises(Fault.IO):
            target.sync("a")
    target.sync("b")
    target.write("a", 0, [b"y"])
    target.forget("a")
    target.sync("a")


def test_a_failed_sync_outlives_the_cache(target: DirectoryTarget, disk: Disk) -> None:
    target.create("a", b"x")
    disk.failing = True
    with raises(Fault.IO):
        target.sync("a")
    disk.failing = False
    for number in range(20):
        target.create(f"b{number}", b"x")
    with raises(Fault.IO):
        target.sync("a")


def test_a_new_file_of_the_name_is_not_suspect(target: DirectoryTarget, disk: Disk) -> None:
    for removing in (False, True):
        target.replace("a", b"old")
        disk.failing = True
        with raises(Fault.IO):
            target.sync("a")
        disk.failing = False
        if removing:
            target.remove("a")
            target.create("a", b"new")
        else:
            target.replace("a", b"new")
        target.sync("a")


def test_unsynced_files_are_synced_before_they_leave_the_cache(
        target: DirectoryTarget, disk: Disk, tmp_path: Path) -> None:
    for number in range(5):
        target.create(f"a{number}", b"x", sync=False)
    assert disk.synced == [(tmp_path / "a0").stat().st_ino]


def test_clean_files_leave_the_cache_first(target: DirectoryTarget, disk: Disk) -> None:
    target.create("dirty", b"x", sync=False)
    for number in range(20):
        target.create(f"a{number}", b"x")
    disk.synced.clear()
    target.sync("dirty")
    disk.failing = True
    target.write("a19", 0, [b"y"])
    with raises(Fault.IO):
        target.sync("a19")


def test_a_failure_on_leaving_the_cache_is_told_by_sync(
        target: DirectoryTarget, disk: Disk) -> None:
    disk.failing = True
    for number in range(5):
        target.create(f"a{number}", b"x", sync=False)
    disk.failing = False
    with raises(Fault.IO):
        target.sync("a0")
    target.sync("a1")


def test_what_could_not_be_synced_is_not_read_from_memory(
        target: DirectoryTarget, disk: Disk, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps what it could not write as if it had: a descriptor that is opened later
    reads it, and syncs it without an error."""
    advised: list[tuple[int, int, int, int]] = []

    def advise(fd: int, *arguments: int) -> None:
        offset, length, advice = arguments
        advised.append((os.fstat(fd).st_ino, offset, length, advice))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    target.create("synced", b"x")
    target.sync("synced")
    assert advised == []
    disk.failing = True
    with raises(Fault.IO):
        target.sync("synced")
    for number in range(4):
        target.create(f"evicted{number}", b"x", sync=False)
    target.create("newest", b"x", sync=False)
    assert advised == [((tmp_path / name).stat().st_ino, 0, 0, os.POSIX_FADV_DONTNEED)
                       for name in ("synced", "evicted0")]


def test_past_a_bound_every_file_is_suspect(target: DirectoryTarget, tmp_path: Path) -> None:
    files = OpenFiles(os.open(tmp_path, os.O_RDONLY), str(tmp_path), files_max=1)
    for number in range(TARGET_FILES_SUSPECT_MAX + 1):
        assert not files.is_suspect("other")
        files.suspect(f"a{number}")
    assert files.is_suspect("other")
    files.close()


def test_a_file_that_could_not_be_synced_is_not_created(
        target: DirectoryTarget, disk: Disk, tmp_path: Path) -> None:
    disk.failing = True
    all_raise(Fault.IO, [
        lambda: target.create("claim.1", b"x"), lambda: target.replace("label.1.1", b"x")])
    assert os.listdir(tmp_path) == []
    disk.failing = False
    target.create("claim.1", b"x")


def test_a_failed_sync_of_a_folder_stays_failed_until_forgotten(
        target: DirectoryTarget, disk: Disk) -> None:
    target.create("segments/ab/x", b"x")
    disk.failing = True
    with raises(Fault.IO):
        target.sync_folder("segments/ab")
    disk.failing = False
    with raises(Fault.IO):
        target.sync_folder("segments/ab")
    target.sync_folder("segments")
    target.forget("segments/ab")
    target.sync_folder("segments/ab")


def test_new_folders_are_synced_up_to_the_target(
        target: DirectoryTarget, disk: Disk, tmp_path: Path) -> None:
    target.create("segments/ab/x", b"x")
    names = [tmp_path / "segments/ab/x", tmp_path / "segments/ab", tmp_path / "segments", tmp_path]
    assert disk.synced == [path.stat().st_ino for path in names]
    disk.synced.clear()
    target.create("segments/ab/y", b"x")
    assert disk.synced == [path.stat().st_ino for path in (tmp_path / "segments/ab/y", names[1])]


def test_a_folder_made_again_is_synced_again(
        target: DirectoryTarget, disk: Disk, tmp_path: Path) -> None:
    target.create("segments/x", b"x")
    target.remove("segments/x")
    (tmp_path / "segments").rmdir()
    disk.synced.clear()
    target.create("segments/x", b"x")
    assert tmp_path.stat().st_ino in disk.synced


class Closing:
    """close(2) as NFS and FUSE know it: it closes, and then fails or does not return."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = False
        self.go_on = threading.Event()
        self.go_on.set()
        real = os.close

        def close(fd: int) -> None:
            real(fd)
            self.go_on.wait(20)
            if self.failing:
                raise OSError(errno.ENOTCONN, "gone")

        monkeypatch.setattr("ecfs.targets.open_files.os.close", close)


def test_a_failing_close_ends_nothing_and_leaves_what_is_not_synced_in_doubt(
        target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    closing = Closing(monkeypatch)
    for name in ("clean", "dirty"):
        target.create(name, b"x")
    target.write("dirty", 0, [b"y"])
    closing.failing = True
    target.forget("clean")
    target.forget("dirty")
    closing.failing = False
    target.sync("clean")
    with raises(Fault.IO):
        target.sync("dirty")
    target.forget("dirty")
    target.sync("dirty")
    closing.failing = True
    target.close()


def test_who_closes_a_target_that_hangs_is_not_held_up(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closing = Closing(monkeypatch)
    target = DirectoryTarget(tmp_path)
    target.create("a", b"x")
    closing.go_on.clear()
    began = time.monotonic()
    target.close()
    assert time.monotonic() - began < 5
    closing.go_on.set()
    with raises(Fault.AWAY):
        target.read("a", 0, 1)
