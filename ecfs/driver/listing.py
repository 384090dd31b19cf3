"""What a directory held when its reading began, under cookies that hold for longer than that."""

import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from zlib import crc32

from ecfs.base.ids import InodeId

DOTS = (b".", b"..")
Row = tuple[int, bytes, InodeId, int]
"""Cookie, name, inode, mode."""

# Tell the names apart that one inode has in one directory; inodes have the 44 bits above.
_NAME_BITS = 19


class Listing:
    """Names in the order of their inodes, dots first.

    A server of NFS opens a directory anew for each reply, and asks that handle for the first time
    in the middle, when names before may be gone: so a cookie is made of the inode and not of a
    position, and means the same place in every listing.
    """

    def __init__(self, inode: InodeId, parent: InodeId,
                 entries: Iterable[tuple[bytes, InodeId, int]]) -> None:
        self.rows: list[Row] = [(1, b".", inode, stat.S_IFDIR), (2, b"..", parent, stat.S_IFDIR)]
        self.rows += _apart(sorted(
            [(child << _NAME_BITS | crc32(name) >> (32 - _NAME_BITS), name, child, mode)
             for name, child, mode in entries]))

    def index_after(self, cookie: int) -> int:
        """Where in `rows` what comes after a cookie begins; 0: the beginning."""
        return bisect_right(self.rows, cookie, key=itemgetter(0)) if cookie else 0

    def after(self, cookie: int) -> Iterator[Row]:
        """The rows after a cookie."""
        for index in range(self.index_after(cookie), len(self.rows)):
            yield self.rows[index]


def _apart(rows: list[Row]) -> list[Row]:
    """The rows, in order, each with a cookie of its own."""
    if len({cookie for cookie, _, _, _ in rows}) == len(rows):
        return rows
    apart: list[Row] = []
    before = 0
    for cookie, name, child, mode in rows:
        before = max(cookie, before + 1)
        apart.append((before, name, child, mode))
    return apart
