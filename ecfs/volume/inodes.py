"""What content needs to know of inodes, from the tree."""

from ecfs.base.errors import EcfsError
from ecfs.base.ids import InodeId
from ecfs.content import FileNote
from ecfs.namespace import Tree


class Inodes:
    """What content needs of the tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def size_of(self, inode: InodeId) -> int:
        """Size in the database."""
        return self._tree.attributes(inode).size

    def settle(self, inode: InodeId, *, size: int, mtime_ns: int | None,
               ctime_ns: int | None) -> None:
        """Content reached the database."""
        self._tree.record_content(inode, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns)

    def note_of(self, inode: InodeId) -> FileNote:
        """Where the file is, as far as memory knows."""
        try:
            mode = self._tree.attributes(inode).mode
        except EcfsError:
            mode = 0
        parent, name = self._tree.name_hint(inode) or (InodeId(0), b"")
        return FileNote(parent, name, mode)
