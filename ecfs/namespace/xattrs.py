"""Extended attributes: which names and sizes are allowed, and what the flags mean."""

import errno

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import NAME_LEN_MAX, XATTR_LIST_LEN_MAX, XATTR_VALUE_LEN_MAX
from ecfs.metadata import TreeTables

XATTR_CREATE = 1
XATTR_REPLACE = 2

NAMESPACES = (b"user.", b"trusted.", b"security.")


def check_name(name: bytes) -> None:
    """Raise FsError: ENOTSUP outside the served namespaces, EINVAL for a bare one, ERANGE."""
    if not name.startswith(NAMESPACES):
        raise FsError(errno.ENOTSUP)
    if name in NAMESPACES or b"\0" in name:
        raise FsError(errno.EINVAL)
    if len(name) > NAME_LEN_MAX:
        raise FsError(errno.ERANGE)


def get(tables: TreeTables, inode: InodeId, name: bytes) -> bytes:
    """The value. Raises FsError: ENODATA, or as `check_name`."""
    check_name(name)
    value = tables.xattr(inode, name)
    if value is None:
        raise FsError(errno.ENODATA)
    return value


def put(tables: TreeTables, inode: InodeId, name: bytes, value: bytes, flags: int) -> None:
    """Set a value, inside a change.

    Raises FsError: E2BIG for the value, ENOSPC for the list of names, EEXIST (CREATE), ENODATA
    (REPLACE), EINVAL for other flags, or as `check_name`.
    """
    check_name(name)
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        raise FsError(errno.EINVAL)
    if len(value) > XATTR_VALUE_LEN_MAX:
        raise FsError(errno.E2BIG)
    exists = tables.xattr(inode, name) is not None
    if exists and flags & XATTR_CREATE:
        raise FsError(errno.EEXIST)
    if not exists:
        if flags & XATTR_REPLACE:
            raise FsError(errno.ENODATA)
        list_len = sum(len(other) + 1 for other in tables.xattr_names(inode)) + len(name) + 1
        if list_len > XATTR_LIST_LEN_MAX:
            raise FsError(errno.ENOSPC)
    tables.put_xattr(inode, name, value)


def remove(tables: TreeTables, inode: InodeId, name: bytes) -> None:
    """Remove an attribute, inside a change. Raises FsError: ENODATA, or as `check_name`."""
    check_name(name)
    if not tables.delete_xattr(inode, name):
        raise FsError(errno.ENODATA)
