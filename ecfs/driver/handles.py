"""Open directories by the number that the kernel hands back with each request."""

import errno
from dataclasses import dataclass

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.driver.listing import Listing


@dataclass(slots=True)
class DirectoryHandle:
    """An open directory, with what it held when reading it began, at `version` of the tree."""

    inode: InodeId
    listing: Listing | None = None
    version: tuple[int, int] = (-1, -1)


class DirectoryHandles:
    """Handles by number; numbers are not used twice."""

    def __init__(self) -> None:
        self._next = 1
        self._directories: dict[int, DirectoryHandle] = {}

    def add(self, inode: InodeId) -> int:
        """A new handle's number."""
        number = self._next
        self._next += 1
        self._directories[number] = DirectoryHandle(inode)
        return number

    def of(self, number: int) -> DirectoryHandle:
        """The handle of that number; EBADF if there is none."""
        handle = self._directories.get(number)
        if handle is None:
            raise FsError(errno.EBADF, f"no open directory has number {number}")
        return handle

    def remove(self, number: int) -> None:
        """Forget a handle. EBADF if there is none."""
        if self._directories.pop(number, None) is None:
            raise FsError(errno.EBADF, f"no open directory has number {number}")

    def clear(self) -> None:
        """Forget all handles: the kernel is gone."""
        self._directories.clear()
