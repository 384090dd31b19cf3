"""Access times: noted with `relatime`, left alone without."""

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecfs.testing.posix_cases import cases
from ecfs.testing.posix_compare import Difference, compare, places_at, reference_parents
from tests.posix.conftest import memory_mount

DAY_NS = 24 * 3600 * 10**9
SET_NS = 10**18
NOT_TOLD_BY_PYFUSE3 = (f"opened {os.O_RDONLY:o}, then {os.O_NOATIME}",
                       f"opened {os.O_RDWR:o}, then {os.O_NOATIME}",
                       f"opened {os.O_NOATIME:o}, then 0",
                       f"opened {os.O_RDWR | os.O_NOATIME:o}, then 0",
                       f"directory opened {os.O_NOATIME:o} by root")


@pytest.fixture(scope="module", params=[("relatime",), ("relatime", "pyfuse3"), ()])
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture(scope="module")
def mounted(words: tuple[str, ...]) -> Iterator[Path]:
    with memory_mount(*words) as path:
        yield path


def atime(path: Path) -> int:
    return path.lstat().st_atime_ns


def is_noted(path: Path) -> bool:
    """Whether a read of what is at a path sets its access time."""
    before = path.lstat()
    if path.is_symlink():
        os.readlink(path)
    elif path.is_dir():
        os.listdir(path)
    else:
        path.read_bytes()
    after = path.lstat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert after.st_atime_ns >= before.st_atime_ns
    return after.st_atime_ns != before.st_atime_ns


def test_the_first_read_after_a_change_is_noted(mounted: Path, words: tuple[str, ...]) -> None:
    kept = "relatime" in words
    (mounted / "d").mkdir()
    (mounted / "d" / "f").write_bytes(b"content" * 1000)
    os.symlink("f", mounted / "d" / "l")
    for name in ("d/f", "d", "d/l"):
        assert is_noted(mounted / name) == kept, name
        assert not is_noted(mounted / name), name
    with (mounted / "d" / "f").open("r+b") as file:
        file.write(b"changed")
    (mounted / "d" / "g").touch()
    for name in ("d/f", "d"):
        assert is_noted(mounted / name) == kept, name
        assert not is_noted(mounted / name), name


def test_a_read_a_day_later_is_noted(mounted: Path, words: tuple[str, ...]) -> None:
    path = mounted / "old"
    path.write_bytes(b"x")
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns - 2 * DAY_NS, now_ns - 3 * DAY_NS))
    assert is_noted(path) == ("relatime" in words)
    assert not is_noted(path)


def test_who_asks_not_to_be_noted_is_not(mounted: Path) -> None:
    path = mounted / "unnoted"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOATIME)
    os.write(fd, b"content" * 1000)
    os.utime(path, ns=(SET_NS, SET_NS))
    assert os.pread(fd, 7, 0) == b"content"
    os.close(fd)
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    assert os.read(fd, 7) == b"content"
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[-7:] == b"content"
    os.close(fd)
    assert atime(path) == SET_NS


def test_a_link_is_noted_however_often_it_was_read(mounted: Path, words: tuple[str, ...]) -> None:
    path = mounted / "link"
    os.symlink("f", path)
    assert is_noted(path) == ("relatime" in words)
    for uid in (5, 6):
        os.utime(path, ns=(SET_NS, SET_NS), follow_symlinks=False)
        os.lchown(path, uid, uid)
        assert is_noted(path) == ("relatime" in words)


@pytest.mark.parametrize("length", [5000, 2 << 20])
def test_who_copies_a_range_reads_it(mounted: Path, words: tuple[str, ...], length: int) -> None:
    source, target = mounted / f"source{length}", mounted / f"target{length}"
    source.write_bytes(b"s" * length)
    os.utime(source, ns=(SET_NS, SET_NS))
    before = atime(source)
    with source.open("rb") as old, target.open("wb") as new:
        assert os.copy_file_range(old.fileno(), new.fileno(), length) > 0
    assert (atime(source) != before) == ("relatime" in words)


def test_what_the_transport_hears_too_late_is_as_the_table_says(
        mounted: Path, words: tuple[str, ...]) -> None:
    """docs/posix.md: flags that fcntl(2) sets, and an empty file."""
    path = mounted / "late"
    path.write_bytes(b"content")
    os.utime(path, ns=(SET_NS, SET_NS))
    fd = os.open(path, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NOATIME)
    assert os.read(fd, 7) == b"content"
    assert (atime(path) != SET_NS) == ("pyfuse3" in words)
    with (mounted / "late-copy").open("wb") as new:
        assert os.copy_file_range(fd, new.fileno(), 7, 0) == 7
    os.close(fd)
    assert (atime(path) != SET_NS) == ("relatime" in words)
    empty = mounted / "empty"
    empty.touch()
    assert not is_noted(empty)


@pytest.mark.parametrize("words", [("relatime",), ("relatime", "pyfuse3")], indirect=True,
                         scope="module")
def test_reads_are_noted_as_on_a_kernel_file_system(mounted: Path,
                                                    words: tuple[str, ...]) -> None:
    findings: list[tuple[str, Difference]] = []
    with places_at(mounted, reference_parents()) as places:
        for name, calls in cases("accesses"):
            found = compare(calls, places)
            if found is not None:
                findings.append((name, found))
    if "pyfuse3" in words:
        assert findings
        findings = [(name, found) for name, found in findings
                    if not any(told in name for told in NOT_TOLD_BY_PYFUSE3)]
    assert findings == []
