"""Open files and directories by the number that the kernel hands back with each request."""

import errno
from dataclasses import dataclass

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.driver.listing import Listing


@dataclass(slots=True)
class FileHandle:
    """An open file. `error_cursor`: which failed background writes were already reported here.

    `privileged`: opened by root, whose writes leave set-user-id alone as Linux does.
    `capability_changes`: how many file capabilities had been set when a write here last saw to it
    that this file has none.
    """

    inode: InodeId
    error_cursor: int
    privileged: bool
    capability_changes: int = -1


@dataclass(slots=True)
class DirectoryHandle:
    """An open directory, with what it held when reading it began, at `version` of the tree."""

    inode: InodeId
    listing: Listing | None = None
    version: tuple[int, int] = (-1, -1)


class HandleTable:
    """Handles by number; numbers are not used twice. Counts the handles of each inode."""

    def __init__(self) -> None:
        self._next = 1
        self._files: dict[int, FileHandle] = {}
        self._directories: dict[int, DirectoryHandle] = {}
        self._open_counts: dict[InodeId, int] = {}

    def add_file(self, inode: InodeId, error_cursor: int, *, privileged: bool) -> int:
        """A new file handle's number."""
        number = self._number(inode)
        self._files[number] = FileHandle(inode, error_cursor, privileged)
        return number

    def add_directory(self, inode: InodeId) -> int:
        """A new directory handle's number."""
        number = self._number(inode)
        self._directories[number] = DirectoryHandle(inode)
        return number

    def file(self, number: int) -> FileHandle:
        """The file handle of that number; EBADF if there is none."""
        handle = self._files.get(number)
        if handle is None:
            raise FsError(errno.EBADF, f"no open file has number {number}")
        return handle

    def directory(self, number: int) -> DirectoryHandle:
        """The directory handle of that number; EBADF if there is none."""
        handle = self._directories.get(number)
        if handle is None:
            raise FsError(errno.EBADF, f"no open directory has number {number}")
        return handle

    def remove(self, number: int) -> InodeId:
        """Forget a handle; returns what it was open on. EBADF if there is none."""
        handle = self._files.pop(number, None) or self._directories.pop(number, None)
        if handle is None:
            raise FsError(errno.EBADF, f"nothing open has number {number}")
        left = self._open_counts.pop(handle.inode) - 1
        if left:
            self._open_counts[handle.inode] = left
        return handle.inode

    def is_open(self, inode: InodeId) -> bool:
        """Whether any handle is open on the inode."""
        return inode in self._open_counts

    def clear(self) -> None:
        """Forget all handles: the kernel is gone."""
        self._files.clear()
        self._directories.clear()
        self._open_counts.clear()

    def _number(self, inode: InodeId) -> int:
        number = self._next
        self._next += 1
        self._open_counts[inode] = self._open_counts.get(inode, 0) + 1
        return number
