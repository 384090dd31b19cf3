"""How many bytes of a file are mapped, remembered until its map changes."""

from collections import OrderedDict, deque
from collections.abc import Iterable

from ecfs.base.units import KIB
from ecfs.metadata.database import Database
from ecfs.metadata.places import in_places

MAPPED_LENS_MAX = 32 * KIB
AHEAD_COUNT = 64
WALKERS_MAX = 32
"""The threads of `git status` are up to 20 who each go through files in order."""


class MappedLens:
    """Mapped bytes by inode. Whoever changes the map of a file has to `forget` it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._undo_count = database.undo_count
        self._lens: OrderedDict[int, int] = OrderedDict()
        self._expected: deque[int] = deque(maxlen=WALKERS_MAX)

    def of(self, inode: int) -> int:
        """Bytes of a file that are not holes. Costs nothing while they stay the same."""
        self._check()
        known = self._lens.get(inode)
        if known is None:
            if inode in self._expected:
                # Who asks in the order in which files were made is told of some more at once.
                self._expected.remove(inode)
                self.load(range(inode, inode + AHEAD_COUNT))
                self._expect(inode + AHEAD_COUNT)
                return self._lens[inode]
            known = int(self._database.value(
                "SELECT ifnull(sum(len), 0) FROM maps WHERE inode=?", (inode,)))
            self._remember(inode, known)
            self._expect(inode + 1)
        return known

    def load(self, inodes: Iterable[int]) -> None:
        """Find out about many inodes at once, for what one each would cost several times."""
        self._check()
        wanted = [inode for inode in inodes if inode not in self._lens]
        found: dict[int, int] = dict(in_places(
            self._database, "SELECT inode, sum(len) FROM maps WHERE inode IN {} GROUP BY inode",
            wanted))
        for inode in wanted:
            self._remember(inode, found.get(inode, 0))

    def forget(self, inode: int) -> None:
        """The map of a file changes, or has changed."""
        self._lens.pop(inode, None)

    def _remember(self, inode: int, length: int) -> None:
        self._lens[inode] = length
        if len(self._lens) > MAPPED_LENS_MAX:
            self._lens.popitem(last=False)

    def _expect(self, inode: int) -> None:
        """Somebody who goes through files in order will ask for this one."""
        self._expected.append(inode)

    def _check(self) -> None:
        if self._undo_count != self._database.undo_count:
            self._undo_count = self._database.undo_count
            self._lens.clear()
