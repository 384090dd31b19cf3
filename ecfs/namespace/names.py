"""What may be a name in a directory, or the target of a symbolic link."""

import errno

from ecfs.base.errors import FsError
from ecfs.base.limits import NAME_LEN_MAX, SYMLINK_LEN_MAX


def check_new_name(name: bytes) -> None:
    """Raise FsError (ENAMETOOLONG, EEXIST for dots, EINVAL) unless an entry may have this name."""
    if len(name) > NAME_LEN_MAX:
        raise FsError(errno.ENAMETOOLONG)
    if name in (b".", b".."):
        raise FsError(errno.EEXIST)
    if not name or b"/" in name or b"\0" in name:
        raise FsError(errno.EINVAL)


def check_victim_name(name: bytes) -> None:
    """Raise FsError (ENAMETOOLONG; EINVAL for dots) unless an entry could have this name."""
    if len(name) > NAME_LEN_MAX:
        raise FsError(errno.ENAMETOOLONG)
    if name in (b".", b"..") or not name or b"/" in name or b"\0" in name:
        raise FsError(errno.EINVAL)


def check_symlink_target(target: bytes) -> None:
    """Raise FsError (ENAMETOOLONG, ENOENT when empty, EINVAL) unless a symlink may say this."""
    if len(target) > SYMLINK_LEN_MAX:
        raise FsError(errno.ENAMETOOLONG)
    if not target:
        raise FsError(errno.ENOENT)
    if b"\0" in target:
        raise FsError(errno.EINVAL)
