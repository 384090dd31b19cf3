"""Extended attributes: which names and sizes are allowed, and what the flags mean."""

import errno
import stat

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import NAME_LEN_MAX, XATTR_LIST_LEN_MAX, XATTR_VALUE_LEN_MAX
from ecfs.metadata import TreeTables
from ecfs.namespace import acls
from ecfs.namespace.attributes import Attributes

XATTR_CREATE = 1
XATTR_REPLACE = 2

NAMESPACES = (b"user.", b"trusted.", b"security.")


def check_name(name: bytes) -> None:
    """Raise FsError: ENOTSUP outside the served namespaces, EINVAL for a bare one, ERANGE."""
    if name in acls.NAMES:
        return
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


def put_acl(tables: TreeTables, old: Attributes, name: bytes, value: bytes) -> int:
    """Set an ACL, inside a change; the mode that goes with it. One that says nothing is removed.

    Raises FsError: EINVAL, EACCES (a default ACL of no directory), ENOTSUP for symbolic links.
    """
    if stat.S_ISLNK(old.mode):
        raise FsError(errno.ENOTSUP)
    acl = acls.parse(value)
    if name == acls.DEFAULT and not old.is_directory:
        if acl is not None:
            raise FsError(errno.EACCES)
        return old.mode
    if acl is None or (name == acls.ACCESS and acl.is_minimal):
        tables.delete_xattr(old.inode, name)
    else:
        tables.put_xattr(old.inode, name, acl.to_bytes())
    if acl is None or name == acls.DEFAULT:
        return old.mode
    return old.mode & ~0o777 | acl.mode_bits()


def remove(tables: TreeTables, inode: InodeId, name: bytes) -> bool:
    """Remove an attribute, inside a change; whether anything did. ENODATA, or as `check_name`.

    An ACL that is not there is what the mode says already.
    """
    check_name(name)
    removed = tables.delete_xattr(inode, name)
    if not removed and name not in acls.NAMES:
        raise FsError(errno.ENODATA)
    return removed
