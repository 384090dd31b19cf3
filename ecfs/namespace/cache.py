"""A bounded cache of attributes that cannot outlive the rows it was read from."""

from ecfs.base.ids import InodeId
from ecfs.metadata.database import Database
from ecfs.namespace.attributes import Attributes


class AttributeCache:
    """Attributes by inode, and one name of each that was looked up lately.

    Coherent because (1) all changes of inodes go through `Tree`, which stores here only after its
    change has succeeded, and (2) `Database.undo_count` grows with every rollback and failure, after
    which the first access finds the cache empty. Each map is two generations of `count_max / 2`:
    when the young one is full it becomes the old one, and the old one goes. (Deleting the oldest
    key of a plain dict was tried: its scan over deleted slots cost 20 us.)
    """

    def __init__(self, database: Database, count_max: int) -> None:
        self._database = database
        self._half_count_max = max(1, count_max // 2)
        self._undo_count = database.undo_count
        self._young: dict[InodeId, Attributes] = {}
        self._old: dict[InodeId, Attributes] = {}
        self._young_names: dict[InodeId, tuple[InodeId, bytes]] = {}
        self._old_names: dict[InodeId, tuple[InodeId, bytes]] = {}

    def get(self, inode: InodeId) -> Attributes | None:
        """The attributes, if they are known."""
        if self._undo_count != self._database.undo_count:
            self.clear()
        found = self._young.get(inode)
        if found is None:
            found = self._old.get(inode)
            if found is not None:
                self.put(found)
        return found

    def put(self, attributes: Attributes) -> None:
        """Remember what the database now says."""
        if self._undo_count != self._database.undo_count:
            self.clear()
        self._young[attributes.inode] = attributes
        if len(self._young) >= self._half_count_max:
            self._old = self._young
            self._young = {}

    def put_name(self, inode: InodeId, parent: InodeId, name: bytes) -> None:
        """Remember a name of an inode; a hint, which may be outdated."""
        self._young_names[inode] = (parent, name)
        if len(self._young_names) >= self._half_count_max:
            self._old_names = self._young_names
            self._young_names = {}

    def name(self, inode: InodeId) -> tuple[InodeId, bytes] | None:
        """A name that the inode had, or None."""
        return self._young_names.get(inode) or self._old_names.get(inode)

    def drop(self, inode: InodeId) -> None:
        """Forget an inode."""
        for known in (self._young, self._old):
            known.pop(inode, None)
        for names in (self._young_names, self._old_names):
            names.pop(inode, None)

    def clear(self) -> None:
        """Forget everything."""
        self._undo_count = self._database.undo_count
        self._young, self._old = {}, {}
        self._young_names, self._old_names = {}, {}
