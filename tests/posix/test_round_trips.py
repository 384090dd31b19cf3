"""How often the kernel has to ask: what a system call costs in requests, on the raw transport."""

import os
from collections import Counter
from pathlib import Path

from ecfs.driver.fuse_protocol import Opcode
from ecfs.testing.fuse_traffic import record

TIMES = 50


async def test_a_write_asks_for_nothing_but_itself() -> None:
    def write(base: Path) -> None:
        fd = os.open(base / "f", os.O_RDWR | os.O_CREAT)
        for number in range(TIMES):
            os.pwrite(fd, b"x" * 4096, number * 4096)
        os.close(fd)

    counts = Counter(asked.opcode for asked in await record(write))
    assert counts[Opcode.WRITE] == TIMES
    # File capabilities are asked for once, not with each write.
    assert counts[Opcode.GETXATTR] <= 1
    assert counts.total() - TIMES < 10


async def test_what_is_known_is_not_asked_for_again() -> None:
    def look(base: Path) -> None:
        (base / "f").write_bytes(b"content")
        fd = os.open(base / "f", os.O_RDONLY)
        os.fsync(fd)
        for _ in range(TIMES):
            os.stat(base / "f")
            os.access(base / "f", os.R_OK)
            (base / "none").exists()
            os.pread(fd, 100, 0)
        os.close(fd)

    counts = Counter(asked.opcode for asked in await record(look))
    assert counts[Opcode.LOOKUP] <= 3
    assert counts[Opcode.GETATTR] <= 6
    assert counts[Opcode.READ] <= 1
    assert counts[Opcode.STATX] == 0


async def test_an_open_and_a_close_are_no_request() -> None:
    """The first open is: it is told that there is nothing to ask for."""
    def use(base: Path) -> None:
        (base / "f").write_bytes(b"content")
        for number in range(TIMES):
            assert (base / "f").read_bytes() == b"content"
            with (base / "f").open("ab") as file:
                file.write(b"")
            with (base / "f").open("r+b") as file:
                os.ftruncate(file.fileno(), 7)
            (base / f"g{number}").touch()

    counts = Counter(asked.opcode for asked in await record(use))
    assert counts[Opcode.OPEN] == 1
    assert counts[Opcode.RELEASE] <= 1
    assert counts[Opcode.CREATE] == TIMES + 1
    assert counts[Opcode.FLUSH] == 0, "it is refused before a handler is asked"


async def test_emptying_by_an_open_is_one_request() -> None:
    def empty(base: Path) -> None:
        (base / "f").write_bytes(b"content")
        for _ in range(TIMES):
            (base / "f").write_bytes(b"other")

    counts = Counter(asked.opcode for asked in await record(empty))
    assert counts[Opcode.SETATTR] == TIMES
    assert counts[Opcode.WRITE] == TIMES + 1
    assert counts[Opcode.OPEN] == 1


async def test_a_copy_is_one_request_and_no_byte() -> None:
    def copy(base: Path) -> None:
        (base / "f").write_bytes(b"x" * (4 << 20))
        with (base / "f").open("rb") as source, (base / "g").open("wb") as target:
            os.fsync(source.fileno())
            left = 4 << 20
            while left:
                left -= os.copy_file_range(source.fileno(), target.fileno(), left)

    counts = Counter(asked.opcode for asked in await record(copy))
    assert counts[Opcode.READ] == 0
    # The volume in memory copies 64 KiB at a time; a real one shares extents.
    assert counts[Opcode.COPY_FILE_RANGE] <= 64


async def test_a_change_of_a_directory_is_not_followed_by_a_question() -> None:
    """Where root mounts for himself alone, whom no mode keeps out."""
    def change(base: Path) -> None:
        for number in range(TIMES):
            (base / f"d{number}").mkdir()
            (base / f"f{number}").touch()
            (base / f"f{number}").rename(base / f"g{number}")
            (base / f"g{number}").unlink()

    counts = Counter(asked.opcode for asked in await record(change))
    for opcode in (Opcode.MKDIR, Opcode.CREATE, Opcode.RENAME, Opcode.UNLINK):
        assert counts[opcode] == TIMES
    assert counts[Opcode.GETATTR] <= 2
    assert counts[Opcode.ACCESS] == 0
