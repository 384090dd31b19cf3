"""Access times: noted with `relatime`, left alone without."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.posix.conftest import memory_mount

DAY_NS = 24 * 3600 * 10**9


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
