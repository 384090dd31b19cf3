"""What stat(2) tells of an inode, but for the blocks that its content takes."""

import errno
import stat
from typing import NamedTuple

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId


class Attributes(NamedTuple):
    """One inode. Sizes in bytes, times in nanoseconds since 1970 UTC, mode with its type bits."""

    inode: InodeId
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    def check_regular(self) -> None:
        """Raise EISDIR or EINVAL for what has no bytes of its own."""
        if not self.is_regular:
            raise FsError(errno.EISDIR if self.is_directory else errno.EINVAL)

    def with_links(self, nlink: int, ctime_ns: int) -> "Attributes":
        """The same with another number of names."""
        return Attributes(self.inode, self.mode, nlink, self.uid, self.gid, self.rdev, self.size,
                          self.atime_ns, self.mtime_ns, ctime_ns, self.btime_ns)

    def with_mode(self, mode: int, ctime_ns: int) -> "Attributes":
        """The same with another mode, its type bits included."""
        return Attributes(self.inode, mode, self.nlink, self.uid, self.gid, self.rdev, self.size,
                          self.atime_ns, self.mtime_ns, ctime_ns, self.btime_ns)

    def with_entries_changed(self, nlink: int, now_ns: int) -> "Attributes":
        """A directory after its entries changed."""
        return Attributes(self.inode, self.mode, nlink, self.uid, self.gid, self.rdev, self.size,
                          self.atime_ns, now_ns, now_ns, self.btime_ns)

    def with_content(self, size: int, mtime_ns: int, ctime_ns: int) -> "Attributes":
        """A file after its content changed; its change time never goes back."""
        return Attributes(self.inode, self.mode, self.nlink, self.uid, self.gid, self.rdev, size,
                          self.atime_ns, mtime_ns, max(ctime_ns, self.ctime_ns), self.btime_ns)


def without_privileges(mode: int) -> int:
    """The mode after a write, truncate or chown: no set-user-id, nor set-group-id if executable.

    Set-group-id without group execution is left, as Linux does; directories keep theirs.
    """
    if stat.S_ISDIR(mode):
        return mode
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode
