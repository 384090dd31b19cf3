"""What pyfuse3 cannot carry: the errno that programs see, and that they get along without."""

import ctypes
import errno
import os
import subprocess
from pathlib import Path

import pytest


def refused(number: int, action: object) -> None:
    with pytest.raises(OSError) as caught:
        action()  # type: ignore[operator]  # a lambda of no arguments
    assert caught.value.errno == number


def fallocate(fd: int, mode: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(4096)):
        raise OSError(ctypes.get_errno(), "fallocate")


def test_preallocation_is_refused_and_glibc_writes_instead(root: Path) -> None:
    with (root / "f").open("w+b") as file:
        for mode in (0, 1, 3, 0x10):
            refused(errno.EOPNOTSUPP, lambda mode=mode: fallocate(file.fileno(), mode))
        os.posix_fallocate(file.fileno(), 0, 100_000)
    assert (root / "f").stat().st_size == 100_000


def test_a_file_is_all_data(root: Path) -> None:
    with (root / "f").open("w+b") as file:
        file.truncate(1 << 20)
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 0
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 1 << 20
        refused(errno.ENXIO, lambda: os.lseek(file.fileno(), 1 << 20, os.SEEK_DATA))


def test_copies_go_through_the_kernel(root: Path) -> None:
    (root / "f").write_bytes(b"x" * 300_000)
    with (root / "f").open("rb") as source, (root / "g").open("wb") as target:
        assert os.copy_file_range(source.fileno(), target.fileno(), 300_000) > 0
    subprocess.run(["cp", "--sparse=auto", root / "f", root / "h"], check=True)
    assert (root / "h").read_bytes() == b"x" * 300_000


def test_unnamed_files_are_refused_and_named_ones_serve(root: Path) -> None:
    refused(errno.EOPNOTSUPP, lambda: os.open(root, os.O_TMPFILE | os.O_RDWR))
    made = subprocess.run(["python3", "-c", "import tempfile, sys\n"
                           "f = tempfile.TemporaryFile(dir=sys.argv[1]); f.write(b'x'); f.seek(0)\n"
                           "print(f.read())", root], check=True, capture_output=True, text=True)
    assert made.stdout == "b'x'\n"
    assert os.listdir(root) == []


def test_there_is_no_time_of_birth(root: Path) -> None:
    (root / "f").touch()
    assert subprocess.run(["stat", "-c", "%w", root / "f"], check=True, capture_output=True,
                          text=True).stdout == "-\n"


def test_access_control_lists_are_refused_and_modes_stay(root: Path) -> None:
    (root / "f").touch(0o640)
    refused(errno.EOPNOTSUPP, lambda: os.getxattr(root / "f", "system.posix_acl_access"))
    assert subprocess.run(["setfacl", "-m", "u:7:r", root / "f"], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0
    subprocess.run(["cp", "-p", root / "f", root / "g"], check=True)
    assert (root / "g").stat().st_mode & 0o777 == 0o640
