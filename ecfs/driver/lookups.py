"""How often the kernel was told of each inode, since when, and which have no name left."""

from collections.abc import Callable

from ecfs.base.ids import InodeId

AGED_AT_ONCE = 64
"""So many are told of between two looks at the clock."""
TOLD_FOR_S_MAX = 60.0


def told_for_s(*timeouts_s: float) -> float:
    """For how long the kernel surely has what holds for these timeouts, and is worth noting."""
    return min(TOLD_FOR_S_MAX, *(timeout_s / 2 for timeout_s in timeouts_s))


class LookupCounts:
    """Lookup counts as FUSE defines them. An inode may go when its count is zero: the kernel does
    not forget what a program has open, mapped or as its working directory.

    The kernel has the attributes of an inode that it was told of by name for `told_for_ns`, unless
    they change: what it changes itself, and does not learn of by the reply, it asks for anew.
    `now_ns` is a clock that never goes back."""

    def __init__(self, now_ns: Callable[[], int], told_for_ns: int) -> None:
        self._now_ns = now_ns
        self._half_ns = told_for_ns // 2
        self._told: set[InodeId] = set()
        self._told_before: set[InodeId] = set()
        self._since_ns = now_ns()
        self._unaged_count = 0
        self._counts: dict[InodeId, int] = {}
        self._nameless: set[InodeId] = set()

    def add(self, inode: InodeId, *, settled: bool = True) -> None:
        """The kernel was told of an inode once more. `settled`: it may keep the attributes."""
        self._counts[inode] = self._counts.get(inode, 0) + 1
        if not settled:
            self.changed(inode)
            return
        self._told.add(inode)
        self._unaged_count += 1
        if self._unaged_count >= AGED_AT_ONCE:
            self._age()

    def changed(self, inode: InodeId) -> None:
        """The kernel will ask for the attributes of an inode anew."""
        self._told.discard(inode)
        self._told_before.discard(inode)

    def forget(self, inode: InodeId, count: int) -> None:
        """The kernel forgot `count` of its lookups. A count too high is taken as all."""
        left = self._counts.get(inode, 0) - count
        if left > 0:
            self._counts[inode] = left
        else:
            self._counts.pop(inode, None)
            self.changed(inode)

    def is_known(self, inode: InodeId) -> bool:
        """Whether the kernel may still name this inode."""
        return inode in self._counts

    def told(self, inodes: set[InodeId]) -> set[InodeId]:
        """Those of these that the kernel knows, and whose attributes it still has."""
        self._age()
        return inodes & self._told | inodes & self._told_before

    def _age(self) -> None:
        """Let go of those of whom the kernel was told too long ago."""
        self._unaged_count = 0
        age_ns = self._now_ns() - self._since_ns
        if age_ns >= self._half_ns:
            self._told_before = self._told if age_ns < 2 * self._half_ns else set()
            self._told = set()
            self._since_ns += age_ns

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
        self._told_before.clear()
        return list(self._nameless)
