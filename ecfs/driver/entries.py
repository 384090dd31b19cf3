"""Entries of a directory with the attributes of their inodes, many at once."""

import errno
import stat
from collections.abc import Iterator
from itertools import islice

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.driver.handles import DirectoryHandle
from ecfs.driver.listing import DOTS
from ecfs.driver.volume_protocol import Files
from ecfs.namespace import Attributes, Tree

ENTRIES_AT_ONCE = 64


def live_entries(tree: Tree, files: Files, handle: DirectoryHandle,
                 rows: Iterator[tuple[int, bytes, InodeId, int]],
                 ) -> Iterator[tuple[int, bytes, Attributes]]:
    """`(cookie, name, attributes)` of those rows of the handle's listing that are there still.

    While nothing at all has changed since the listing was made, a name means what it meant then,
    and what the entries need is read for many at once. The caller does not wait in between.
    """
    while some := list(islice(rows, ENTRIES_AT_ONCE)):
        unchanged = tree.version == handle.version
        if unchanged:
            tree.load([inode for _, _, inode, _ in some])
            files.load([inode for _, _, inode, mode in some if stat.S_ISREG(mode)])
        for cookie, name, inode, _ in some:
            if unchanged and name not in DOTS:
                yield cookie, name, tree.named(handle.inode, name, inode)
                continue
            try:
                yield cookie, name, tree.lookup(handle.inode, name)
            except FsError as error:
                if error.errno != errno.ENOENT:
                    raise
