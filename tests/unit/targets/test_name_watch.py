"""Names that come into a target's directory, as the kernel tells of them."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecfs.targets import DirectoryTarget, MemoryTarget, NameWatch, name_watch
from ecfs.targets.in_memory import file_system_type


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests run on is watched as a disk of this machine is."""
    fd = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(name_watch, "LOCAL_TYPES", {file_system_type(fd)})
    os.close(fd)


@pytest.fixture
def watch() -> Iterator[NameWatch]:
    opened = NameWatch.open()
    assert opened is not None
    yield opened
    opened.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[DirectoryTarget]:
    folder = tmp_path / "target"
    folder.mkdir()
    opened = DirectoryTarget(folder)
    yield opened
    opened.close()


def test_the_number_stays_while_no_name_comes_or_goes(
        watch: NameWatch, target: DirectoryTarget) -> None:
    target.create("commits.1", b"")
    before = watch.version(target)
    assert before is not None and watch.version(target) == before
    target.write("commits.1", 0, [b"record" * 1000])
    target.sync("commits.1")
    target.create("segments/00/column", b"below it")
    with_folder = watch.version(target)
    # The folder itself is a name; what is made in it is not.
    assert with_folder != before
    target.create("segments/00/other", b"below it")
    target.write("segments/00/other", 0, [b"more"])
    assert watch.version(target) == with_folder


@pytest.mark.parametrize("change", [
    lambda target, folder: target.create("claim.2", b"claim"),
    lambda target, folder: target.replace("claim.2", b"claim"),
    lambda target, folder: target.remove("there"),
    lambda target, folder: (folder / "claim.2").touch(),
    lambda target, folder: os.link(folder / "there", folder / "claim.2"),
    lambda target, folder: os.rename(folder / "there", folder / "claim.2"),
    lambda target, folder: os.rename(folder / "there", folder.parent / "elsewhere"),
    lambda target, folder: os.rename(folder.parent / "from", folder / "claim.2"),
    lambda target, folder: os.symlink("there", folder / "claim.2"),
    lambda target, folder: os.rename(folder, folder.parent / "moved"),
])
def test_names_that_come_or_go_change_it(
        watch: NameWatch, target: DirectoryTarget,
        change: Callable[[DirectoryTarget, Path], object]) -> None:
    folder = Path(target.path)
    (folder / "there").touch()
    (folder.parent / "from").touch()
    before = watch.version(target)
    change(target, folder)
    after = watch.version(target)
    assert before is not None and after is not None and after != before
    assert watch.version(target) == after


def test_it_is_told_before_who_made_the_name_goes_on(
        watch: NameWatch, target: DirectoryTarget) -> None:
    """Which is what a claim needs: its maker reads the log only afterwards."""
    version = watch.version(target)
    for number in range(300):
        thread = threading.Thread(target=target.create, args=(f"claim.{number:x}", b"claim"))
        thread.start()
        thread.join()
        before, version = version, watch.version(target)
        assert version != before


def test_targets_are_told_apart(watch: NameWatch, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other, again = (DirectoryTarget(tmp_path / name) for name in "aba")
    before = [watch.version(target) for target in (one, other, again)]
    one.create("claim.1", b"")
    after = [watch.version(target) for target in (one, other, again)]
    assert [new != old for new, old in zip(after, before, strict=True)] == [True, False, True]
    for target in (one, other, again):
        target.close()


def test_a_directory_that_is_gone_is_told_of_no_more(
        watch: NameWatch, target: DirectoryTarget) -> None:
    assert watch.version(target) is not None
    os.rmdir(target.path)
    target.close()
    assert watch.version(target) is None
    assert watch.version(target) is None


def test_where_events_were_lost_all_numbers_change(
        watch: NameWatch, target: DirectoryTarget, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_watch, "READS_MAX", 1000)
    (tmp_path / "quiet").mkdir()
    quiet = DirectoryTarget(tmp_path / "quiet")
    before = watch.version(target), watch.version(quiet)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    one, two = os.path.join(target.path, "one"), os.path.join(target.path, "two")
    os.close(os.open(one, os.O_CREAT | os.O_WRONLY))
    for _ in range(limit // 4 + 10):
        # Two events each; others that are the same as the last one in the queue would be merged.
        os.rename(one, two)
        os.rename(two, one)
    after = watch.version(target), watch.version(quiet)
    assert after[0] != before[0] and after[1] != before[1]
    quiet.close()


def test_who_floods_a_directory_makes_nobody_read_for_ever(
        watch: NameWatch, target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.version(target)
    monkeypatch.setattr(name_watch, "READS_MAX", 2)
    read = os.read
    event = name_watch._EVENT.pack(1, 0x100, 0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", lambda fd, length: event)
        assert watch.version(target) is None
    assert os.read is read and watch.version(target) is not None


def test_other_file_systems_and_other_targets_are_listed(
        watch: NameWatch, target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_watch, "LOCAL_TYPES", {0x6969})
    assert watch.version(target) is None
    assert watch.version(MemoryTarget("/simulated")) is None
    target.close()


def test_a_target_that_is_closed_is_not_watched(
        watch: NameWatch, target: DirectoryTarget) -> None:
    target.close()
    assert watch.version(target) is None


def test_a_watch_that_is_closed_tells_nothing(target: DirectoryTarget, tmp_path: Path) -> None:
    opened = NameWatch.open()
    assert opened is not None and opened.version(target) is not None
    opened.close()
    assert opened.version(target) is None
    opened.close()


@pytest.mark.parametrize("failing", ["none of it", "no more of them"])
def test_where_the_kernel_has_no_watch(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        if failing == "no more of them":
            @staticmethod
            def inotify_init1(flags: int) -> int:
                return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: Library())
    assert NameWatch.open() is None


def test_where_no_more_can_be_watched(
        watch: NameWatch, target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def inotify_add_watch(*args: object) -> int:
            return -1

    monkeypatch.setattr(watch, "_library", Library())
    assert watch.version(target) is None


def test_a_target_that_hangs_holds_up_no_other(
        watch: NameWatch, target: DirectoryTarget, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """At its first look, which asks its file system; the others were looked at before."""
    (tmp_path / "share").mkdir()
    share = DirectoryTarget(tmp_path / "share")
    before, hanging, go = watch.version(target), threading.Event(), threading.Event()
    with_folder = share.with_folder

    def hang(use: Callable[[int], int]) -> int:
        hanging.set()
        go.wait()
        return with_folder(use)

    monkeypatch.setattr(share, "with_folder", hang)
    stuck = threading.Thread(target=watch.version, args=(share,))
    stuck.start()
    hanging.wait()
    try:
        assert watch.version(target) == before
    finally:
        go.set()
        stuck.join()
    assert watch.version(share) == 0
    share.close()


def test_a_watch_that_is_closed_meanwhile_watches_nothing(
        target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = NameWatch.open()
    assert opened is not None
    with_folder = target.with_folder

    def close_first(use: Callable[[int], int]) -> int:
        opened.close()
        return with_folder(use)

    monkeypatch.setattr(target, "with_folder", close_first)
    assert opened.version(target) is None
    assert opened.version(target) is None
