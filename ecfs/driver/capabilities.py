"""File capabilities, which go with a write, truncate or chown, as other privileges do."""

from ecfs.base.errors import FsError
from ecfs.base.ids import InodeId
from ecfs.base.units import KIB
from ecfs.namespace import Tree

CAPABILITY = b"security.capability"
LACKING_COUNT_MAX = 32 * KIB


class FileCapabilities:
    """Takes them away, and remembers which files have none, so that a write need not look."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lacking: set[InodeId] = set()

    def lacks(self, inode: InodeId) -> bool:
        """Whether the file is known to have none."""
        return inode in self._lacking

    def note_lacking(self, inode: InodeId) -> None:
        """The file has none."""
        if len(self._lacking) >= LACKING_COUNT_MAX:
            self._lacking.clear()
        self._lacking.add(inode)

    def note_set(self, inode: InodeId) -> None:
        """The file is about to have some."""
        self._lacking.discard(inode)

    def drop(self, inode: InodeId) -> None:
        """The file has none afterwards."""
        if inode in self._lacking:
            return
        try:
            self._tree.get_xattr(inode, CAPABILITY)
        except FsError:
            self.note_lacking(inode)
            return
        self._tree.remove_xattr(inode, CAPABILITY)
