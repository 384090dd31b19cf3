"""What differs from a kernel file system does so as docs/posix.md says."""

import ctypes
import errno
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecfs.testing.posix_call import IDENTITIES, acting_as

CAP_SYS_ADMIN = 21
CAPABILITY_VERSION = 0x20080522
NET_RAW = bytes.fromhex("0100000200200000" + "00" * 12)
"""A file capability."""
LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def fsuid(uid: int) -> Iterator[None]:
    """With another user for file systems, and all capabilities that this leaves."""
    LIBC.setfsuid(uid)
    try:
        yield
    finally:
        LIBC.setfsuid(0)


@contextmanager
def without_capability(number: int) -> Iterator[None]:
    """With one effective capability less, of the first 32."""
    header = struct.pack("<Ii", CAPABILITY_VERSION, 0)
    before = ctypes.create_string_buffer(24)
    assert LIBC.capget(header, before) == 0
    words = list(struct.unpack("<6I", before.raw))
    words[0] &= ~(1 << number)
    assert LIBC.capset(header, struct.pack("<6I", *words)) == 0
    try:
        yield
    finally:
        assert LIBC.capset(header, before.raw) == 0


@pytest.fixture
def path(root: Path) -> Path:
    """A file that everybody may read."""
    root.chmod(0o755)
    path = root / "f"
    path.write_bytes(b"content")
    path.chmod(0o644)
    return path


@pytest.mark.others
def test_names_of_trusted_attributes_go_by_user(path: Path) -> None:
    os.setxattr(path, "trusted.t", b"1")
    os.setxattr(path, "user.u", b"1")
    with fsuid(IDENTITIES["alice"].uid):
        assert os.listxattr(path) == ["user.u"]
        assert os.getxattr(path, "trusted.t") == b"1"
    with without_capability(CAP_SYS_ADMIN):
        assert sorted(os.listxattr(path)) == ["trusted.t", "user.u"]
        with pytest.raises(OSError) as caught:
            os.getxattr(path, "trusted.t")
    assert caught.value.errno == errno.ENODATA


@pytest.mark.others
def test_a_chown_to_nobody_takes_a_capability_away_and_no_bit(path: Path) -> None:
    path.chmod(0o4755)
    os.setxattr(path, "security.capability", NET_RAW)
    assert os.listxattr(path) == ["security.capability"]
    with acting_as(IDENTITIES["eve"]):
        os.chown(path, -1, -1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o4755
    assert os.listxattr(path) == []


def test_what_was_stored_past_the_end_is_zeros_once_it_was_synced(path: Path) -> None:
    """Where the file grows before that, it may be seen."""
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        mapped = mmap.mmap(file.fileno(), length)
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        ctypes.memset(start + length, 0x41, 100)
        os.fsync(file.fileno())
        os.ftruncate(file.fileno(), length + 50)
        os.pwrite(file.fileno(), b"Z", length + 99)
        assert path.read_bytes() == b"content" + bytes(99) + b"Z"
