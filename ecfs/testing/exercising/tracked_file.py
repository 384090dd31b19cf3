"""One file of a mount, and what must be in it."""

import ctypes
import errno
import mmap
import os
from pathlib import Path

PUNCH_HOLE = 0x03
"""FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE of fallocate(2): the one needs the other."""
KEEP_SIZE = 0x01
ZERO_RANGE = 0x10
ZEROING = frozenset({PUNCH_HOLE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE})
ALLOCATIONS = (0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE)

CHUNK_LEN = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class TrackedFile:
    """Calls on a file through one descriptor, its bytes kept beside it.

    Offsets and lengths in bytes; ranges lie within the file unless a method says that it may grow.
    AssertionError where the file system says other than it was told; OSError when it refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = bytearray()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)

    def write(self, offset: int, data: bytes) -> None:
        """All of it; may grow."""
        done_len = os.pwrite(self._fd, data, offset)
        assert done_len == len(data), f"{done_len} of {len(data)} bytes were written"
        self._put(offset, data)

    def read(self, offset: int, length: int) -> None:
        """May reach past the end."""
        self._same(os.pread(self._fd, length, offset), offset, length, "read")

    def map_read(self, offset: int, length: int) -> None:
        """Through memory, shared and read-only."""
        with mmap.mmap(self._fd, len(self.content), mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
            self._same(mapped[offset:offset + length], offset, length, "mmap")

    def map_write(self, offset: int, data: bytes, *, flush: bool) -> None:
        """Through memory, shared; `flush` is msync(2)."""
        with mmap.mmap(self._fd, len(self.content), mmap.MAP_SHARED) as mapped:
            mapped[offset:offset + len(data)] = data
            if flush:
                mapped.flush()
        self._put(offset, data)

    def truncate(self, size: int) -> None:
        """Cut, or made longer by zeros."""
        os.ftruncate(self._fd, size)
        del self.content[size:]
        self._grow(size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2) with one of ALLOCATIONS; may grow."""
        if _libc.fallocate(self._fd, mode, offset, length):
            raise OSError(ctypes.get_errno(), f"fallocate({mode:#x}, {offset}, {length})")
        if not mode & KEEP_SIZE:
            self._grow(offset + length)
        if mode in ZEROING:
            end = min(offset + length, len(self.content))
            self.content[offset:end] = bytes(max(0, end - offset))

    def copy_to(self, other: "TrackedFile", offset: int, length: int, to: int) -> None:
        """copy_file_range(2) to another or the same file, which may grow; without an overlap."""
        done_len = 0
        while done_len < length:
            part_len = os.copy_file_range(self._fd, other._fd, length - done_len,
                                          offset + done_len, to + done_len)
            assert part_len > 0, f"copy_file_range stopped {length - done_len} bytes early"
            done_len += part_len
        other._put(to, bytes(self.content[offset:offset + length]))

    def sync(self, *, only_data: bool) -> None:
        """fsync(2), or fdatasync(2)."""
        (os.fdatasync if only_data else os.fsync)(self._fd)

    def evict(self) -> None:
        """What is read next comes from the file system, not from the kernel's cache."""
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, name: str) -> None:
        """To another name in the same directory, in place of what has it."""
        path = self.path.with_name(name)
        self.path.rename(path)
        self.path = path

    def close(self) -> None:
        """Before an unmount."""
        os.close(self._fd)

    def reopen(self) -> None:
        """After `close`."""
        self._fd = os.open(self.path, os.O_RDWR)

    def check_holes(self) -> None:
        """SEEK_DATA and SEEK_HOLE go through the file and pass over nothing but zeros."""
        size = os.fstat(self._fd).st_size
        assert size == len(self.content), f"{size} bytes long, not {len(self.content)}"
        place = 0
        while place < size:
            try:
                data = os.lseek(self._fd, place, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = size
            assert not any(self.content[place:data]), f"data in the hole from {place} to {data}"
            if data >= size:
                return
            place = os.lseek(self._fd, data, os.SEEK_HOLE)
            assert place > data, f"the data at {data} end at {place}"

    def check(self) -> None:
        """Every byte, and the size."""
        for offset in range(0, len(self.content) + 1, CHUNK_LEN):
            self.read(offset, CHUNK_LEN)
        self.check_holes()

    def _put(self, offset: int, data: bytes) -> None:
        self._grow(offset)
        self.content[offset:offset + len(data)] = data

    def _grow(self, size: int) -> None:
        if len(self.content) < size:
            self.content.extend(bytes(size - len(self.content)))

    def _same(self, got: bytes, offset: int, length: int, call: str) -> None:
        want = bytes(self.content[offset:offset + length])
        if got == want:
            return
        assert len(got) == len(want), (
            f"{call} of {self.path.name} at {offset}: {len(got)} bytes, not {len(want)}")
        wrong = [at for at, (one, other) in enumerate(zip(got, want, strict=True)) if one != other]
        raise AssertionError(
            f"{call} of {self.path.name} at {offset}: {len(wrong)} of {len(want)} bytes are wrong, "
            f"from {offset + wrong[0]} to {offset + wrong[-1]}")
