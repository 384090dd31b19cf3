"""What a directory held when its reading began, under cookies that hold for longer than that."""

import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from zlib import crc32

from ecfs.base.ids import InodeId

DOTS = (b".", b"..")

# Tell the names apart that one inode has in one directory; inodes have the 44 bits above.
_NAME_BITS = 19


class Listing:
    """Names in the order of their inodes, dots first.

    The kernel keeps what one handle read and serves the beginning of another one's reading from it.
    That handle is asked for the first time in the middle, when names before may be gone: so a
    cookie is made of the inode and not of a position, and means the same place in every listing.
    """

    def __init__(self, inode: InodeId, parent: InodeId,
                 entries: Iterable[tuple[bytes, InodeId, int]]) -> None:
        self._rows = [(1, b".", inode, stat.S_IFDIR), (2, b"..", parent, stat.S_IFDIR)]
        before = 2
        for cookie, name, child, mode in sorted(
                (child << _NAME_BITS | crc32(name) >> (32 - _NAME_BITS), name, child, mode)
                for name, child, mode in entries):
            before = max(cookie, before + 1)
            self._rows.append((before, name, child, mode))

    def after(self, cookie: int) -> Iterator[tuple[int, bytes, InodeId, int]]:
        """`(cookie, name, inode, mode)` of what comes after a cookie; 0: from the beginning."""
        for index in range(bisect_right(self._rows, cookie, key=itemgetter(0)), len(self._rows)):
            yield self._rows[index]
