"""Holes, preallocation, copies without copying, files without names: what only one transport has.
"""

import ctypes
import errno
import os
import random
import subprocess
from pathlib import Path

import pytest

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE = 0x01, 0x02, 0x08, 0x10
EXTENT = 3_000_000


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def link_open(fd: int, path: Path) -> None:
    """Give an open file a name, as open(2) says of O_TMPFILE."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, os.fsencode(path), 0x400):
        raise OSError(ctypes.get_errno(), "linkat")


def segments(fd: int) -> list[tuple[int, int]]:
    """Ranges with data, as SEEK_DATA and SEEK_HOLE tell them."""
    found: list[tuple[int, int]] = []
    at = 0
    while True:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return found
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append((begin, at))


@pytest.mark.parametrize("synced", [False, True])
def test_a_punched_hole_reads_as_zeros_and_gives_room_back(root: Path, synced: bool) -> None:
    content = bytearray(random.Random(1).randbytes(EXTENT))
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, content)
    if synced:
        os.fsync(fd)
    blocks = os.fstat(fd).st_blocks
    before = os.fstat(fd)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100_000, 2_000_000)
    content[100_000:2_100_000] = bytes(2_000_000)
    assert os.pread(fd, EXTENT, 0) == content
    after = os.fstat(fd)
    assert after.st_size == EXTENT
    assert blocks - after.st_blocks >= 1_990_000 // 512
    assert after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns > before.st_ctime_ns
    os.fsync(fd)
    assert os.pread(fd, EXTENT, 0) == content
    assert len(segments(fd)) == 2
    os.close(fd)


def test_zeroing_and_preallocating(root: Path) -> None:
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 10_000)
    fallocate(fd, ZERO_RANGE, 5_000, 10_000)
    assert os.pread(fd, 20_000, 0) == b"x" * 5_000 + bytes(10_000)
    fallocate(fd, ZERO_RANGE | KEEP_SIZE, 1_000, 100_000)
    assert os.pread(fd, 20_000, 0) == b"x" * 1_000 + bytes(14_000)
    fallocate(fd, KEEP_SIZE, 0, 1 << 20)
    assert os.fstat(fd).st_size == 15_000
    fallocate(fd, 0, 0, 1 << 20)
    assert os.fstat(fd).st_size == 1 << 20
    for mode in (COLLAPSE_RANGE, 0x20, 0x40):
        with pytest.raises(OSError) as caught:
            fallocate(fd, mode, 4096, 4096)
        assert caught.value.errno == errno.EOPNOTSUPP
    os.close(fd)


def test_more_than_there_is_room_for_is_not_promised(root: Path) -> None:
    space = os.statvfs(root)
    with (root / "f").open("wb") as file, pytest.raises(OSError) as caught:
        fallocate(file.fileno(), 0, 0, 2 * space.f_blocks * space.f_frsize)
    assert caught.value.errno == errno.ENOSPC
    assert (root / "f").stat().st_size == 0


@pytest.mark.parametrize("synced", [False, True])
def test_data_and_holes_are_told_apart(root: Path, synced: bool) -> None:
    fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
    for offset in (8192, 1 << 30, 1 << 40):
        os.pwrite(fd, b"y" * 4096, offset)
    if synced:
        os.fsync(fd)
    os.ftruncate(fd, (1 << 40) + (1 << 30))
    assert segments(fd) == [(at, at + 4096) for at in (8192, 1 << 30, 1 << 40)]
    assert os.fstat(fd).st_blocks == 3 * 8
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        with pytest.raises(OSError) as caught:
            os.lseek(fd, 1 << 41, whence)
        assert caught.value.errno == errno.ENXIO
    os.close(fd)


@pytest.mark.parametrize("synced", [False, True])
def test_a_copy_shares_what_it_shows(root: Path, synced: bool) -> None:
    content = random.Random(2).randbytes(EXTENT)
    source = os.open(root / "source", os.O_RDWR | os.O_CREAT)
    os.pwrite(source, content, 5_000)
    if synced:
        os.fsync(source)
    target = os.open(root / "target", os.O_RDWR | os.O_CREAT)
    os.pwrite(target, b"t" * 100_000, 0)
    done_len = 0
    while done_len < EXTENT:
        step_len = os.copy_file_range(source, target, EXTENT - done_len, 6_000 + done_len,
                                      10_000 + done_len)
        if not step_len:
            break
        done_len += step_len
    assert done_len == EXTENT - 1_000
    expected = b"t" * 10_000 + content[1_000:]
    assert os.pread(target, EXTENT * 2, 0) == expected
    os.pwrite(source, b"changed", 50_000)
    os.pwrite(target, b"CHANGED", 70_000)
    os.ftruncate(source, 60_000)
    os.fsync(target)
    os.close(source)
    (root / "source").unlink()
    changed = expected[:70_000] + b"CHANGED" + expected[70_007:]
    assert os.pread(target, EXTENT * 2, 0) == changed
    os.close(target)


def test_cp_uses_it_and_keeps_holes(root: Path) -> None:
    with (root / "f").open("wb") as file:
        file.seek(50_000_000)
        file.write(os.urandom(100_000))
        file.truncate(90_000_000)
        file.flush()
        os.fsync(file.fileno())
    subprocess.run(["cp", "--reflink=auto", root / "f", root / "g"], check=True)
    subprocess.run(["cmp", root / "f", root / "g"], check=True)
    assert (root / "g").stat().st_blocks == (root / "f").stat().st_blocks <= 200


def test_a_file_without_a_name(root: Path) -> None:
    fd = os.open(root, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"unnamed")
    assert os.fstat(fd).st_nlink == 0 and os.listdir(root) == []
    link_open(fd, root / "named")
    os.close(fd)
    assert (root / "named").read_bytes() == b"unnamed"
    assert (root / "named").stat().st_nlink == 1
    os.close(os.open(root, os.O_TMPFILE | os.O_RDWR))
    fd = os.open(root, os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    with pytest.raises(OSError) as caught:
        link_open(fd, root / "never")
    assert caught.value.errno == errno.ENOENT
    os.close(fd)
    assert os.listdir(root) == ["named"]


def test_the_time_of_birth_stays(root: Path) -> None:
    (root / "f").write_bytes(b"1")
    birth = subprocess.run(["stat", "-c", "%W %w", root / "f"], check=True, capture_output=True,
                           text=True).stdout
    assert abs(int(birth.split()[0]) - (root / "f").stat().st_ctime) < 2
    (root / "f").write_bytes(b"2")
    os.rename(root / "f", root / "g")
    again = subprocess.run(["stat", "-c", "%W %w", root / "g"], check=True, capture_output=True,
                           text=True).stdout
    assert again == birth


def test_a_whiteout_takes_the_old_name(root: Path) -> None:
    (root / "f").write_bytes(b"x")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, os.fsencode(root / "f"), -100, os.fsencode(root / "g"), 4) == 0
    assert (root / "g").read_bytes() == b"x"
    assert (root / "f").is_char_device() and (root / "f").lstat().st_rdev == 0


class FileHandle(ctypes.Structure):
    """struct file_handle."""

    _fields_ = (("length", ctypes.c_uint), ("kind", ctypes.c_int),
                ("bytes", ctypes.c_ubyte * 128))


def test_a_file_is_found_by_its_handle(root: Path, mountpoint: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "f").write_bytes(b"by handle")
    (root / "d" / "gone").write_bytes(b"")
    libc = ctypes.CDLL(None, use_errno=True)
    handles = []
    for name in ("d/f", "d/gone", "d"):
        handle = FileHandle(length=128)
        assert libc.name_to_handle_at(-100, os.fsencode(root / name), ctypes.byref(handle),
                                      ctypes.byref(ctypes.c_int()), 0) == 0
        handles.append(handle)
    (root / "d" / "gone").unlink()
    mount = os.open(mountpoint, os.O_RDONLY)
    fd = libc.open_by_handle_at(mount, ctypes.byref(handles[0]), os.O_RDONLY)
    assert os.read(fd, 99) == b"by handle"
    os.close(fd)
    assert libc.open_by_handle_at(mount, ctypes.byref(handles[1]), os.O_RDONLY) == -1
    assert ctypes.get_errno() == errno.ESTALE
    fd = libc.open_by_handle_at(mount, ctypes.byref(handles[2]), os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(fd) == ["f"]
    os.close(fd)
    os.close(mount)
