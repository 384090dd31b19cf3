"""How often the kernel was told of each inode, since when, and which have no name left."""

from collections.abc import Callable, Set

from ecfs.base.ids import InodeId


class LookupCounts:
    """Lookup counts as FUSE defines them. An inode may go when its count is zero: the kernel does
    not forget what a program has open, mapped or as its working directory. `version` changes with
    every change of the tree."""

    def __init__(self, version: Callable[[], tuple[int, int]]) -> None:
        self._version = version
        self._told_version = version()
        self._told: set[InodeId] = set()
        self._counts: dict[InodeId, int] = {}
        self._nameless: set[InodeId] = set()

    def add(self, inode: InodeId) -> None:
        """The kernel was told of an inode once more."""
        self._counts[inode] = self._counts.get(inode, 0) + 1
        version = self._version()
        if version != self._told_version:
            self._told_version = version
            self._told.clear()
        self._told.add(inode)

    def forget(self, inode: InodeId, count: int) -> None:
        """The kernel forgot `count` of its lookups. A count too high is taken as all."""
        left = self._counts.get(inode, 0) - count
        if left > 0:
            self._counts[inode] = left
        else:
            self._counts.pop(inode, None)
            self._told.discard(inode)

    def is_known(self, inode: InodeId) -> bool:
        """Whether the kernel may still name this inode."""
        return inode in self._counts

    def told(self) -> Set[InodeId]:
        """Those that the kernel was told of since the tree last changed, and still knows."""
        return self._told if self._told_version == self._version() else frozenset()

    def lost_name(self, inode: InodeId) -> None:
        """The last name of an inode is gone."""
        self._nameless.add(inode)

    def found_name(self, inode: InodeId) -> None:
        """The inode has a name, perhaps its first."""
        self._nameless.discard(inode)

    def is_nameless(self, inode: InodeId) -> bool:
        """Whether the inode lost its last name during this mount and still exists."""
        return inode in self._nameless

    def dropped(self, inode: InodeId) -> None:
        """The inode does not exist any more, or is left to the next sweep."""
        self._nameless.discard(inode)

    def forget_all(self) -> list[InodeId]:
        """The kernel is gone: forget all lookups; returns the nameless inodes."""
        self._counts.clear()
        self._told.clear()
        return list(self._nameless)
