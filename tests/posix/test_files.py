"""Contents of files: offsets, sizes, open modes, mappings, locks."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
from pathlib import Path

import pytest

AT_SYMLINK_FOLLOW = 0x400


def test_what_was_written_is_read(root: Path) -> None:
    content = random.Random(1).randbytes(3_000_001)
    (root / "f").write_bytes(content)
    assert (root / "f").read_bytes() == content
    assert (root / "f").stat().st_size == len(content)


def test_random_writes_and_reads(root: Path) -> None:
    rng = random.Random(2)
    model = bytearray()
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    for _ in range(400):
        offset, length = rng.randrange(300_000), rng.choice([1, 100, 4096, 50_000])
        if rng.random() < 0.5:
            data = rng.randbytes(length)
            assert os.pwrite(fd, data, offset) == length
            model.extend(bytes(max(0, offset + length - len(model))))
            model[offset:offset + length] = data
        elif rng.random() < 0.1:
            os.ftruncate(fd, offset)
            model = model[:offset].ljust(offset, b"\0")
        else:
            assert os.pread(fd, length, offset) == model[offset:offset + length]
        assert os.fstat(fd).st_size == len(model)
    os.close(fd)
    assert (root / "f").read_bytes() == model


def test_open_with_truncate_empties(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"old content")
    before = path.stat().st_mtime_ns
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    assert os.fstat(fd).st_size == 0
    os.write(fd, b"new")
    os.close(fd)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mtime_ns > before


def test_appending_from_two_descriptors(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"0")
    first = os.open(path, os.O_WRONLY | os.O_APPEND)
    second = os.open(path, os.O_WRONLY | os.O_APPEND)
    for digit in b"123456":
        os.write(first if digit % 2 else second, bytes([digit]))
    os.close(first)
    os.close(second)
    assert path.read_bytes() == b"0123456"


def test_truncate_both_ways(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x" * 10_000)
    os.truncate(path, 5_000)
    os.truncate(path, 20_000)
    assert path.read_bytes() == b"x" * 5_000 + bytes(15_000)
    os.truncate(path, 0)
    assert path.read_bytes() == b""


def test_a_sparse_file_takes_few_blocks(root: Path) -> None:
    path = root / "f"
    size = 5 * 1024**3
    with path.open("wb") as file:
        file.seek(size - 3)
        file.write(b"end")
        os.fsync(file.fileno())
    found = path.stat()
    assert found.st_size == size
    assert found.st_blocks * 512 <= 1024 * 1024
    with path.open("rb") as file:
        assert file.read(4096) == bytes(4096)
        file.seek(size - 10)
        assert file.read() == bytes(7) + b"end"


def test_content_past_four_gib(root: Path) -> None:
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    for offset in (1, (1 << 32) - 5, (1 << 40) + 3):
        os.pwrite(fd, b"0123456789", offset)
        assert os.pread(fd, 12, offset - 1) == b"\0" + b"0123456789"
    assert os.pread(fd, 12, (1 << 32) - 6) == b"\0" + b"0123456789" + b"\0"
    os.close(fd)


def test_writing_past_the_largest_size(root: Path) -> None:
    with (root / "f").open("wb") as file, pytest.raises(OSError) as caught:
        os.ftruncate(file.fileno(), -1)
    assert caught.value.errno == errno.EINVAL


def test_an_unlinked_open_file_lives(root: Path) -> None:
    path = root / "f"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before")
    path.unlink()
    assert not path.exists()
    os.write(fd, b" after")
    assert os.pread(fd, 100, 0) == b"before after"
    found = os.fstat(fd)
    assert (found.st_nlink, found.st_size) == (0, 12)
    os.fchmod(fd, 0o600)
    os.ftruncate(fd, 3)
    os.fsync(fd)
    assert os.pread(fd, 100, 0) == b"bef"
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, os.fsencode(root / "again"),
                       AT_SYMLINK_FOLLOW) == -1
    assert ctypes.get_errno() == errno.ENOENT
    os.close(fd)


def test_a_replaced_open_file_lives(root: Path) -> None:
    (root / "old").write_bytes(b"old")
    (root / "new").write_bytes(b"new")
    with (root / "old").open("rb") as file:
        os.rename(root / "new", root / "old")
        assert file.read() == b"old"
        assert (root / "old").read_bytes() == b"new"


def test_a_removed_open_directory(root: Path) -> None:
    (root / "d").mkdir()
    fd = os.open(root / "d", os.O_RDONLY | os.O_DIRECTORY)
    (root / "d").rmdir()
    assert os.fstat(fd).st_nlink == 0
    assert os.listdir(fd) == []
    with pytest.raises(FileNotFoundError):
        os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)


def test_shared_mapping(root: Path) -> None:
    path = root / "f"
    path.write_bytes(bytes(20_000))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000:5005] = b"hello"
        mapped.flush()
        assert os.pread(file.fileno(), 5, 5000) == b"hello"
        os.pwrite(file.fileno(), b"world", 9000)
        assert mapped[9000:9005] == b"world"
    assert path.read_bytes()[5000:5005] == b"hello"


def test_private_mapping(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"abc" * 5000)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        mapped[0:3] = b"xyz"
        assert mapped[0:6] == b"xyzabc"
        mapped.close()
    assert path.read_bytes()[:3] == b"abc"


def test_flock_and_record_locks_exclude(root: Path) -> None:
    path = root / "f"
    path.write_bytes(b"x")
    with path.open("r+b") as first, path.open("r+b") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(first, fcntl.LOCK_UN)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = os.fork()
        if not child:
            with path.open("r+b") as other:
                try:
                    fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_direct_and_synchronous_writes(root: Path) -> None:
    buffer = mmap.mmap(-1, 8192)
    buffer.write(b"d" * 8192)
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_SYNC)
    assert os.pwrite(fd, buffer, 4096) == 8192
    os.close(fd)
    assert (root / "f").read_bytes() == bytes(4096) + b"d" * 8192


def test_copy_file_range_and_sendfile(root: Path) -> None:
    content = random.Random(3).randbytes(300_000)
    (root / "a").write_bytes(content)
    with (root / "a").open("rb") as source, (root / "b").open("wb") as sink:
        left = len(content)
        while left:
            left -= os.copy_file_range(source.fileno(), sink.fileno(), left)
    with (root / "a").open("rb") as source, (root / "c").open("wb") as sink:
        offset = 0
        while offset < len(content):
            offset += os.sendfile(sink.fileno(), source.fileno(), offset, len(content))
    assert (root / "b").read_bytes() == (root / "c").read_bytes() == content


def test_preallocation_extends(root: Path) -> None:
    with (root / "f").open("wb") as file:
        file.write(b"abc")
        file.flush()
        os.posix_fallocate(file.fileno(), 0, 100_000)
    assert (root / "f").read_bytes() == b"abc" + bytes(99_997)


def test_fsync_of_everything(root: Path) -> None:
    fd = os.open(root / "f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    os.sync()


def test_reading_a_file_while_it_grows(root: Path) -> None:
    with (root / "f").open("wb", buffering=0) as writer, (root / "f").open("rb") as reader:
        for number in range(50):
            writer.write(b"%07d\n" % number)
            assert reader.read() == b"%07d\n" % number
