"""Entries of a directory with the attributes of their inodes, many at once."""

import errno
import stat
from collections.abc import Callable, Iterator

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.driver.attributes import Stat
from ecfs.driver.handles import DirectoryHandle
from ecfs.driver.listing import DOTS, Listing
from ecfs.driver.volume_protocol import Files
from ecfs.namespace import Attributes, Tree

ENTRIES_AT_ONCE = 64


def live_entries(tree: Tree, files: Files, handle: DirectoryHandle, listing: Listing, start: int,
                 told_of: Callable[[set[InodeId]], set[InodeId]],
                 seen: Callable[[Attributes], Stat],
                 ) -> Iterator[tuple[bytes, InodeId, int, Stat | None, int]]:
    """`(name, inode, mode, stat, cookie)` of those rows of the handle's listing after cookie
    `start` that are there still; no stat of those which the kernel was told (`told_of`) and still
    has right. `seen` makes a stat of attributes.

    While nothing at all has changed since the listing was made, a name means what it meant then,
    and what the entries need is read for many at once. The caller does not wait in between.
    """
    at = listing.index_after(start)
    while some := listing.rows[at : at + ENTRIES_AT_ONCE]:
        at += ENTRIES_AT_ONCE
        unchanged = tree.version == handle.version
        told: set[InodeId] = set()
        if unchanged:
            inodes = {inode for _, _, inode, _ in some}
            told = told_of(inodes)
            if len(told) < len(inodes):
                wanted = [(inode, mode) for _, _, inode, mode in some if inode not in told]
                tree.load([inode for inode, _ in wanted])
                files.load([inode for inode, mode in wanted if stat.S_ISREG(mode)])
        for cookie, name, inode, mode in some:
            if inode in told:
                yield name, inode, mode, None, cookie
                continue
            if unchanged and name not in DOTS:
                found = tree.named(handle.inode, name, inode)
                yield name, inode, found.mode, seen(found), cookie
                continue
            try:
                found = tree.lookup(handle.inode, name)
                yield name, found.inode, found.mode, seen(found), cookie
            except FsError as error:
                if error.errno != errno.ENOENT:
                    raise
