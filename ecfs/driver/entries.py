"""Entries of a directory with the attributes of their inodes, many at once."""

import errno
import stat
from collections.abc import Callable, Iterator, Set
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
                 told_now: Callable[[], Set[InodeId]],
                 ) -> Iterator[tuple[int, bytes, InodeId, int, Attributes | None]]:
    """`(cookie, name, inode, mode, attributes)` of those rows of the handle's listing that are
    there still; no attributes of those which the kernel was told (`told_now`) and still has right.

    While nothing at all has changed since the listing was made, a name means what it meant then,
    and what the entries need is read for many at once. The caller does not wait in between.
    """
    while some := list(islice(rows, ENTRIES_AT_ONCE)):
        unchanged = tree.version == handle.version
        told: set[InodeId] = set()
        if unchanged:
            # What was written since is pending; all else that changes is a change of the tree.
            known = told_now()
            told = {inode for _, _, inode, _ in some
                    if inode in known and files.pending(inode) is None}
            wanted = [(inode, mode) for _, _, inode, mode in some if inode not in told]
            tree.load([inode for inode, _ in wanted])
            files.load([inode for inode, mode in wanted if stat.S_ISREG(mode)])
        for cookie, name, inode, mode in some:
            if inode in told:
                yield cookie, name, inode, mode, None
                continue
            if unchanged and name not in DOTS:
                found = tree.named(handle.inode, name, inode)
                yield cookie, name, inode, found.mode, found
                continue
            try:
                found = tree.lookup(handle.inode, name)
                yield cookie, name, found.inode, found.mode, found
            except FsError as error:
                if error.errno != errno.ENOENT:
                    raise
