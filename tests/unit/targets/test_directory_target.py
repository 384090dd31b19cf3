import errno
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecfs.base.errors import Fault, TargetError
from ecfs.base.units import KIB, MIB
from ecfs.targets import DirectoryTarget
from ecfs.testing.mounts import make_read_only, small_disk
from ecfs.testing.target_contract import all_raise, raises

COLUMN = "segments/ab/1-ab.col"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def target(folder: Path) -> Iterator[DirectoryTarget]:
    target = DirectoryTarget(folder)
    yield target
    target.close()


def every_use(target: DirectoryTarget, name: str) -> list[Callable[[], object]]:
    return [lambda: target.read(name, 0, 1), lambda: target.write(name, 0, [b"x"]),
            lambda: target.sync(name), lambda: target.size(name),
            lambda: target.truncate(name, 0), lambda: target.preallocate(name, 0, 1),
            lambda: target.punch(name, 0, 1), lambda: target.drop_cache(name, 0, 1)]


# The directory itself.

def test_a_missing_directory(tmp_path: Path) -> None:
    with raises(Fault.MISSING):
        DirectoryTarget(tmp_path / "missing")


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises(Fault.UNSAFE):
        DirectoryTarget(tmp_path / "file")


def test_a_removed_directory_is_missing(target: DirectoryTarget, folder: Path) -> None:
    target.create(COLUMN, b"x")
    target.create("label.1.1", b"x")
    assert target.read("label.1.1", 0, 1) == b"x"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "label.1.1").write_bytes(b"planted")
    all_raise(Fault.MISSING, [
        lambda: target.list_names(), lambda: target.list_names("segments/ab"),
        lambda: target.create("a", b""), lambda: target.create("segments/cd/a", b""),
        lambda: target.replace("a", b""), lambda: target.remove("label.1.1"),
        lambda: target.write(COLUMN, 0, [b"x"]), lambda: target.write(COLUMN, 0, [b"x"]),
        lambda: target.sync("label.1.1"), lambda: target.sync_folder(""),
        lambda: target.sync_folder("segments/ab"), lambda: target.space(),
        lambda: target.stored_len(), lambda: target.device()])
    target.forget("label.1.1")
    with raises(Fault.MISSING):
        target.read("label.1.1", 0, 1)
    assert os.listdir(folder) == ["label.1.1"]


def test_a_removed_file_is_noticed_by_writers(target: DirectoryTarget, folder: Path) -> None:
    target.create("a", b"x")
    target.create("b", b"x")
    os.unlink(folder / "a")
    os.rename(folder / "b", folder / "c")
    os.unlink(folder / "c")
    with raises(Fault.MISSING):
        target.write("a", 1, [b"y"])
    with raises(Fault.MISSING):
        target.sync("b")
    (folder / "b").write_bytes(b"other")
    assert target.read("b", 0, 10) == b"other"


def test_a_moved_directory_goes_on(target: DirectoryTarget, folder: Path) -> None:
    target.create("a", b"x")
    folder.rename(folder.parent / "elsewhere")
    target.write("a", 1, [b"y"])
    target.sync("a")
    assert (folder.parent / "elsewhere" / "a").read_bytes() == b"xy"


# What others planted.

def test_symbolic_links_are_not_followed(target: DirectoryTarget, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    os.symlink(outside / "secret", folder / "a")
    os.symlink(outside / "new", folder / "b")
    os.symlink(outside, folder / "segments")
    for name in ("a", "b", "segments/secret", "segments/ab/x"):
        for call in every_use(target, name):
            with raises(Fault.UNSAFE):
                call()
    for name in ("a", "b"):
        with raises(Fault.EXISTS):
            target.create(name, b"x")
    all_raise(Fault.UNSAFE, [
        lambda: target.create("segments/ab/x", b""), lambda: target.list_names("segments"),
        lambda: target.replace("segments/x", b""), lambda: target.remove("segments/secret"),
        lambda: target.sync_folder("segments")])
    target.replace("a", b"ours")
    target.remove("b")
    assert target.read("a", 0, 10) == b"ours"
    assert target.stored_len() < MIB
    assert (outside / "secret").read_bytes() == b"secret"
    assert os.listdir(outside) == ["secret"]


def test_fifos_sockets_devices_and_folders_do_not_block(
        target: DirectoryTarget, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for name in ("fifo", "device", "folder", "socket"):
            for call in every_use(target, name):
                with raises(Fault.UNSAFE):
                    call()
            with raises(Fault.EXISTS):
                target.create(name, b"x")
        assert target.list_names() == ["device", "fifo", "folder", "socket"]
        target.replace("fifo", b"ours")
        with raises(Fault.UNSAFE):
            target.replace("folder", b"ours")
    assert target.read("fifo", 0, 10) == b"ours"


def test_planted_devices_are_not_even_opened(
        target: DirectoryTarget, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    real = os.open
    opened: list[object] = []

    def record(path: str, *arguments: int, **keywords: int) -> int:
        opened.append(path)
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", record)
    all_raise(Fault.UNSAFE, every_use(target, "device"))
    assert opened == []


@pytest.mark.parametrize("kind", ["fifo", "link", "hard link"])
def test_what_is_planted_at_the_last_moment_is_recognised(
        target: DirectoryTarget, folder: Path, monkeypatch: pytest.MonkeyPatch,
        kind: str) -> None:
    real = os.stat

    def plant(name: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        status = real(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        os.unlink(name, dir_fd=dir_fd)
        if kind == "fifo":
            os.mkfifo(name, dir_fd=dir_fd)
        elif kind == "link":
            os.symlink("other", name, dir_fd=dir_fd)
        else:
            os.link("other", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        return status

    target.create("other", b"other")
    for call in every_use(target, "a"):
        (folder / "a").unlink(missing_ok=True)
        (folder / "a").touch()
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", plant)
            all_raise(Fault.UNSAFE, [call])
    assert (folder / "other").read_bytes() == b"other"


def test_hard_links_are_unsafe(target: DirectoryTarget, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes(b"keep me")
    os.link(outside, folder / "a")
    for call in every_use(target, "a"):
        with raises(Fault.UNSAFE):
            call()
    target.create("b", b"x")
    os.link(folder / "b", folder / "c")
    with raises(Fault.UNSAFE):
        target.write("b", 0, [b"y"])
    with raises(Fault.UNSAFE):
        target.sync("b")
    assert outside.read_bytes() == b"keep me"


def test_a_planted_leftover_does_not_stop_a_replace(target: DirectoryTarget, folder: Path) -> None:
    (folder / ".tmp-a").write_bytes(b"left by a crash")
    os.symlink("/etc/passwd", folder / ".tmp-b")
    for name in ("a", "b"):
        target.replace(name, b"new")
        assert target.read(name, 0, 10) == b"new"
    assert sorted(os.listdir(folder)) == target.list_names() == ["a", "b"]


def test_leftovers_and_odd_names_in_listings(target: DirectoryTarget, folder: Path) -> None:
    for name in (b".tmp-label.1.1", b"UPPER", b"\xff\xfe", "ümlaut".encode(), b".hidden"):
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).touch()
    assert sorted(map(os.fsencode, target.list_names())) == sorted(
        [b"UPPER", b"\xff\xfe", "ümlaut".encode(), b".hidden"])
    assert target.stored_len() == 0


def test_huge_listings_are_refused(folder: Path) -> None:
    target = DirectoryTarget(folder, listing_max=20)
    for number in range(20):
        target.create(f"a{number}", b"x", sync=False)
    assert len(target.list_names()) == 20
    (folder / "one-more").touch()
    with raises(Fault.UNSAFE):
        target.list_names()
    assert 0 < target.stored_len() <= 20 * 4 * KIB
    target.close()


def test_files_are_private(target: DirectoryTarget, folder: Path) -> None:
    target.create(COLUMN, b"x")
    target.replace("label.1.1", b"x")
    assert stat.S_IMODE((folder / COLUMN).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "label.1.1").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "segments").stat().st_mode) == 0o700


# Disks that refuse.

def test_a_full_disk(folder: Path) -> None:
    with small_disk(folder, size_len=256 * KIB):
        target = DirectoryTarget(folder)
        target.create("keep", b"x" * KIB)
        with raises(Fault.FULL):
            target.create("large", bytes(MIB))
        with raises(Fault.FULL):
            target.replace("keep", bytes(MIB))
        with raises(Fault.FULL):
            target.write("keep", 4 * KIB, [b"y" * MIB])
        target.truncate("keep", KIB)
        with raises(Fault.FULL):
            target.preallocate("keep", 0, MIB)
        assert target.list_names() == ["keep"]
        assert os.listdir(folder) == ["keep"]
        assert target.read("keep", 0, KIB) == b"x" * KIB
        assert target.space().total_len == 256 * KIB
        target.create("fits", bytes(64 * KIB))
        target.remove("fits")
        target.close()


def test_a_disk_that_turns_read_only(folder: Path) -> None:
    with small_disk(folder, size_len=MIB):
        target = DirectoryTarget(folder)
        target.create("segments/ab/x", b"hello")
        target.close()
        make_read_only(folder)
        target = DirectoryTarget(folder)
        assert target.read("segments/ab/x", 0, 5) == b"hello"
        assert target.list_names("segments/ab") == ["x"]
        all_raise(Fault.READ_ONLY, [
            lambda: target.create("a", b""), lambda: target.create("segments/cd/a", b""),
            lambda: target.replace("a", b""), lambda: target.remove("segments/ab/x"),
            lambda: target.write("segments/ab/x", 0, [b"y"]),
            lambda: target.truncate("segments/ab/x", 0)])
        make_read_only(folder, read_only=False)
        target.write("segments/ab/x", 0, [b"J"])
        assert target.read("segments/ab/x", 0, 5) == b"Jello"
        target.close()


def test_a_mount_over_the_directory_is_not_used(target: DirectoryTarget, folder: Path) -> None:
    target.create("a", b"x")
    with small_disk(folder, size_len=MIB):
        assert target.list_names() == ["a"]
        assert os.listdir(folder) == []


def test_holes_are_punched_on_tmpfs(folder: Path) -> None:
    with small_disk(folder, size_len=8 * MIB):
        target = DirectoryTarget(folder)
        target.create("a", b"x" * MIB)
        before_len = target.stored_len()
        assert target.punch("a", 0, 512 * KIB)
        assert target.stored_len() == before_len - 512 * KIB
        assert target.size("a") == MIB
        target.close()


def test_preallocated_room_is_taken(folder: Path) -> None:
    with small_disk(folder, size_len=8 * MIB):
        target = DirectoryTarget(folder)
        target.create("a", b"")
        target.preallocate("a", 0, MIB)
        assert target.stored_len() == target.size("a") == MIB
        target.close()


# Open files.

def open_count(folder: Path) -> int:
    prefix = str(folder)
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith(prefix)
        except FileNotFoundError:
            pass
    return count


def test_open_files_are_bounded_and_closed(folder: Path) -> None:
    target = DirectoryTarget(folder, files_open_max=8)
    for number in range(50):
        target.create(f"a{number}", b"x", sync=number % 2 == 0)
        target.read(f"a{number // 2}", 0, 1)
    assert open_count(folder) <= 8 + 1
    target.list_names()
    target.stored_len()
    assert open_count(folder) <= 8 + 1
    target.close()
    assert open_count(folder) == 0


def reads_without_waiting(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
            return False


@pytest.mark.parametrize("place", ["/dev/shm", "/var/tmp"])
def test_what_is_open_and_in_memory_is_read_without_waiting(place: str) -> None:
    """On a file system in memory, and on one with a disk, if it makes the promise."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        target = DirectoryTarget(folder)
        target.create("a", b"0123456789")
        target.forget("a")
        assert target.read_now("a", 2, 3) is None, "it would have to be opened"
        assert target.read("a", 0, 1) == b"0"
        promised = place == "/dev/shm" or reads_without_waiting(Path(folder) / "a")
        assert target.read_now("a", 2, 3) == (b"234" if promised else None)
        assert target.read_now("a", 8, 3) is None, "it ends before"
        assert target.read_now("a", 0, 10) == (b"0123456789" if promised else None)
        assert target.read_now("b", 0, 1) is None
        target.close()
        assert target.read_now("a", 0, 1) is None
        assert open_count(Path(folder)) == 0


@pytest.mark.parametrize(("number", "asked_again"), [
    (errno.EAGAIN, True), (errno.EIO, True), (errno.EOPNOTSUPP, False)])
def test_what_would_wait_or_fails_is_left_to_a_read(
        folder: Path, number: int, asked_again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    target = DirectoryTarget(folder)
    target.create("a", b"0123456789")
    asked = []

    def refusing(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        asked.append(offset)
        raise OSError(number, "as asked")

    monkeypatch.setattr(os, "preadv", refusing)
    assert target.read_now("a", 0, 3) is None
    assert target.read_now("a", 1, 3) is None
    assert asked == ([0, 1] if asked_again else [0])
    assert target.read("a", 0, 3) == b"012"
    target.close()
    assert open_count(folder) == 0


def test_a_file_dropped_while_it_is_read_now_is_closed_by_the_next_call(folder: Path) -> None:
    target = DirectoryTarget(folder)
    target.create("a", b"x")
    file = target._files.take_now("a")
    assert file is not None
    target.forget("a")
    assert open_count(folder) == 2
    target._files.give_back_now(file)
    assert open_count(folder) == 2, "closing may wait"
    target.forget("b")
    assert open_count(folder) == 1
    target.close()


def test_failures_leave_nothing_open(target: DirectoryTarget, folder: Path) -> None:
    os.symlink("/etc/passwd", folder / "link")
    os.mkfifo(folder / "fifo")
    target.create("segments/ab/file", b"x")
    target.forget("segments/ab/file")
    before_count = open_count(folder.parent)
    for name in ("link", "fifo", "missing", "segments/ab/missing", "segments/ab/file/x"):
        for call in (*every_use(target, name), lambda name=name: target.list_names(name)):  # type: ignore[misc]
            try:
                call()
            except TargetError:
                pass
    assert open_count(folder.parent) == before_count


def test_closing_waits_for_users_of_a_file(folder: Path) -> None:
    target = DirectoryTarget(folder)
    target.create("a", b"x" * MIB)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            try:
                if target.read("a", 0, MIB) != b"x" * MIB:
                    wrong.append("bytes of another file")
            except TargetError as error:
                if error.fault is not Fault.AWAY:
                    wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    target.close()
    others = [DirectoryTarget(folder) for _ in range(20)]
    stop.set()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert wrong == []


def test_unknown_errors_are_io_errors(target: DirectoryTarget, folder: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    target.create("a", b"x")

    def fail(*arguments: object) -> bytes:
        raise OSError(errno.EREMOTEIO, "remote I/O error")

    monkeypatch.setattr(os, "pread", fail)
    with raises(Fault.IO):
        target.read("a", 0, 1)
