"""Which file system it is, and whether there is no disk behind it."""

import ctypes

TMPFS_TYPE = 0x01021994
_STATFS_LEN_MAX = 512
"""More than `struct statfs` takes anywhere; its first word is the type (statfs(2))."""


def lies_in_memory(fd: int) -> bool:
    """Whether `fd` is of a tmpfs: reads there wait for nothing, though the kernel refuses to
    promise it (RWF_NOWAIT is EOPNOTSUPP)."""
    return file_system_type(fd) == TMPFS_TYPE


def file_system_type(fd: int) -> int:
    """The number of its type (statfs(2)); 0 where nobody tells."""
    status = ctypes.create_string_buffer(_STATFS_LEN_MAX)
    if ctypes.CDLL(None).fstatfs(fd, status) != 0:
        return 0
    # Some numbers have the highest bit of a word of 32 set.
    return int(ctypes.c_long.from_buffer(status).value) & 0xFFFFFFFF
