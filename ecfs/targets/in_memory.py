"""Whether a file system has no disk behind it."""

import ctypes

_TMPFS_MAGIC = 0x01021994
_STATFS_LEN_MAX = 512
"""More than `struct statfs` takes anywhere; its first word is the type (statfs(2))."""


def lies_in_memory(fd: int) -> bool:
    """Whether `fd` is of a tmpfs: reads there wait for nothing, though the kernel refuses to
    promise it (RWF_NOWAIT is EOPNOTSUPP)."""
    status = ctypes.create_string_buffer(_STATFS_LEN_MAX)
    if ctypes.CDLL(None).fstatfs(fd, status) != 0:
        return False
    return ctypes.c_long.from_buffer(status).value == _TMPFS_MAGIC
