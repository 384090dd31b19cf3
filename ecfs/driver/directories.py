"""Requests about open directories: opening, reading, closing, syncing."""

import errno
from collections.abc import Callable, Iterator

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.driver.access_times import AccessTimes
from ecfs.driver.attributes import Stat
from ecfs.driver.entries import live_entries
from ecfs.driver.handles import DirectoryHandle, DirectoryHandles
from ecfs.driver.listing import Listing
from ecfs.driver.lookups import LookupCounts
from ecfs.driver.volume_protocol import Mounted
from ecfs.namespace import Attributes


class DirectoryRequests:
    """These requests of one mount; `seen` is how a program sees attributes."""

    def __init__(self, mounted: Mounted, lookups: LookupCounts, access: AccessTimes | None,
                 seen: Callable[[Attributes], Stat]) -> None:
        self._mounted = mounted
        self._tree = mounted.tree
        self._lookups = lookups
        self._access = access
        self._seen = seen
        self._handles = DirectoryHandles()

    def open(self, inode: InodeId) -> int:
        """A handle for reading a directory. ENOTDIR."""
        if not self._tree.attributes(inode).is_directory:
            raise FsError(errno.ENOTDIR)
        return self._handles.add(inode)

    def close(self, fh: int) -> None:
        """The last descriptor of a handle was closed."""
        self._handles.remove(fh)

    def entries(self, fh: int, start: int, *,
                flags: int = 0) -> Iterator[tuple[bytes, InodeId, int, Stat | None, int]]:
        """`(name, inode, mode, stat, cookie)` of what comes after cookie `start`, dots included.

        The names are those when reading began (cookie 0); a name that is gone by now is left out,
        and each inode is looked up anew, so that the kernel never caches what a name once meant.
        No stat: the kernel has it. The caller counts a lookup for each other that it passed on.
        `flags` are those of the descriptor, as in open(2).
        """
        handle = self._handles.of(fh)
        listing = self._listing(handle, start, flags)
        return live_entries(self._tree, self._mounted.files, handle, listing, start,
                            self._lookups.told, self._seen)

    def plain_entries(self, fh: int, start: int, *,
                      flags: int = 0) -> Iterator[tuple[bytes, InodeId, int, int]]:
        """`(name, inode, mode, cookie)` after cookie `start`, as they were when reading began."""
        listing = self._listing(self._handles.of(fh), start, flags)
        for cookie, name, inode, mode in listing.after(start):
            yield name, inode, mode, cookie

    def count_lookup(self, found: Stat) -> None:
        """An entry was passed on to the kernel."""
        self._lookups.add(found.attributes.inode, settled=found.settled)

    async def fsync(self, fh: int) -> None:
        """All metadata is durable, or this raises."""
        await self._mounted.fsync(self._handles.of(fh).inode)

    def clear(self) -> None:
        """The kernel is gone: so are all handles."""
        self._handles.clear()

    def _listing(self, handle: DirectoryHandle, start: int, flags: int) -> Listing:
        if start == 0 or handle.listing is None:
            inode = handle.inode
            if self._access is not None:
                self._access.note(inode, flags)
            handle.version = self._tree.version
            handle.listing = Listing(inode, self._tree.parent_of(inode),
                                     self._tree.list_directory(inode))
        return handle.listing
