"""The kernel's FUSE protocol, 7.33 to 7.39: opcodes, flags and structures of linux/fuse.h.

Only what this driver speaks. All integers are in the machine's byte order, as the kernel has them.
"""

import errno
import struct
from enum import IntEnum
from typing import Final

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.units import KIB, NS_PER_S

MAJOR, MINOR, MINOR_MIN = 7, 39, 33
PAGE_LEN = 4096


class Opcode(IntEnum):
    """What the kernel asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    TMPFILE = 51
    STATX = 52


class Feature:
    """Flags of INIT. Plain numbers: operators of IntFlag cost a microsecond each."""

    ASYNC_READ: Final = 1 << 0
    ATOMIC_O_TRUNC: Final = 1 << 3
    EXPORT_SUPPORT: Final = 1 << 4
    BIG_WRITES: Final = 1 << 5
    DONT_MASK: Final = 1 << 6
    DO_READDIRPLUS: Final = 1 << 13
    READDIRPLUS_AUTO: Final = 1 << 14
    ASYNC_DIO: Final = 1 << 15
    WRITEBACK_CACHE: Final = 1 << 16
    PARALLEL_DIROPS: Final = 1 << 18
    POSIX_ACL: Final = 1 << 20
    MAX_PAGES: Final = 1 << 22
    CACHE_SYMLINKS: Final = 1 << 23
    EXPLICIT_INVAL_DATA: Final = 1 << 25
    HANDLE_KILLPRIV_V2: Final = 1 << 28
    SETXATTR_EXT: Final = 1 << 29
    INIT_EXT: Final = 1 << 30


class SetAttr:
    """Which fields a SETATTR sets."""

    MODE: Final = 1 << 0
    UID: Final = 1 << 1
    GID: Final = 1 << 2
    SIZE: Final = 1 << 3
    ATIME: Final = 1 << 4
    MTIME: Final = 1 << 5
    ATIME_NOW: Final = 1 << 7
    MTIME_NOW: Final = 1 << 8
    CTIME: Final = 1 << 10
    KILL_SUIDGID: Final = 1 << 11
    ANY: Final = MODE | UID | GID | SIZE | ATIME | MTIME | ATIME_NOW | MTIME_NOW | CTIME


OPEN_KEEP_CACHE = 1 << 1
OPEN_IN_KILL_SUIDGID = 1 << 0
WRITE_IN_KILL_SUIDGID = 1 << 2
SETXATTR_ACL_KILL_SGID = 1 << 0

IN_HEADER = struct.Struct("=IIQQIIIHH")
OUT_HEADER = struct.Struct("=IiQ")
INIT_IN = struct.Struct("=IIII")
INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
ENTRY_VALID = struct.Struct("=QQQQII")
ATTR_VALID = struct.Struct("=QII")
ATTR = struct.Struct("=QQQqqqIIIIIIIIII")
ENTRY_OUT = struct.Struct(ENTRY_VALID.format + ATTR.format[1:])
ATTR_OUT = struct.Struct(ATTR_VALID.format + ATTR.format[1:])
OPEN_OUT = struct.Struct("=QIi")
FORGET_IN = struct.Struct("=Q")
BATCH_FORGET_IN = struct.Struct("=II")
FORGET_ONE = struct.Struct("=QQ")
SETATTR_IN = struct.Struct("=II8xQ8xqqqIIII4xII4x")
MKNOD_IN = struct.Struct("=IIII")
MKDIR_IN = struct.Struct("=II")
RENAME_IN = struct.Struct("=Q")
RENAME2_IN = struct.Struct("=QII")
LINK_IN = struct.Struct("=Q")
OPEN_IN = struct.Struct("=II")
ACCESS_IN = struct.Struct("=I4x")
CREATE_IN = struct.Struct("=IIII")
HANDLE_IN = struct.Struct("=Q")
READ_IN = struct.Struct("=QQIIQII")
WRITE_IN = struct.Struct("=QQIIQII")
WRITE_OUT = struct.Struct("=II")
STATFS_OUT = struct.Struct("=QQQQQIII28x")
SETXATTR_IN = struct.Struct("=IIII")
GETXATTR_IN = struct.Struct("=II")
GETXATTR_OUT = struct.Struct("=II")
FALLOCATE_IN = struct.Struct("=QQQII")
LSEEK_IN = struct.Struct("=QQII")
LSEEK_OUT = struct.Struct("=Q")
COPY_FILE_RANGE_IN = struct.Struct("=QQQQQQQ")
STATX_VALID = struct.Struct("=QII16x")
STATX = struct.Struct("=IIQIIIHxxQQQQ" + 4 * "qI4x" + "IIII112x")
STATX_OUT = struct.Struct(STATX_VALID.format + STATX.format[1:])
STATX_BASIC, STATX_BTIME = 0x7FF, 0x800
DIRENT = struct.Struct("=QQII")
NOTIFY_INVAL_INODE = 2
INVAL_INODE_OUT = struct.Struct("=Qqq")

UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.DESTROY})
"""Requests for whose answer the kernel does not wait, an error neither."""

BODY_LEN_MIN = {
    Opcode.FORGET: FORGET_IN.size, Opcode.SETATTR: SETATTR_IN.size, Opcode.MKNOD: MKNOD_IN.size,
    Opcode.MKDIR: MKDIR_IN.size, Opcode.RENAME: RENAME_IN.size, Opcode.LINK: LINK_IN.size,
    Opcode.OPEN: OPEN_IN.size, Opcode.READ: READ_IN.size, Opcode.WRITE: WRITE_IN.size,
    Opcode.RELEASE: HANDLE_IN.size, Opcode.FSYNC: HANDLE_IN.size, Opcode.ACCESS: ACCESS_IN.size,
    Opcode.SETXATTR: SETXATTR_IN.size, Opcode.GETXATTR: GETXATTR_IN.size,
    Opcode.LISTXATTR: GETXATTR_IN.size, Opcode.FLUSH: HANDLE_IN.size, Opcode.INIT: INIT_IN.size,
    Opcode.READDIR: READ_IN.size, Opcode.RELEASEDIR: HANDLE_IN.size,
    Opcode.FSYNCDIR: HANDLE_IN.size, Opcode.CREATE: CREATE_IN.size,
    Opcode.BATCH_FORGET: BATCH_FORGET_IN.size, Opcode.FALLOCATE: FALLOCATE_IN.size,
    Opcode.READDIRPLUS: READ_IN.size, Opcode.RENAME2: RENAME2_IN.size,
    Opcode.LSEEK: LSEEK_IN.size, Opcode.COPY_FILE_RANGE: COPY_FILE_RANGE_IN.size,
    Opcode.TMPFILE: CREATE_IN.size,
}
"""Length of the fixed part of a request's body; a shorter one is EINVAL. The others have none."""

INODE_COUNT = 1 << 63
_NS_MAX = (1 << 63) - 1

WANTED = (Feature.ASYNC_READ | Feature.EXPORT_SUPPORT | Feature.BIG_WRITES
          | Feature.DO_READDIRPLUS | Feature.READDIRPLUS_AUTO
          | Feature.ASYNC_DIO | Feature.PARALLEL_DIROPS | Feature.MAX_PAGES
          | Feature.EXPLICIT_INVAL_DATA | Feature.HANDLE_KILLPRIV_V2
          | Feature.INIT_EXT | Feature.DONT_MASK | Feature.SETXATTR_EXT)


def seconds_and_ns(timeout_s: float) -> tuple[int, int]:
    """A timeout as the protocol has it."""
    return divmod(int(timeout_s * NS_PER_S), NS_PER_S)


def time_ns(seconds: int, ns: int) -> int:
    """A time in nanoseconds, clamped to what 64 bits hold (the years 1677 to 2262), as Linux clamps
    to what a file system can store."""
    return max(-_NS_MAX, min(seconds * NS_PER_S + ns, _NS_MAX))


def inode_of(number: int) -> InodeId:
    """An inode that a request names beside the one in its header; ESTALE past those we give."""
    if number >= INODE_COUNT:
        raise FsError(errno.ESTALE)
    return InodeId(number)


LONG_LEN = 64 * KIB
"""A request of so many bytes is read into memory of its own."""


def names(body: memoryview, count: int) -> list[bytes]:
    """The first `count` NUL-terminated strings of a request; EINVAL if there are fewer."""
    parts = bytes(body).split(b"\0", count)
    if len(parts) <= count:
        raise FsError(errno.EINVAL, "a request ends before its names do")
    return parts[:count]


def payload(body: memoryview, start: int, length: int) -> bytes | memoryview:
    """The `length` bytes from `start`; EINVAL if the request does not have them.

    A copy of a few, whose request lies in a buffer; a view of many, whose request does not.
    """
    data = body[start:start + length]
    if len(data) != length:
        raise FsError(errno.EINVAL, "a request ends before its data do")
    return data if length >= LONG_LEN else bytes(data)


assert IN_HEADER.size == 40
assert OUT_HEADER.size == 16
assert INIT_OUT.size == 64
assert ENTRY_OUT.size == 128
assert ATTR_OUT.size == 104
assert SETATTR_IN.size == 88
assert READ_IN.size == WRITE_IN.size == 40
assert STATFS_OUT.size == 80
assert DIRENT.size == 24
assert COPY_FILE_RANGE_IN.size == 56
assert STATX.size == 256
assert STATX_OUT.size == 288
