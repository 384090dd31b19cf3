"""What is long is on its way to the device before a sync asks for it."""

import os
from pathlib import Path

import pytest

from ecfs.targets import DirectoryTarget
from ecfs.targets.in_memory import lies_in_memory
from ecfs.targets.writing import WRITEBACK_LEN_MIN, Writeback, write_all


def test_a_long_range_is_begun_and_a_short_one_not(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    content = os.urandom(WRITEBACK_LEN_MIN)
    assert write_all(fd, 7, [content[:100], b"", content[100:]]) == len(content)
    writeback = Writeback()
    assert writeback.begin(fd, 7, len(content))
    assert not writeback.begin(fd, 7, len(content) - 1)
    assert os.pread(fd, 2 * len(content), 7) == content
    os.close(fd)
    assert not writeback.begin(fd, 7, len(content)), "a sync will tell"


def test_where_nothing_can_be_begun_nothing_is(tmp_path: Path) -> None:
    writeback = Writeback()
    writeback._function = None
    with (tmp_path / "f").open("wb") as file:
        assert not writeback.begin(file.fileno(), 0, WRITEBACK_LEN_MIN)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_target_begins_what_is_long_unless_it_lies_in_memory(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(Writeback, "begin", lambda writeback, fd, offset, length:
                        begun.append((offset, length)))
    monkeypatch.setattr("ecfs.targets.directory.lies_in_memory", lambda fd: in_memory)
    target = DirectoryTarget(tmp_path)
    target.create("f", b"begin")
    target.write("f", 5, [b"a" * WRITEBACK_LEN_MIN, b"b" * 10])
    assert begun == ([] if in_memory else [(5, WRITEBACK_LEN_MIN + 10)])
    target.sync("f")
    assert target.read("f", 0, 6) == b"begina"
    target.close()


def test_what_lies_in_memory_is_told_apart() -> None:
    fd = os.open("/dev/shm", os.O_RDONLY)
    assert lies_in_memory(fd)
    os.close(fd)
