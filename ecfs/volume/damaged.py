"""The files of which something could not be read since the volume was opened or looked through."""

import os

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.base.limits import DAMAGED_PATHS_MAX
from ecfs.namespace import Tree


class DamagedFiles:
    """A bounded set of them."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._inodes: set[int] = set()

    def note(self, inode: int) -> None:
        """A file of which something could not be read."""
        if len(self._inodes) < DAMAGED_PATHS_MAX:
            self._inodes.add(inode)

    def clear(self) -> None:
        """All is looked at anew."""
        self._inodes.clear()

    def paths(self) -> list[str]:
        """A path of each that still has one."""
        paths = []
        for inode in sorted(self._inodes):
            try:
                path = self._tree.path_of(InodeId(inode))
            except EcfsError:
                path = None
            if path is not None:
                paths.append(os.fsdecode(path))
        return paths
